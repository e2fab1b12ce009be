"""Find and unescape strings in JSON lines (RFC 8259): bytes flow in, places of values and texts flow out.

Written to be sure rather than complete: what is not plainly valid is left to a parser that says what is wrong with it.
Where quotes, backslashes and control characters stand is found first, for all lines: strings are then passed over in one step.
A line is read token by token; a table says which may follow which, and a word of bits which lists and objects are open.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Ints, inlined, kernel
from spanmask.kernels.text import write_code_point

#: Nesting up to which values that nobody wants are read past.
DEPTH_LIMIT = 64
#: Characters of a number, and digits of its exponent, up to which every parser agrees that it is one.
_NUMBER_LIMIT, _EXPONENT_LIMIT = 64, 2
#: Answer: this is not plainly valid.
UNSURE = -1
#: An escape hides which name it is.
_HIDDEN = -2
#: Bytes looked at, or copied, together; copies write so many bytes at once.
STRIDE = 64

_QUOTE, _BACKSLASH, _MINUS, _PLUS, _DOT, _ZERO, _UNICODE = 0x22, 0x5C, 0x2D, 0x2B, 0x2E, 0x30, 0x75

_Places = npt.NDArray[np.int32]

# Tokens, by their first byte.
_WRONG, _STRING, _SCALAR, _COLON, _COMMA, _OPEN_OBJECT, _OPEN_LIST, _CLOSE_OBJECT, _CLOSE_LIST = range(9)
# What has been read: nothing, "{", a name, a colon, a value in an object, a comma there, "[", a value in a list, a comma there, everything.
_START, _OPENED, _NAMED, _PAIRED, _FILLED, _NEXT_NAME, _LISTED, _ITEM, _NEXT_ITEM, _DONE = range(10)


def _token_table() -> npt.NDArray[np.int8]:
    """Return the (256,) token that each byte begins."""
    table = np.full(256, _WRONG, np.int8)
    firsts = {
        '"': _STRING,
        ":": _COLON,
        ",": _COMMA,
        "{": _OPEN_OBJECT,
        "[": _OPEN_LIST,
        "}": _CLOSE_OBJECT,
        "]": _CLOSE_LIST,
    }
    for first, token in (firsts | dict.fromkeys("-0123456789tfn", _SCALAR)).items():
        table[ord(first)] = token
    return table


def _grammar() -> npt.NDArray[np.int8]:
    """Return the (10, 9) state after each state and token, `UNSURE` where it may not follow; after the last bracket, `_DONE`."""
    after = np.full((10, 9), UNSURE, np.int8)
    after[_START, _OPEN_OBJECT] = _OPENED
    for state in (_OPENED, _NEXT_NAME):
        after[state, _STRING] = _NAMED
    after[_NAMED, _COLON] = _PAIRED
    for state, then in ((_PAIRED, _FILLED), (_LISTED, _ITEM), (_NEXT_ITEM, _ITEM)):
        after[state, _STRING] = after[state, _SCALAR] = then
        after[state, _OPEN_OBJECT], after[state, _OPEN_LIST] = _OPENED, _LISTED
    after[_FILLED, _COMMA], after[_ITEM, _COMMA] = _NEXT_NAME, _NEXT_ITEM
    after[[_OPENED, _FILLED], _CLOSE_OBJECT] = after[[_LISTED, _ITEM], _CLOSE_LIST] = _DONE
    return after


_TOKENS, _AFTER = _token_table(), _grammar()
#: What a backslash and a letter other than u stand for.
_UNESCAPED = np.full(256, UNSURE, np.int16)
_UNESCAPED[[*b'"\\/bfnrt']] = [*b'"\\/\b\f\n\r\t']


@inlined
def _byte(data: Bytes, at: int, end: int) -> int:
    """Return a byte, or NUL from the end on: it stands nowhere in JSON."""
    return np.int64(data[at]) if at < end else np.int64(0)  # type: ignore[return-value]


@inlined
def _past_white(data: Bytes, at: int, end: int) -> int:
    while at < end and (data[at] == 0x20 or data[at] == 0x09 or data[at] == 0x0D):
        at += 1
    return at


@inlined
def _is_digit(byte: int) -> bool:
    return 0x30 <= byte <= 0x39


@inlined
def _past_digits(data: Bytes, at: int, end: int) -> int:
    while at < end and _is_digit(data[at]):
        at += 1
    return at


@inlined
def _hexadecimal(data: Bytes, at: int, end: int) -> int:
    """Return the value of four hexadecimal digits, or a negative number."""
    value = 0
    for k in range(4):
        byte = _byte(data, at + k, end)
        letter = byte | 0x20
        if _is_digit(byte):
            value = value << 4 | byte - 0x30
        elif 0x61 <= letter <= 0x66:
            value = value << 4 | letter - 0x57
        else:
            return UNSURE
    return value


@inlined
def _code_point(data: Bytes, at: int, end: int) -> Any:
    r"""Read the ``\uXXXX``, or the pair of them, at a position; return its code point, or `UNSURE`, and the position after it."""
    first = _hexadecimal(data, at + 2, end)
    if first < 0xD800 or first > 0xDFFF:
        return first, at + 6
    second = _hexadecimal(data, at + 8, end)
    paired = _byte(data, at + 6, end) == _BACKSLASH and _byte(data, at + 7, end) == _UNICODE
    if first > 0xDBFF or not paired or second < 0xDC00 or second > 0xDFFF:
        return UNSURE, at
    return 0x10000 + ((first - 0xD800) << 10) + second - 0xDC00, at + 12


@inlined
def _escape_end(data: Bytes, at: int, end: int) -> int:
    """Return the position after the escape at a position, or `UNSURE`."""
    letter = _byte(data, at + 1, end)
    if letter != _UNICODE:
        return at + 2 if _UNESCAPED[letter] >= 0 else UNSURE
    code, after = _code_point(data, at, end)
    return after if code >= 0 else UNSURE


@inlined
def _is_special(byte: int) -> bool:
    return (byte == _QUOTE) | (byte == _BACKSLASH) | (byte < 0x20)


@inlined
def _has_special(data: Bytes) -> bool:
    found = False
    for k in range(STRIDE):  # No early end: this way it is compiled to a few wide comparisons.
        found |= _is_special(data[k])
    return found


@kernel
def find_specials(data: Bytes, specials: _Places) -> int:
    """Find the quotes, backslashes and control characters of (C,) bytes.

    Parameters
    ----------
    data
        At most 2³¹ − 1 bytes.
    specials
        Output, (≥ 1,): position of each, ascending, and after them C.

    Returns
    -------
    int
        How many there are, or `UNSURE` where `specials` has no room for them and `STRIDE` more.
    """
    count = 0
    # Kept: specials[:count] are those of data[:first], and there is room for a whole stride of them. Text is nearly free of them, so that
    # most strides are looked at once, all together; the last, short one byte by byte.
    for first in range(0, len(data), STRIDE):
        if count + STRIDE >= len(specials):
            return UNSURE
        block = data[first : first + STRIDE]
        if len(block) < STRIDE or _has_special(block):
            for k in range(len(block)):
                if _is_special(block[k]):
                    specials[count] = first + k
                    count += 1
    specials[count] = len(data)
    return count


@inlined
def _next_special(specials: _Places, cursor: int, at: int) -> int:
    """Return the index of the first special at or after a position, going on from an earlier one.

    Positions asked for only grow, so that all calls on a block together pass over its specials once; the one after the last ends the walk.
    """
    while specials[cursor] < at:
        cursor += 1
    return cursor


@inlined
def _past_string(data: Bytes, specials: _Places, cursor: int, end: int) -> Any:
    """Return the position after a string, or `UNSURE`, and the index of its last special. cursor: of its first one."""
    at: Any = np.int64(specials[cursor])
    # Kept: `at` is a special inside the string, all before it is plain or an escape. The quote of an escape is passed over with it, and a
    # control character ends the loop as what is not a quote.
    while at < end and data[at] == _BACKSLASH:
        after = _escape_end(data, at, end)
        if after < 0:
            return UNSURE, cursor
        cursor = _next_special(specials, cursor, after)
        at = np.int64(specials[cursor])
    return at + 1 if at < end and data[at] == _QUOTE else np.int64(UNSURE), cursor


@inlined
def _number_end(data: Bytes, first: int, end: int) -> int:
    """Return the position after the number at a position, or `UNSURE`."""
    whole = first + (_byte(data, first, end) == _MINUS)
    at = _past_digits(data, whole, end)
    if at == whole or (data[whole] == _ZERO and at > whole + 1):
        return UNSURE
    if _byte(data, at, end) == _DOT:
        part = at + 1
        at = _past_digits(data, part, end)
        if at == part:
            return UNSURE
    if _byte(data, at, end) | 0x20 == 0x65:
        sign = _byte(data, at + 1, end)
        part = at + 1 + (sign in (_PLUS, _MINUS))
        at = _past_digits(data, part, end)
        if not 0 < at - part <= _EXPONENT_LIMIT:
            return UNSURE
    return at if at - first <= _NUMBER_LIMIT else UNSURE


@inlined
def _literal_end(data: Bytes, at: int, end: int) -> int:
    """Return the position after the ``true``, ``false`` or ``null`` at a position, or `UNSURE`."""
    word = 0
    for k in range(4):
        word = word << 8 | _byte(data, at + k, end)
    if word in (0x74727565, 0x6E756C6C):
        return at + 4
    return at + 5 if word == 0x66616C73 and _byte(data, at + 4, end) == 0x65 else UNSURE


@inlined
def _scalar_end(data: Bytes, at: int, end: int) -> int:
    """Return the position after the number or word at a position, or `UNSURE`."""
    return _literal_end(data, at, end) if data[at] >= 0x61 else _number_end(data, at, end)


@inlined
def _field(data: Bytes, start: int, end: int, names: Bytes, name_offsets: Ints) -> int:
    """Return which wanted name ``data[start:end]`` is, `UNSURE` for none, `_HIDDEN` where an escape hides it."""
    for k in range(len(name_offsets) - 1):
        first = name_offsets[k]
        same = end - start == name_offsets[k + 1] - first
        for i in range((end - start) * same):
            same &= data[start + i] == names[first + i]
        if same:
            return k
    for at in range(start, end):
        if data[at] == _BACKSLASH:
            return _HIDDEN
    return UNSURE


@inlined
def _nested(token: int, objects: np.uint64, depth: int, state: int) -> Any:
    """Return what is open, how deep, and the state after a token that may open or close a list or object."""
    one = np.uint64(1)
    if token in (_OPEN_OBJECT, _OPEN_LIST):
        return objects << one | np.uint64(token == _OPEN_OBJECT), depth + 1, state if depth < DEPTH_LIMIT else UNSURE
    # The grammar takes every closing bracket for the last; the bit below the one that closes says what goes on around it.
    if state == _DONE and depth > 1:
        return objects >> one, depth - 1, _FILLED if objects >> one & one else _ITEM
    return objects, depth, state


@inlined
def _note(field: int, line: int, start: int, end: int, places: Ints) -> bool:
    """Note where a wanted string is; tell whether it is the first of its name."""
    first = places[field, line, 0] == UNSURE
    places[field, line, 0], places[field, line, 1] = start, end
    return bool(first)


@kernel
def _read_line(
    data: Bytes,
    specials: _Places,
    at: int,
    end: int,
    names: Bytes,
    name_offsets: Ints,
    line: int,
    places: Ints,
    cursor: int,
) -> int:
    """Note a line's wanted strings; return the index of a special near its end, or `UNSURE` where it may be no object."""
    objects, depth, state, field = np.uint64(0), 0, _START, UNSURE
    at = _past_white(data, at, end)
    # Kept: data[:at] of the line is a beginning of one JSON object, `state` says of what kind, the low `depth` bits of `objects` what is
    # open. A name counts only at depth 1, and a wanted one must have a string: all else is left to the parser that explains.
    while at < end:
        first, token = at, _TOKENS[data[at]]
        wanted = state == _PAIRED and depth == 1 and field >= 0
        state = _AFTER[state, token]
        at += 1
        if token == _STRING:
            at, cursor = _past_string(data, specials, _next_special(specials, cursor, at), end)
            if wanted and not _note(field, line, first + 1, at - 1, places):
                return UNSURE
            if state == _NAMED and depth == 1 and at > 0:
                field = _field(data, first + 1, at - 1, names, name_offsets)
        elif token == _SCALAR:
            at = _scalar_end(data, first, end)
        else:
            objects, depth, state = _nested(token, objects, depth, state)
        if state == UNSURE or at < 0 or field == _HIDDEN or (wanted and token != _STRING):
            return UNSURE
        at = _past_white(data, at, end)
    return cursor if state == _DONE else UNSURE


@kernel
def find_strings(
    data: Bytes,
    specials: _Places,
    starts: Ints,
    ends: Ints,
    names: Bytes,
    name_offsets: Ints,
    places: Ints,
) -> bool:
    """Find the strings that every one of L lines has under K names.

    Parameters
    ----------
    data
        (C,) valid UTF-8.
    specials
        Its specials, as `find_specials` says.
    starts, ends
        (L,): a line is ``data[start:end]``, without its newline. Ascending.
    names, name_offsets
        UTF-8 of the names, and (K + 1,) offsets of each in it; no two are equal.
    places
        Output, (K, L, 2): where each string starts and ends in `data`, between its quotes.

    Returns
    -------
    bool
        Whether every line is one JSON object that has each name once, with a string. False also where a line may be such an object:
        nested deeper than `DEPTH_LIMIT`, a number with many digits, an escape in a name. Then `places` says nothing.
    """
    places[:] = UNSURE
    cursor = 0
    for line in range(len(starts)):
        cursor = _read_line(data, specials, starts[line], ends[line], names, name_offsets, line, places, cursor)
        if cursor < 0:
            return False
        for field in range(len(name_offsets) - 1):
            if places[field, line, 0] == UNSURE:
                return False
    return True


@inlined
def _copy(data: Bytes, at: int, end: int, out: Bytes, n: int) -> int:
    """Copy ``data[at:end]`` to ``out[n]`` and on, `STRIDE` bytes at a time while the data last; return the position after it."""
    size = end - at
    done = 0
    # The last stride may write past the string: what comes next overwrites it, and `out` has a stride of room at its end.
    while done < size and at + done + STRIDE <= len(data):
        source, target = data[at + done : at + done + STRIDE], out[n + done : n + done + STRIDE]
        for k in range(STRIDE):
            target[k] = source[k]
        done += STRIDE
    for k in range(done, size):
        out[n + k] = data[at + k]
    return n + size


@kernel
def unescape(data: Bytes, specials: _Places, places: Ints, out: Bytes, offsets: Ints) -> None:
    """Copy strings one after another, escapes resolved.

    Parameters
    ----------
    data, specials
        What `find_strings` looked at.
    places
        (L, 2): where each string starts and ends, as `find_strings` says.
    out
        Output, (≥ bytes of all strings + `STRIDE`,): UTF-8. No escape is shorter than what it stands for.
    offsets
        Output, (L + 1,): offset of each string in `out`.
    """
    n, cursor = 0, 0
    offsets[0] = 0
    for line in range(len(places)):
        at, end = places[line, 0], places[line, 1]
        cursor = _next_special(specials, cursor, at)
        # Kept: what lies before `at` is written, and out[:n] is no longer than what it was read from, so `out` cannot run over. Every
        # special within the string is an escape: find_strings has seen to that.
        while specials[cursor] < end:
            escape: Any = np.int64(specials[cursor])
            n = _copy(data, at, escape, out, n)
            if data[escape + 1] == _UNICODE:
                code, at = _code_point(data, escape, end)
            else:
                code, at = np.int64(_UNESCAPED[data[escape + 1]]), escape + 2
            n = write_code_point(code, out, n)
            cursor = _next_special(specials, cursor, at)
        n = _copy(data, at, end, out, n)
        offsets[line + 1] = n
