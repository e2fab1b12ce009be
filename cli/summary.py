"""What commands print of a dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spanmask.shard.manifest import Manifest


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


def dataset_summary(out: str | os.PathLike[str], manifest: Manifest, *, written: bool = True) -> dict[str, Any]:
    """Return a finished dataset in figures, with a text for people under ``text``. written: whether it was not there before."""
    splits, counts = manifest.splits, manifest.statistics.values()
    masked, tokens = (sum(item[name] for item in counts) for name in ("masked_tokens", "tokens"))
    summary = {
        "out": str(Path(out)),
        "written": written,
        "fingerprint": manifest.fingerprint,
        "digest": manifest.digest,
        "splits": {
            name: {"rows": split.rows, "tokens": split.tokens, "shards": len(split.shards)}
            for name, split in splits.items()
        },
        "mask_rate": masked / max(tokens, 1),
        "conservation": manifest.conservation,
        "sampling": manifest.sampling,
    }
    return {**summary, "text": _text(summary)}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _text(summary: dict[str, Any]) -> str:
    """Return a summary for people: splits, what was masked and left out, and where it is; short rows only where there are some."""
    lines = [
        f"{name}: {split['rows']:,} sequences, {split['tokens']:,} tokens with special ones, in {counted(split['shards'], 'shard')}"
        for name, split in summary["splits"].items()
    ]
    conservation = summary["conservation"]
    dropped = sum(conservation["tokens"]["dropped"].values())
    lines.append(f"masked: {summary['mask_rate']:.2%} of the tokens")
    lines.append(
        f"left out: {dropped:,} of {conservation['tokens']['in']:,} tokens (short sequences), "
        f"{conservation['documents_skipped']:,} of {conservation['documents_in']:,} documents skipped, "
        f"{conservation['documents_empty']:,} empty"
    )
    short = sum(sum(item["short_rows"].values()) for item in summary["sampling"].values())
    if short:
        lines.append(f"short of their budget: {short:,} sequences (spanmask audit tells why)")
    done = "wrote" if summary["written"] else "nothing to do, complete already:"
    lines.append(f"{done} {summary['out']}, fingerprint {summary['fingerprint'][:16]}")
    return "\n".join(lines)
