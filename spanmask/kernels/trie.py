"""A vocabulary as a trie over UTF-8 bytes, and WordPiece's greedy longest match in it (Wu et al. 2016, §4.1; BERT's own rule).

Edges lie in an open-addressing hash table, 8 bytes each: the node and byte that an edge leaves by, and the node it leads to. The node at
the end of piece i is i + 2, so that no table of ids is needed; the others are numbered from V + 2. Pieces that continue a word have a
root of their own, so no prefix is ever written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spanmask.kernels._jit import Bytes, Ints, inlined, kernel, signed

#: Where walks start: the pieces that start a word, and those that continue one.
FIRST, CONTINUED = 0, 1
#: Nodes that can be told apart.
NODE_LIMIT = 1 << 23

_ROOTS = 2
_EMPTY = -1
HALF = 32
LOW = (1 << HALF) - 1
#: Knuth's multiplier for hashing 32 bits (TAOCP 6.4); keys have 31, so that products fit in 63.
_SPREAD = 2654435761


class Trie(NamedTuple):
    """edges: (E,) (node · 256 + byte) · 2³² + target, or −1; E is a power of two, above the number of edges. pieces: V."""

    edges: Ints
    pieces: int


@inlined
def follow(edges: Ints, key: int) -> int:
    """Return where a key lies in the table, or −1 − the empty slot where it would."""
    mask = len(edges) - 1
    slot = ((key * _SPREAD) >> 24) & mask
    # Linear probing ends: the table is larger than the number of edges, so there is an empty slot, and edges are never taken out.
    while True:
        edge = edges[slot]
        if edge >> HALF == key:
            return slot
        if edge == _EMPTY:
            return -1 - slot
        slot = (slot + 1) & mask


@kernel
def build_trie(text: Bytes, offsets: Ints, roots: Any, order: Any, trie: Trie) -> int:
    """Enter V different pieces.

    Parameters
    ----------
    text, offsets
        UTF-8 of all pieces, (V + 1,) where each begins; an empty one is left out.
    roots, order
        (V,) `FIRST` or `CONTINUED`; (V,) the pieces by ascending length.
    trie
        Output: edges filled with −1, more than the pieces have bytes, or than the edges returned before.

    Returns
    -------
    int
        Edges entered.
    """
    nodes = len(roots) + _ROOTS
    count = 0
    # Shorter pieces first: a node is numbered when it is first met, and the end of a piece must not have become an inner node by then.
    for piece in order:
        node = signed(roots[piece])
        last = offsets[piece + 1] - 1
        for at in range(offsets[piece], last + 1):
            key = node << 8 | signed(text[at])
            slot = follow(trie.edges, key)
            if slot < 0:
                node = nodes
                if at == last:
                    node = piece + _ROOTS
                else:
                    nodes += 1
                count += 1
                trie.edges[-1 - slot] = key << HALF | node
            else:
                node = trie.edges[slot] & LOW
    return count


def trie_of(text: Bytes, offsets: Ints, roots: Ints) -> Trie:
    """Return a trie of V different pieces; see `build_trie`."""
    order = np.argsort(np.diff(offsets), kind="stable")
    edges = len(text)
    for _ in range(2):  # Then as large as it has to be: pieces share edges.
        built = Trie(np.full(1 << int(edges * 4 // 3 + 1).bit_length(), -1, np.int64), len(roots))
        edges = build_trie(text, offsets, roots, order, built)
    return built


@inlined
def match(trie: Trie, text: Bytes, start: int, end: int, root: int) -> tuple[int, int]:
    """Return the longest piece that ``text[start:end]`` begins with, −1 for none, and where it ends."""
    node, found, stop = root, -1, start
    # Kept: `node` stands for text[start:at], and found is the longest piece that ends within it. The walk goes on past it, for a longer
    # one; it cannot end inside a character, since pieces are whole characters.
    for at in range(start, end):
        slot = follow(trie.edges, node << 8 | signed(text[at]))
        if slot < 0:
            break
        node = trie.edges[slot] & LOW
        if node < trie.pieces + _ROOTS:
            found, stop = node - _ROOTS, at + 1
    return found, stop
