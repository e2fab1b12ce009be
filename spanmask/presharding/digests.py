"""Digests of the inputs: made of ranges by the units that read them, put together as the manifest records them (FORMAT.md §4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from spanmask.corpus.hashing import RangeHash, Ranges, joined
from spanmask.corpus.inputs import InputFile, Part
from spanmask.presharding.planning import Plan
from spanmask.shard.input_list import InputRecord
from spanmask.shard.stated import is_count, require

_HEX = frozenset("0123456789abcdef")
_DIGEST_BYTES = 32


class Hashed(NamedTuple):
    """What a unit hashed: bytes [start, stop) of an input, and their SHA-256 in hexadecimal."""

    input: int
    start: int
    stop: int
    sha256: str

    @classmethod
    def from_json(cls, value: Any) -> Hashed:
        """Read what JSON made of one; a ``ValueError`` or ``TypeError`` says that it is none."""
        hashed = cls(*value)
        require(all(map(is_count, hashed[:3])) and hashed.start <= hashed.stop, "no range")
        require(len(hashed.sha256) == 64 and _HEX.issuperset(hashed.sha256), "no digest")
        return hashed


@dataclass(frozen=True)
class InputRanges:
    """Which bytes of the inputs the units of a plan hash.

    A file that is one part is hashed whole by who reads it. One of several is cut into ranges of ``shard_bytes``; of text these are the
    parts themselves, and else each part takes its share of them, so that all are taken once.
    """

    plan: Plan

    @cached_property
    def _parts(self) -> dict[int, list[int]]:
        """The starts of every input's parts."""
        parts: dict[int, list[int]] = {}
        for task in self.plan.tasks:
            for part in task.parts:
                parts.setdefault(part.file.index, []).append(part.start)
        return parts

    @cached_property
    def unread(self) -> list[InputFile]:
        """The inputs that no task reads: files of no rows."""
        return [file for file in self.plan.files if file.index not in self._parts]

    def range_bytes(self, file: InputFile) -> int | None:
        """Return the bytes of the ranges that a file is hashed in, or None for one that is hashed whole."""
        step = self.plan.config.output.shard_bytes
        return step if len(self._parts.get(file.index, ())) > 1 and file.size > step else None

    def of_file(self, file: InputFile) -> Ranges:
        """Return the ranges of a file."""
        return Ranges(file.size, self.range_bytes(file) or max(1, file.size))

    def of_part(self, part: Part) -> list[tuple[int, int]]:
        """Return the ranges that the reader of a part hashes."""
        starts, ranges = self._parts[part.file.index], self.of_file(part.file)
        number = bisect_left(starts, part.start)
        first, stop = (-(-bound * len(ranges) // len(starts)) for bound in (number, number + 1))
        return [ranges[k] for k in range(first, stop)]


class InputDigests:
    """The digests of all inputs, put together from those of their ranges as these come; 32 bytes a range."""

    def __init__(self, ranges: InputRanges) -> None:
        self._ranges = ranges
        self._found: dict[int, bytearray] = {}

    def add(self, hashed: Iterable[Hashed]) -> None:
        """Take in what a unit hashed; what is no range of the plan is let be."""
        files = self._ranges.plan.files
        for one in hashed:
            if one.input >= len(files):
                continue
            ranges = self._ranges.of_file(files[one.input])
            number = one.start // ranges.step
            if number < len(ranges) and ranges[number] == (one.start, one.stop):
                if one.input not in self._found:
                    self._found[one.input] = bytearray(_DIGEST_BYTES * len(ranges))
                room = self._found[one.input]
                room[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES] = bytes.fromhex(one.sha256)

    def records(self) -> list[InputRecord]:
        """Return the manifest's records of all inputs; ranges that nobody hashed are read."""
        return [self._record(file) for file in self._ranges.plan.files]

    def _record(self, file: InputFile) -> InputRecord:
        ranges = self._ranges.of_file(file)
        room = self._found.get(file.index, bytes(_DIGEST_BYTES * len(ranges)))
        digests = [bytes(room[at : at + _DIGEST_BYTES]) for at in range(0, len(room), _DIGEST_BYTES)]
        told = [
            digest.hex() if any(digest) else RangeHash(*bounds).finish(file)
            for digest, bounds in zip(digests, ranges, strict=True)
        ]
        cut = self._ranges.range_bytes(file)
        sha256 = told[0] if cut is None else joined(told)
        return InputRecord(index=file.index, name=file.name, size=file.size, sha256=sha256, range_bytes=cut)


@dataclass(slots=True)
class UnitHashes:
    """What one unit hashes. found: of the parts that were read to their ends."""

    ranges: InputRanges
    found: list[Hashed] = field(default_factory=list)

    @contextmanager
    def watching(self, part: Part) -> Iterator[Part]:
        """Hash the ranges of a part while it is read, or after: of columns in several parts no reader reads in order."""
        hashes = [(start, stop, RangeHash(start, stop)) for start, stop in self.ranges.of_part(part)]
        in_order = part.file.has_lines or self.ranges.range_bytes(part.file) is None
        yield replace(part, file=replace(part.file, watch=hashes[0][2].saw)) if in_order else part
        for start, stop, one in hashes:
            self.found.append(Hashed(part.file.index, start, stop, one.finish(part.file)))

    def add_unread(self) -> None:
        """Hash the inputs that no task reads."""
        for file in self.ranges.unread:
            for start, stop in self.ranges.of_file(file):
                self.found.append(Hashed(file.index, start, stop, RangeHash(start, stop).finish(file)))
