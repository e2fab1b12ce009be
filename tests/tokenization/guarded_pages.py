"""Memory between two pages that nobody may touch, and texts encoded in it: run in a process that may die of it.

``encode CASING SPECIALS SEED…`` encodes texts of every length against either page, and compares with ordinary memory;
``lines CASING SEED`` tokenizes them as documents with lines; ``refuse CASING`` does the same with texts that end inside a character;
``touch PLACE WIDTH`` reads WIDTH bytes that begin PLACE bytes behind the first that may be read.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from tokenization.reference import Specials, same, tokenizer_of
from tokenization.unicode_texts import random_texts

from spanmask.errors import ConfigError
from spanmask.records import DocumentBlock

PAGE = mmap.PAGESIZE
LONGEST = 200
#: Fill a text up to its length.
_FILLING = b"ab cde.fgh1 Zyxwvutsrqponmlkjihgfedcba0123456789 "


class GuardedPages:
    """`pages` pages that can be read and written, with one before and one after them that can be neither."""

    def __init__(self, pages: int) -> None:
        self.size = pages * PAGE
        self._memory = mmap.mmap(-1, self.size + 2 * PAGE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) + PAGE
        self.end = self.start + self.size
        libc = ctypes.CDLL(None, use_errno=True)
        for address in (self.start - PAGE, self.end):
            if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, data: bytes, *, at_end: bool) -> pa.Buffer:
        """Put bytes right before the page after, or right after the page before."""
        address = self.end - len(data) if at_end else self.start
        ctypes.memmove(address, data, len(data))
        return pa.foreign_buffer(address, len(data), self)


def text_of(length: int, rng: np.random.Generator, source: str) -> bytes:
    """Return UTF-8 of just so many bytes: characters of a source from somewhere on, and ASCII where none fits any more."""
    first = int(rng.integers(0, len(source) - LONGEST))
    data = b""
    for char in source[first : first + LONGEST]:
        if len(data) + len(char.encode()) <= length:
            data += char.encode()
    return data + (_FILLING * 5)[: length - len(data)]


def texts_of(seed: int) -> Iterator[list[bytes]]:
    """Yield one text of every length, of odd characters, of ASCII and of one word, then several together."""
    rng = np.random.default_rng(seed)
    odd = "".join(random_texts(3000, seed))
    ascii_only = "The unbelievable Cat[MASK], 1984 words. " * 50
    for length in range(LONGEST + 1):
        for source in (odd, odd, ascii_only, "x" * 500):
            yield [text_of(length, rng, source)]
        yield [text_of(int(size), rng, odd) for size in rng.integers(0, 40, 5)]


def array_of(parts: list[bytes], text: pa.Buffer, bounds: pa.Buffer) -> pa.Array:
    return pa.Array.from_buffers(pa.large_string(), len(parts), [None, bounds, text])


def encode_everything(casing: str, specials: Specials, seed: int) -> int:
    """Encode texts against the unreadable pages, and return how many times that was done."""
    tokenizer = tokenizer_of(casing)
    pages, bounds_pages = GuardedPages(1), GuardedPages(1)
    count = 0
    for parts in texts_of(seed):
        data, bounds = b"".join(parts), np.cumsum([0, *map(len, parts)]).tobytes()
        inside = pa.py_buffer(b"\0" * 64 + data + b"\xff" * 64).slice(64, len(data))
        ordinary = array_of(parts, inside, pa.py_buffer(bounds))
        expected = {offsets: tokenizer.encode(ordinary, specials, offsets=offsets) for offsets in (False, True)}
        for at_end in (True, False):
            guarded = array_of(parts, pages.place(data, at_end=at_end), bounds_pages.place(bounds, at_end=True))
            for offsets in (False, True):
                found = tokenizer.encode(guarded, specials, offsets=offsets)
                assert same(found, expected[offsets]), (parts, at_end, offsets)
                count += 1
    return count


def tokenize_lines(casing: str, seed: int) -> int:
    """Tokenize documents against the unreadable pages line by line, and return how many documents there were."""
    pages = GuardedPages(1)
    count = 0
    for parts in texts_of(seed):
        data = b"".join(part.replace(b" ", b"\n") for part in parts)
        fields: dict[str, Any] = {
            "document_offsets": np.cumsum([0, *map(len, parts)]),
            "document_ids": np.arange(len(parts), dtype=np.uint64),
        }
        guarded = np.frombuffer(pages.place(data, at_end=True), np.uint8)
        found, expected = (
            tokenizer_of(casing).tokenize(DocumentBlock(text=text, **fields), lines=True)
            for text in (guarded, np.frombuffer(data, np.uint8))
        )
        assert same(found, expected), parts
        assert np.array_equal(found.line_starts, expected.line_starts), parts
        count += len(parts)
    return count


def refuse_everything(casing: str) -> int:
    """Give texts that end inside a character right before the unreadable page, and return how many were refused."""
    pages = GuardedPages(1)
    count = 0
    for head in ("é", "漢", "😀"):
        for kept in range(1, len(head.encode())):
            for length in range(70):
                data = (_FILLING * 2)[:length] + head.encode()[:kept]
                bounds = pa.py_buffer(np.array([0, len(data)]).tobytes())
                try:
                    tokenizer_of(casing).encode(array_of([data], pages.place(data, at_end=True), bounds))
                except ConfigError:
                    count += 1
    return count


def touch(place: int, width: int) -> int:
    """Read bytes that begin `place` bytes behind the first readable one; of one page, PAGE is the first behind it."""
    pages = GuardedPages(1)
    return len(ctypes.string_at(pages.start + place, width))


def main(command: str, *rest: str) -> int:
    if command == "encode":
        specials: Specials = "parse" if rest[1] == "parse" else "text"
        return sum(encode_everything(rest[0], specials, int(seed)) for seed in rest[2:])
    if command == "lines":
        return tokenize_lines(rest[0], int(rest[1]))
    return refuse_everything(rest[0]) if command == "refuse" else touch(int(rest[0]), int(rest[1]))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
