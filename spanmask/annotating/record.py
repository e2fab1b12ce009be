"""What a run annotated, with what: kept beside its output, and what `annotate` returns."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from spanmask.config import canonical_json
from spanmask.storage import digest

#: Ends the name of a record; what begins it has readers of folders pass it over.
_BEGINS, _ENDS = "_", ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """What `annotate` wrote.

    bytes, sha256: of the file. pipeline: as `Pipeline.describe` has it. options: of the configuration. inputs: name, size and what else
    tells a file from another. documents: those written; documents_skipped, documents_excluded: those left out. text_bytes: of those
    written. ranges: written, by label. omitted: left out, by label. blank: left out since they hold white space alone. without: documents
    written without a range. cut: documents that were cut before the pipeline had them; cuts: how often behind what. identity: of the run.
    """

    bytes: int
    sha256: str
    pipeline: dict[str, Any]
    options: dict[str, Any]
    inputs: list[dict[str, Any]]
    documents: int
    documents_skipped: int
    documents_excluded: int
    text_bytes: int
    ranges: dict[str, int]
    omitted: dict[str, int]
    blank: int
    without: int
    cut: int
    cuts: dict[str, int]
    identity: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


@dataclass(slots=True)
class Tally:
    """Counts of some texts, as `Annotated` has them."""

    ranges: Counter[str] = field(default_factory=Counter)
    omitted: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    blank: int = 0
    without: int = 0
    cut: int = 0

    def add(self, counts: dict[str, Any]) -> None:
        """Take in what `to_json` returned for others."""
        for name in ("ranges", "omitted", "cuts"):
            getattr(self, name).update(counts[name])
        for name in ("blank", "without", "cut"):
            setattr(self, name, getattr(self, name) + counts[name])

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON values."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}


def record_path(out: Path) -> Path:
    """Return where the record of an output is kept: beside it."""
    return out.with_name(f"{_BEGINS}{out.name}{_ENDS}")


def record_bytes(annotated: Annotated) -> bytes:
    """Return a record as its file has it."""
    return canonical_json(annotated.to_json()) + b"\n"


def finished(out: Path, identity: str) -> Annotated | None:
    """Return the record of an output that stands there whole, as the run of an identity wrote it; None where none does."""
    with suppress(OSError, ValueError, TypeError):
        known = json.loads(record_path(out).read_bytes())
        annotated = Annotated(**{one.name: known[one.name] for one in fields(Annotated)})
        if annotated.identity == identity and out.stat().st_size == annotated.bytes and digest(out) == annotated.sha256:
            return annotated
    return None
