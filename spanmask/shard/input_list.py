"""The inputs of a manifest: of a large corpus very many, and nothing that a reader of rows asks for, so that they are kept packed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow as pa

from spanmask.config import canonical_json
from spanmask.shard.stated import is_count, require, require_parts

_PARTS: dict[str, type] = {"index": int, "name": str, "size": int, "sha256": str}
#: Bytes of JSON that are parsed together, and what ends an input there and begins the next: quotes within a string have a backslash.
_BLOCK, _BETWEEN = 1 << 16, b'},{"'


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecord:
    """One input file, whose ``index`` is in the identities of its documents. size: bytes on disk.

    name: its path below the folder that was given, else its base name; of format 1, the base name. Several may have one name.
    range_bytes: of the ranges whose digests ``sha256`` is over, where it is not that of the file (FORMAT.md §4).
    """

    index: int
    name: str
    size: int
    sha256: str
    range_bytes: int | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote; a ``KeyError``, ``ValueError`` or ``TypeError`` says that it is no record."""
        require_parts(value, _PARTS)
        record = cls(**value)
        if not (is_count(record.index) and is_count(record.size)):
            raise ValueError(f"index or size of {record.name!r} is no count")
        require(record.range_bytes is None or (is_count(record.range_bytes) and record.range_bytes > 0), "no ranges")
        return record

    def to_json(self) -> dict[str, Any]:
        """Return the record as manifests have it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def input_names(inputs: Sequence[InputRecord]) -> list[str]:
    """Return the names of inputs for people: those that several have are told apart by their numbers."""
    count = Counter(item.name for item in inputs)
    return [f"{item.name} (input {item.index})" if count[item.name] > 1 else item.name for item in inputs]


@dataclass(frozen=True, slots=True)
class InputList:
    """The inputs of a manifest in the order given, as JSON, packed: 40 bytes each, where an object takes 500.

    It may be any list until `check` took it: what it is made of is not looked at.
    blocks: of some inputs each, with commas between them, the size of their JSON, and that packed.
    """

    blocks: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, data: bytes, start: int = 0, stop: int | None = None) -> Self:
        """Pack the JSON of a list, all of some bytes or a part of them."""
        found = _blocks(data, start + 1, (len(data) if stop is None else stop) - 1)
        return cls(tuple((len(block), pa.compress(block, codec="zstd", asbytes=True)) for block in found))

    def pieces(self) -> Iterator[bytes]:
        """Yield the JSON of the list in pieces."""
        yield b"["
        for number, block in enumerate(self._unpacked()):
            yield b"," + block if number else block
        yield b"]"

    def check(self) -> None:
        """Refuse what is not the canonical JSON of a list of inputs.

        Raises
        ------
        KeyError, TypeError, ValueError, RecursionError
            The message says what is wrong.
        """
        # Where each block is the canonical JSON of a list, all of them are, wherever they were divided.
        for block in self._unpacked():
            items = json.loads(b"[%b]" % block)
            require(canonical_json(items) == b"[%b]" % block, "its inputs are not canonical JSON")
            for item in items:
                InputRecord.from_json(item)

    def records(self) -> Iterator[InputRecord]:
        """Yield the inputs."""
        for block in self._unpacked():
            yield from map(InputRecord.from_json, json.loads(b"[%b]" % block))

    def _unpacked(self) -> Iterator[bytes]:
        return (pa.decompress(block, size, codec="zstd", asbytes=True) for size, block in self.blocks)


def _blocks(data: bytes, start: int, stop: int) -> Iterator[bytes]:
    """Divide what is between the brackets of a list between some of its items."""
    while start < stop:
        found = data.find(_BETWEEN, start + _BLOCK, stop)
        end = stop if found < 0 else found + 1
        yield data[start:end]
        start = end + 1
