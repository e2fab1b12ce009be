"""Added tokens in text: leftmost-longest, in one pass backwards and one forwards, whatever the tokens and the text.

Backwards, an automaton (Aho and Corasick 1975) of the tokens' contents read from their ends knows at each byte the longest one that begins
there, so that nothing is read twice; forwards, the first is taken, then the first behind it.
"""

from __future__ import annotations

from typing import NamedTuple

from spanmask.kernels._jit import Bytes, Flags, Ints, inlined, kernel, signed
from spanmask.kernels.text import read_code_point, white_width, white_width_before
from spanmask.kernels.trie import HALF, LOW, follow

#: Flags of an added token: it is none beside a part of a word; it takes the white space before, and behind it.
SINGLE_WORD, LSTRIP, RSTRIP = 1, 2, 4

#: Bytes looked at together.
_STRIDE = 64


class Automaton(NamedTuple):
    """N nodes, node 0 the root.

    edges: as a trie's (`spanmask.kernels.trie`). fallbacks: (N,) the node of the longest proper suffix that is one. longest: (N,) the
    longest content that a node's ends with, −1 for none. pairs: (65536,) which two bytes (first · 256 + second) may end one; its byte alone
    is behind any. ends: the same as (3, 3) bytes in a row: the second, the first, and whether any first will do; (0,) for more seconds.
    """

    edges: Ints
    fallbacks: Ints
    longest: Ints
    pairs: Flags
    ends: Bytes


class Contents(NamedTuple):
    """A added tokens. lengths: (A,) bytes. ids, flags: (A,). words: (0x110000,) which code points are parts of words, (0,) if none asks."""

    lengths: Ints
    ids: Ints
    flags: Ints
    words: Flags


class Found(NamedTuple):
    """Room for Q stretches: starts, ends, ids, and which of the stretches given each lies in."""

    starts: Ints
    ends: Ints
    ids: Ints
    sources: Ints


@kernel
def build_automaton(text: Bytes, starts: Ints, lengths: Ints, automaton: Automaton) -> int:
    """Enter A different contents, none of them empty.

    Parameters
    ----------
    text, starts, lengths
        UTF-8 of all contents; (A,) where each begins and how many bytes it has, the longest first.
    automaton
        Output: edges and longest filled with −1, the rest with 0; more edges than all contents have bytes, a power of two, and one more
        node.

    Returns
    -------
    int
        Nodes.
    """
    edges, fallbacks, longest = automaton.edges, automaton.fallbacks, automaton.longest
    nodes = 1
    count = len(starts)
    # One byte of every content a round, so that nodes nearer to the root are complete. `reached` of content i lies in ends[i].
    reached = starts * 0
    depth = 0
    while count > 0:
        for i in range(count):
            byte = signed(text[starts[i] + lengths[i] - 1 - depth])
            key = reached[i] << 8 | byte
            slot = follow(edges, key)
            if slot < 0:
                edges[-1 - slot] = key << HALF | nodes
                fallbacks[nodes] = _step(automaton, fallbacks[reached[i]], byte) if depth > 0 else 0
                longest[nodes] = longest[fallbacks[nodes]]
                reached[i] = nodes
                nodes += 1
            else:
                reached[i] = edges[slot] & LOW
            if depth + 1 == lengths[i]:
                longest[reached[i]] = i
        depth += 1
        while count > 0 and lengths[count - 1] == depth:
            count -= 1
    return nodes


@inlined
def _step(automaton: Automaton, node: int, byte: int) -> int:
    """Return the node behind a node and a byte."""
    slot = follow(automaton.edges, node << 8 | byte)
    while slot < 0 and node != 0:
        node = automaton.fallbacks[node]
        slot = follow(automaton.edges, node << 8 | byte)
    return 0 if slot < 0 else automaton.edges[slot] & LOW


@inlined
def _may_end(text: Bytes, at: int, ends: Bytes) -> bool:
    """Tell whether a content may end with one of the `_STRIDE` bytes up to a position. The caller guarantees one more before them."""
    block = text[at - _STRIDE : at + 1]
    one, two, three = ends[0], ends[3], ends[6]
    before_one, before_two, before_three = ends[1], ends[4], ends[7]
    any_one, any_two, any_three = ends[2] > 0, ends[5] > 0, ends[8] > 0
    found = False
    for i in range(_STRIDE):  # No early end, and upwards: this way it is compiled to wide comparisons.
        before, byte = block[i], block[i + 1]
        found |= (byte == one) & (any_one | (before == before_one))
        found |= (byte == two) & (any_two | (before == before_two))
        found |= (byte == three) & (any_three | (before == before_three))
    return found


@inlined
def _find_backwards(text: Bytes, start: int, end: int, automaton: Automaton, places: Ints, contents: Ints) -> int:
    """Write where contents begin, from the last place to the first, and the longest at each; return how many places."""
    count, node, at = 0, 0, end - 1
    while at >= start:
        if node == 0 and at - _STRIDE >= start and len(automaton.ends) > 0 and not _may_end(text, at, automaton.ends):
            at -= _STRIDE
            continue
        stop = max(at - _STRIDE, start - 1)
        while at > stop:
            byte = signed(text[at])
            if node > 0 or at == start or automaton.pairs[signed(text[at - 1]) << 8 | byte]:
                node = _step(automaton, node, byte)
                content = automaton.longest[node]
                if content >= 0:
                    places[count] = at
                    contents[count] = content
                    count += 1
            at -= 1
    return count


@inlined
def _is_part_of_word(text: Bytes, at: int, words: Flags) -> bool:
    byte = signed(text[at])
    return bool(words[byte if byte < 0x80 else read_code_point(text, at)[0]])


@inlined
def _is_alone(text: Bytes, start: int, end: int, at: int, stop: int, words: Flags) -> bool:
    """Tell whether neither the character before ``text[at:stop]`` nor the one behind it, within a stretch, is a part of a word."""
    if stop < end and _is_part_of_word(text, stop, words):
        return False
    if at == start:
        return True
    before = at - 1
    while text[before] & 0xC0 == 0x80:
        before -= 1
    return not _is_part_of_word(text, before, words)


@inlined
def _put(found: Found, count: int, start: int, end: int, number: int, source: int) -> int:
    """Add a stretch unless it is empty; return how many there are."""
    if start == end:
        return count
    found.starts[count], found.ends[count] = start, end
    found.ids[count], found.sources[count] = number, source
    return count + 1


@inlined
def _cut(
    text: Bytes,
    start: int,
    end: int,
    source: int,
    kinds: Contents,
    seen: tuple[Ints, Ints, int],
    found: Found,
    count: int,
) -> int:
    """Cut a stretch at the added tokens that are taken; return how many stretches there are."""
    places, contents, last = seen
    at = done = start
    for k in range(last - 1, -1, -1):
        begin = places[k]
        if begin < at:
            continue
        content = contents[k]
        # What is no word of its own is passed over as a whole: a shorter content there is not tried.
        at = stop = begin + kinds.lengths[content]
        flags = kinds.flags[content]
        if flags & SINGLE_WORD and not _is_alone(text, start, end, begin, stop, kinds.words):
            continue
        if flags & LSTRIP:
            width = 1
            while begin > done and width > 0:
                width = white_width_before(text, begin)
                begin -= width
        if flags & RSTRIP:
            width = 1
            while stop < end and width > 0:
                width = white_width(text, stop)
                stop += width
        count = _put(found, count, done, begin, -1, source)
        count = _put(found, count, begin, stop, kinds.ids[content], source)
        done = stop
    return _put(found, count, done, end, -1, source)


@kernel
def find_added(
    text: Bytes,
    starts: Ints,
    ends: Ints,
    ids: Ints,
    first: int,
    automaton: Automaton,
    kinds: Contents,
    places: Ints,
    contents: Ints,
    found: Found,
) -> tuple[int, int]:
    """Cut stretches at added tokens, as many as there is surely room for.

    Parameters
    ----------
    text, starts, ends, ids
        P stretches; those with an id are added tokens already, and stay.
    first
        The first stretch to take.
    automaton, kinds
        The added tokens. One that takes white space behind it must not meet one that begins with white space.
    places, contents
        Scratch, as long as the longest stretch.
    found
        Output, with room for more than the longest stretch has bytes.

    Returns
    -------
    tuple of int
        The first stretch that was not taken, and how many stretches were found.
    """
    count = 0
    for source in range(first, len(starts)):
        start, end = starts[source], ends[source]
        if count + end - start > len(found.starts):
            return source, count
        if ids[source] >= 0:
            count = _put(found, count, start, end, ids[source], source)
            continue
        last = _find_backwards(text, start, end, automaton, places, contents)
        count = _cut(text, start, end, source, kinds, (places, contents, last), found, count)
    return len(starts), count
