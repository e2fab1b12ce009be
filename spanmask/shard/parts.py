"""The parts of a manifest as JSON: which must be there, and of which types (FORMAT.md §4)."""

from __future__ import annotations

from typing import Any

from spanmask.shard.input_list import InputList
from spanmask.shard.stated import (
    is_count,
    require,
    require_counts,
    require_histograms,
    require_parts,
    require_vocabulary,
)
from spanmask.shard.table import SHARDS

SPLITS = ("train", "validation")
SKIPPED = "skipped.jsonl"
#: The parts of a manifest but for its inputs, those that format 1 does not have, and those of a file beside the manifest.
_PARTS: dict[str, type] = {
    "format_version": int,
    "algorithm_version": int,
    "config": dict,
    "config_fingerprint": str,
    "vocabulary": dict,
    "words": str,
    "conservation": dict,
    "statistics": dict,
    "sampling": dict,
    "splits": dict,
    "fingerprint": str,
    "digest": str,
}
_NEW_PARTS: dict[str, type] = {"files": dict, "tokenized_by": dict}
_FILE_PARTS: dict[str, type] = {"bytes": int, "sha256": str}


def check_parts(content: dict[str, Any]) -> None:
    """Refuse what lacks or garbles a part. content: a manifest of any format, its inputs packed.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError, RecursionError
        The message says which.
    """
    require_parts(content, _PARTS)
    if content["format_version"] != 1:
        require_parts(content, _NEW_PARTS)
        _require_files(content["files"])
        require_parts(content["tokenized_by"], {"library": str, "version": str})
    require(type(content["inputs"]) is InputList, "'inputs' is no list")
    content["inputs"].check()
    _require_vocabulary(content["vocabulary"], content["words"])
    _require_counts(content)


def _require_files(files: dict[str, Any]) -> None:
    for name, parts in ((SHARDS, _FILE_PARTS), (SKIPPED, _FILE_PARTS | {"lines": int})):
        if name == SHARDS or name in files:
            require_parts(files[name], parts)
            require(
                all(is_count(files[name][key]) for key in parts if key != "sha256"), f"sizes of {name} are no counts"
            )


def _require_vocabulary(known: dict[str, Any], words: str) -> None:
    entries = known.get("entries", [])
    require_parts(known, {"name": str, "size": int, "sha256": str, "special_ids": dict})
    if "tokenizer" in known:
        require_parts(known, {"tokenizer": str, "cased": type(None)})
        require("entries" not in known and words == "stored", "words of a tokenizer are not stored")
    else:
        require_parts(known, {"cased": bool})
    require(
        type(entries) is list and all(type(entry) is str for entry in entries),
        "the vocabulary's entries are no strings",
    )
    require_vocabulary(known)


def _require_counts(content: dict[str, Any]) -> None:
    names = set(content["splits"])
    require(names <= set(SPLITS) and bool(names), f"its splits are {sorted(names)}")
    require(all(type(split) is dict for split in content["splits"].values()), "a split is no object")
    require(names == set(content["statistics"]) == set(content["sampling"]), "its counts are not of its splits")
    if content["format_version"] != 1:
        require(all(is_count(split["shards"]) for split in content["splits"].values()), "its shards are no counts")
    counts = (content["conservation"], content["statistics"], content["sampling"])
    require_counts(*counts, word_rule=content["format_version"] != 1)
    for name in names:
        require_histograms(content["statistics"][name], name)
    require(content["words"] in ("table", "stored"), "words are neither table nor stored")
