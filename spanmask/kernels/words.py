"""Where words start in segments, by the rule of FORMAT.md §6.7. Oracle: ``words_by_rule``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Flags, Ints, inlined, kernel

#: Lines of the rule, as they are counted; three are the classes of characters that they go by (`spanmask.pieces`).
BASE_WORD, WHITE_SPACE, MARK, SPACELESS, LONG_WORD = 0, 1, 2, 3, 4
#: No line but that of base words acts on a token.
NO_LINE = BASE_WORD
LINES = 5


class Spelling(NamedTuple):
    """What entries stand for. data: (C,) their bytes; offsets: (V + 1,); classes: (0x110000,) of code points."""

    data: npt.NDArray[np.uint8]
    offsets: Ints
    classes: npt.NDArray[np.uint8]


@inlined
def split_long(flags: Flags, first: int, stop: int, longest: int) -> int:
    """Make every token of a word longer than ``longest`` a word; return how many such there were. A word starts at ``first``."""
    word, count = first, 0
    # Kept: a word starts at `word`, and none before it is too long. Looking back from the furthest place where the next one may start
    # passes over all short words between at once.
    while word + longest < stop:
        place = word + longest
        while place > word and not flags[place]:
            place -= 1
        if place == word:
            count += 1
            place = word + 1
            while place < stop and not flags[place]:
                flags[place] = True
                place += 1
        word = place
    return count


@inlined
def count_words(flags: Flags) -> int:
    """Return at how many tokens a word starts."""
    count = 0
    for flag in flags:
        count += flag
    return count


@kernel
def word_places(starts: Ints, ends: Ints, flags: Flags, places: npt.NDArray[np.uint16], offsets: Ints) -> None:
    """Write at which positions of their rows words of S segments start: at the first token, which has position 1, and where flagged.

    starts, ends: (S,) the segments, none of them empty. flags: (T,) whether a word starts at a token.
    Output: places, room for one more than the segments have tokens; offsets (S + 1,), where each segment's begin in them.
    """
    count = 0
    for i in range(len(starts)):
        offsets[i] = count
        places[count] = 1
        count += 1
        # Written in any case, and kept where flagged: which tokens start a word cannot be foreseen.
        for token in range(starts[i] + 1, ends[i]):
            places[count] = token - starts[i] + 1
            count += flags[token]
    offsets[len(starts)] = count


@kernel
def flag_places(rows: Ints, places: npt.NDArray[np.uint16], offsets: Ints, flags: Flags) -> None:
    """Say of which tokens of S rows it is written that a word starts; the first after ``[CLS]`` starts one always.

    rows: (S + 1,) where rows begin in all tokens, special ones included. places, offsets: as of `word_places`; what lies outside of its row
    is passed over. flags: output, (T,).
    """
    for i in range(len(rows) - 1):
        first, stop = rows[i], rows[i + 1]
        for token in range(first, stop):
            flags[token] = token == first + 1
        for number in range(offsets[i], offsets[i + 1]):
            token = first + np.int64(places[number])
            if token < stop:
                flags[token] = True


@kernel
def start_words(ids: npt.NDArray[Any], starts: Ints, ends: Ints, table: Flags, longest: int, flags: Flags) -> None:
    """Say where words of S segments start, by a table of entries that start one, words over ``longest`` tokens split.

    Parameters
    ----------
    ids
        (T,).
    starts, ends
        (S,) the segments.
    table
        (V,) whether an entry starts a word.
    longest
        Tokens of a word at most.
    flags
        Output, (T,): whether a word starts at a token; outside of segments nothing is written.
    """
    for i in range(len(starts)):
        first, stop = starts[i], ends[i]
        for token in range(first, stop):
            flags[token] = table[ids[token]]
        flags[first] = True
        split_long(flags, first, stop, longest)


@kernel
def settle_by_entry(
    ids: npt.NDArray[Any],
    starts: Ints,
    ends: Ints,
    lines: npt.NDArray[np.uint8],
    longest: int,
    flags: Flags,
    acted: Ints,
) -> None:
    """Bring base words of S segments under the rule, where an entry alone says which line acts on it.

    Parameters
    ----------
    ids
        (T,).
    starts, ends
        (S,) the segments.
    lines
        (V,) the line that acts on an entry, `NO_LINE` for none.
    longest
        Tokens of a word at most.
    flags
        In place, (T,): whether a word starts at a token.
    acted
        Added to, (LINES,): how often each line acted.
    """
    for i in range(len(starts)):
        first, stop = starts[i], ends[i]
        flags[first] = True
        acted[BASE_WORD] += count_words(flags[first:stop])
        for token in range(first + 1, stop):
            line = lines[ids[token]]
            if line != NO_LINE:
                flags[token] = line == SPACELESS
                acted[line] += 1
        acted[LONG_WORD] += split_long(flags, first, stop, longest)


@inlined
def _class_at(ids: npt.NDArray[Any], token: int, place: int, spelling: Spelling) -> Any:
    """Return the class of the character that begins at a byte of a token, and the token and byte behind it.

    A character may be spread over tokens; what is none, and what the segment ends within, has class 0.
    """
    byte = np.int64(spelling.data[spelling.offsets[ids[token]] + place])
    place += 1
    if byte < 0x80:
        return spelling.classes[byte], token, place
    missing = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
    point = byte & (0x3F >> missing)
    if byte < 0xC0:
        return np.uint8(0), token, place
    while missing > 0:
        while token < len(ids) and place >= spelling.offsets[ids[token] + 1] - spelling.offsets[ids[token]]:
            token, place = token + 1, 0
        if token == len(ids):
            return np.uint8(0), token, place
        byte = np.int64(spelling.data[spelling.offsets[ids[token]] + place])
        if byte & 0xC0 != 0x80:
            return np.uint8(0), token, place
        point = point << 6 | byte & 0x3F
        place, missing = place + 1, missing - 1
    return spelling.classes[point] if point < len(spelling.classes) else np.uint8(0), token, place


@inlined
def _is_spelled(ids: npt.NDArray[Any], token: int, spelling: Spelling) -> bool:
    return bool(spelling.offsets[ids[token] + 1] > spelling.offsets[ids[token]])


@inlined
def _is_white(ids: npt.NDArray[Any], first: int, stop: int, spelling: Spelling) -> bool:
    """Tell whether tokens are white space alone."""
    token, place = first, 0
    while token < stop:
        size = spelling.offsets[ids[token] + 1] - spelling.offsets[ids[token]]
        if place == size and size > 0:
            token, place = token + 1, 0
        elif size == 0:
            return False
        else:
            kind, token, place = _class_at(ids, token, place, spelling)
            if kind != WHITE_SPACE:
                return False
    return True


@inlined
def _line_at(ids: npt.NDArray[Any], token: int, begins: bool, base: Flags, spelling: Spelling) -> int:
    """Return the line that acts on a token, the first of a segment apart."""
    if not _is_spelled(ids, token, spelling):
        return NO_LINE
    kind, _, _ = _class_at(ids, token, 0, spelling)
    if kind == SPACELESS:
        return NO_LINE if begins else SPACELESS
    if not begins or kind == 0:
        return NO_LINE
    if kind == MARK:
        return MARK
    stop = token + 1
    while stop < len(ids) and not base[stop]:
        stop += 1
    return WHITE_SPACE if _is_white(ids, token, stop, spelling) else NO_LINE


@inlined
def _is_plain(entry: npt.NDArray[Any], spelling: Spelling) -> bool:
    """Tell whether no line acts on an entry, (1,), whatever stands around it.

    It has no text, or begins with a character that no line is about, of which white space may stand in front, all in the entry itself.
    """
    size = spelling.offsets[entry[0] + 1] - spelling.offsets[entry[0]]
    kind, token, place = np.uint8(WHITE_SPACE), 0, 0
    while kind == WHITE_SPACE and token == 0 and place < size:
        kind, token, place = _class_at(entry, 0, place, spelling)
    return bool(size == 0 or (token == 0 and kind == 0))


@kernel
def find_plain(spelling: Spelling, plain: Flags) -> None:
    """Say on which entries no line acts, whatever stands around them: nearly all. plain: output, (V,)."""
    entry = np.empty(1, np.int64)
    for number in range(len(plain)):
        entry[0] = number
        plain[number] = _is_plain(entry, spelling)


@kernel
def settle_by_spelling(
    ids: npt.NDArray[Any],
    starts: Ints,
    ends: Ints,
    spelling: Spelling,
    plain: Flags,
    longest: int,
    base: Flags,
    flags: Flags,
    acted: Ints,
) -> None:
    """Bring base words of S segments under the rule, by the characters that their tokens spell; see `settle_by_entry`.

    plain: (V,) as `find_plain` says; base: (T,) whether a base word starts at a token; flags: output, the same under the rule.
    """
    for i in range(len(starts)):
        first, stop = starts[i], ends[i]
        segment, words = ids[first:stop], base[first:stop]
        flags[first] = True
        acted[BASE_WORD] += 1
        for token in range(1, stop - first):
            acted[BASE_WORD] += words[token]
            if plain[segment[token]]:
                flags[first + token] = words[token]
                continue
            line = _line_at(segment, token, words[token], words, spelling)
            flags[first + token] = line == SPACELESS or (words[token] and line == NO_LINE)
            if line != NO_LINE:
                acted[line] += 1
        acted[LONG_WORD] += split_long(flags, first, stop, longest)


@kernel
def grow_to_words(
    starts: Ints,
    ends: Ints,
    flags: Flags,
    offsets: Ints,
    range_starts: Ints,
    range_ends: Ints,
    out_offsets: Ints,
) -> None:
    """Grow the ranges of S segments to the words that they touch; those that then overlap become one.

    Parameters
    ----------
    starts, ends
        (S,) the segments.
    flags
        (T,) whether a word starts at a token.
    offsets
        (S + 1,) in the ranges.
    range_starts, range_ends
        In place, (A,), token positions in the segment, ascending and apart.
    out_offsets
        Output, (S + 1,): in the ranges left, which lie at the front.
    """
    n = 0
    for i in range(len(starts)):
        first, size = starts[i], ends[i] - starts[i]
        out_offsets[i] = n
        for k in range(offsets[i], offsets[i + 1]):
            start, end = range_starts[k], range_ends[k]
            while start > 0 and not flags[first + start]:
                start -= 1
            while end < size and not flags[first + end]:
                end += 1
            if n > out_offsets[i] and start < range_ends[n - 1]:
                range_ends[n - 1] = max(end, range_ends[n - 1])
            else:
                range_starts[n], range_ends[n] = start, end
                n += 1
    out_offsets[len(starts)] = n
