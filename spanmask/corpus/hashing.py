"""SHA-256s of input files, made of the bytes as they are read: no file is read for them alone where it is read in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from spanmask.corpus.inputs import InputFile
from spanmask.corpus.sources import open_input

#: Bytes that are hashed at once.
_PIECE_BYTES = 1 << 20


class RangeHash:
    """The SHA-256 of bytes [start, stop) of a file, of which readers tell as they read: some twice, others not at all."""

    def __init__(self, start: int, stop: int) -> None:
        self._content = hashlib.sha256()
        self._at, self._stop = start, stop

    def saw(self, offset: int, data: bytes) -> None:
        """Take in what follows the bytes hashed so far, if it is among these."""
        if offset <= self._at < offset + len(data):
            piece = memoryview(data)[self._at - offset : self._stop - offset]
            self._content.update(piece)
            self._at += len(piece)

    def finish(self, file: InputFile, on_bytes: Callable[[int], object] = lambda _: None) -> str:
        """Read what nobody told of, and return the digest in hexadecimal. on_bytes: called with how many bytes more were read.

        Raises
        ------
        StorageError
            The file cannot be read.
        """
        if self._at < self._stop:
            with open_input(file, self._at) as source:
                while self._at < self._stop and (data := source.read(min(_PIECE_BYTES, self._stop - self._at))):
                    self.saw(self._at, data)
                    on_bytes(len(data))
        return self._content.hexdigest()


def joined(digests: Iterable[str]) -> str:
    """Return the SHA-256 over digests of ranges in their order (FORMAT.md §4)."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges that a file is hashed in: of so many bytes, the last shorter; a whole file is one, if of none."""

    size: int
    step: int

    def __len__(self) -> int:
        return max(1, -(-self.size // self.step))

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Return the bytes [start, stop) of a range."""
        return number * self.step, min((number + 1) * self.step, self.size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return map(self.__getitem__, range(len(self)))


def input_digest(
    file: InputFile, range_bytes: int | None = None, on_bytes: Callable[[int], object] = lambda _: None
) -> str:
    """Return the SHA-256 of a whole file, or over those of its ranges, as a manifest's record says it was made.

    Raises
    ------
    StorageError
        The file cannot be read.
    """
    if range_bytes is None:
        return RangeHash(0, file.size).finish(file, on_bytes)
    return joined(RangeHash(*bounds).finish(file, on_bytes) for bounds in Ranges(file.size, range_bytes))
