"""`skipped.jsonl`: which documents were left out, and why (FORMAT.md §4)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from spanmask.config import canonical_json
from spanmask.errors import ShardError
from spanmask.records import SKIPPED_LIMIT, SkippedDocument
from spanmask.shard.listed import describe_file, read_listed
from spanmask.shard.manifest import Manifest
from spanmask.shard.parts import SKIPPED
from spanmask.shard.root import Root

#: Characters of a detail that are written.
_DETAIL = 200
#: Not only those that are known: a later release may have more.
_REASON = re.compile(r"[a-z_]+")
_KEYS = {"detail": str, "input": int, "place": int, "reason": str}


def skipped_line(document: SkippedDocument) -> str:
    """Return a document's line, without the newline."""
    file, place = divmod(document.document_id, 1 << 40)
    detail = document.detail[:_DETAIL].encode("utf-8", "backslashreplace").decode()
    return canonical_json({"detail": detail, "input": file, "place": place, "reason": document.reason}).decode()


def describe_skipped(data: bytes) -> dict[str, Any]:
    """Return what the manifest says of the file."""
    return {**describe_file(data), "lines": data.count(b"\n")}


def check_skipped(root: Root, manifest: Manifest) -> None:
    """Hold `skipped.jsonl`, or that there is none, against the manifest.

    Raises
    ------
    ShardError
        It is not the file that the manifest lists, or not what FORMAT.md says of one.
    """
    stated, count = manifest.skipped, int(manifest.conservation["documents_skipped"])
    wanted = 0 if manifest.format_version == 1 else min(count, SKIPPED_LIMIT)
    if (0 if stated is None else stated["lines"]) != wanted:
        raise ShardError(
            f"{count:,} documents were skipped, and {wanted:,} lines are not what it is listed with", path=SKIPPED
        )
    if stated is None:
        # In an object store the listing of strays tells.
        if isinstance(root, Path) and (root / SKIPPED).exists():
            raise ShardError("not in the manifest; remove it", path=SKIPPED)
        return
    lines = read_listed(root, SKIPPED, stated).splitlines(keepends=True)
    if len(lines) != wanted or not _are_lines(lines, len(manifest.inputs)):
        raise ShardError("its lines are not the canonical ones of documents in ascending order", path=SKIPPED)


def _are_lines(lines: list[bytes], inputs: int) -> bool:
    before = (-1, -1)
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            return False
        known = isinstance(value, dict) and {name: type(item) for name, item in value.items()} == _KEYS
        if not known or canonical_json(value) + b"\n" != line or not _REASON.fullmatch(value["reason"]):
            return False
        place = (value["input"], value["place"])
        if not (before < place and place[0] < inputs):
            return False
        before = place
    return True
