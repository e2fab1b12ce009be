"""What commands print of a dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from spanmask.config import SHORTFALL_LIMIT
from spanmask.escaping import counted, short_digest

from .notes import holdout_note, short_note, skipped_lines

if TYPE_CHECKING:
    from spanmask.corpus.inputs import Inputs
    from spanmask.records import Row
    from spanmask.shard.manifest import Manifest
    from spanmask.shard.verify import Verdict
    from spanmask.vocab import Vocabulary

#: The share of unknown tokens that a warning is given above; English prose has less than 0.0002 with the vocabularies that ship.
UNKNOWN_SHARE = 0.01

#: Kinds of files passed over that are told by name.
_KINDS_TOLD = 12
#: Why sequences end short of their budget, by the manifest's names, and what to do.
_SHORT = {
    "long_word": (
        "words have more tokens than a sequence may mask",
        "take longer sequences (--max-tokens, --segmentation fill), a vocabulary made for this text, or --scheme token",
    ),
    "past_end": (
        "spans run past the ends of sequences",
        "take longer sequences (--max-tokens, --segmentation fill) or shorter spans (--max-words)",
    ),
    "occupied": (
        "spans may not touch, and find no room",
        "mask less (--mask-ratio), in longer spans (--max-words), or take --sampler reference",
    ),
}


def print_json(value: Any, *, indented: bool = True) -> None:
    """Print a value as JSON on standard output, or in a line of it."""
    click.echo(json.dumps(value, indent=2 if indented else None, ensure_ascii=False, sort_keys=True))


def dataset_summary(
    out: str | os.PathLike[str],
    manifest: Manifest,
    inputs: Inputs | None = None,
    *,
    written: bool = True,
    through_library: str | None = None,
) -> dict[str, Any]:
    """Return a finished dataset in figures, with a text for people under ``text``.

    inputs: what was found to read, if it was looked for. written: whether the dataset was not there before. through_library: why its text
    went through the `tokenizers` library, if it did.
    """
    from spanmask.places import place_of

    splits, counts = manifest.splits, manifest.statistics.values()
    masked, unknown, tokens = (
        sum(item[name] for item in counts) for name in ("masked_tokens", "unknown_tokens", "tokens")
    )
    summary = {
        "out": str(place_of(out)),
        "written": written,
        "fingerprint": manifest.fingerprint,
        "digest": manifest.digest,
        "splits": {
            name: {"rows": split.rows, "tokens": split.tokens, "shards": len(split.shards)}
            for name, split in splits.items()
        },
        "inputs": {
            "files": len(manifest.inputs),
            "passed_over": inputs.passed_over if inputs else {},
            "kinds": inputs.kinds if inputs else {},
        },
        "mask_rate": masked / max(tokens, 1),
        "unknown_rate": unknown / max(tokens, 1),
        "conservation": manifest.conservation,
        "sampling": manifest.sampling,
    }
    warnings = [
        *unknown_warning(summary["unknown_rate"], cased=manifest.stated_vocabulary.cased),
        *short_warnings(manifest),
        *library_warning(through_library),
    ]
    notes = holdout_note(manifest)
    if inputs:
        notes += [*short_note(manifest, inputs), *skipped_lines(out, manifest, inputs)]
    text = "\n".join([*_lines(summary), *warnings, *notes, _ending(summary)])
    return {**summary, "warnings": warnings, "notes": notes, "text": text}


def dataset_lines(out: str, manifest: Manifest) -> list[str]:
    """Return what a finished dataset is, for people."""
    return _lines(dataset_summary(out, manifest))


def unknown_warning(rate: float, *, cased: bool | None) -> list[str]:
    """Return a line of warning where more than `UNKNOWN_SHARE` of the tokens are unknown, else none. cased: the vocabulary's casing."""
    if rate <= UNKNOWN_SHARE:
        return []
    case = ", or --uncased if its entries are lower case" if cased else ""
    return [
        f"warning: {rate:.2%} of the tokens are unknown: the vocabulary does not fit this text, and a model learns nothing of them; "
        f"give a --vocab made for it{case}"
    ]


def library_warning(reason: str | None) -> list[str]:
    """Return a line that tells why text goes through the `tokenizers` library, if it does."""
    return [] if reason is None else [f"warning: text goes through the tokenizers library, which is slower: {reason}"]


def unknown_rate(rows: Sequence[Row], vocabulary: Vocabulary) -> float:
    """Return the share of unknown tokens in the originals of rows, special ones left out."""
    unknown = sum(int((row.original()[1:-1] == vocabulary.special.unk).sum()) for row in rows)
    return unknown / max(sum(len(row.input_ids) - 2 for row in rows), 1)


def verified_amount(verdict: Verdict) -> str:
    """Return how much of a dataset was verified."""
    return f"{counted(verdict.shards, 'shard')}, {counted(verdict.rows, 'sequence')}, {verdict.tokens:,} tokens"


def told_inputs(files: int, passed_over: dict[str, int], kinds: dict[str, int] | None = None) -> str:
    """Return how many files are read, by kind where there are several, and what else the folders hold: most frequent kinds first."""
    read = ", ".join(f"{count:,} {kind}" for kind, count in (kinds or {}).items())
    others_told = [f"{count:,} {kind}".replace("\n", "\\n") for kind, count in list(passed_over.items())[:_KINDS_TOLD]]
    others = list(passed_over.values())[_KINDS_TOLD:]
    told = ", ".join(
        [
            *others_told,
            *([f"{sum(others):,} of {counted(len(others), 'other kind')}, which --json names"] if others else []),
        ]
    )
    by_kind = f" ({read})" if kinds and len(kinds) > 1 else ""
    return f"read: {counted(files, 'file')}{by_kind}" + (f"; passed over: {told}" if told else "")


def _lines(summary: dict[str, Any]) -> list[str]:
    """Return a summary for people: splits, what was masked and left out; short rows only where there are some."""
    lines = [
        f"{name}: {counted(split['rows'], 'sequence')}, {split['tokens']:,} tokens with special ones, "
        f"in {counted(split['shards'], 'shard')}"
        for name, split in summary["splits"].items()
    ]
    lines.append(told_inputs(**summary["inputs"]))
    conservation = summary["conservation"]
    dropped = sum(conservation["tokens"]["dropped"].values())
    lines.append(f"masked: {summary['mask_rate']:.2%} of the tokens")
    lines.append(
        f"left out: {dropped:,} of {conservation['tokens']['in']:,} tokens (short sequences), "
        f"{conservation['documents_skipped']:,} of {conservation['documents_in']:,} documents skipped, "
        f"{conservation['documents_empty']:,} empty"
        + (f", {conservation['documents_excluded']:,} excluded" if "documents_excluded" in conservation else "")
    )
    short = sum(sum(item["short_rows"].values()) for item in summary["sampling"].values())
    if short:
        lines.append(f"short of their budget: {counted(short, 'sequence')} (spanmask audit tells why)")
    return lines


def _ending(summary: dict[str, Any]) -> str:
    done = "wrote" if summary["written"] else "nothing to do, complete already:"
    return f"{done} {summary['out']}, fingerprint {short_digest(summary['fingerprint'])}"


def short_warnings(manifest: Manifest) -> list[str]:
    """Return a line of warning for each split that is left short of its budget by more than `SHORTFALL_LIMIT`, with cause and remedy."""
    lines = []
    for split, counts in manifest.statistics.items():
        missing, budget = counts["tokens_short_of_budget"], counts["budget_tokens"]
        if missing > SHORTFALL_LIMIT * budget:
            short = manifest.sampling[split]["short_rows"]
            cause, remedy = _SHORT[max(short, key=lambda name: short[name])]
            lines.append(
                f"warning: {missing / budget:.1%} of the masking budget of {split} is left ({counts['masked_tokens']:,} of {budget:,} "
                f"tokens are masked), mostly because {cause}; {remedy}"
            )
    return lines
