"""What is shown, named for people: folders by as much of their paths as tells them apart, digests by their beginnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from spanmask.errors import ConfigError
from spanmask.escaping import counted, short_digest
from spanmask.remote import is_url, url_of
from spanmask.shard.manifest import Manifest


def names_of(folders: Sequence[str]) -> list[str]:
    """Return a name for each folder: the last parts of its path, as many as no other has.

    Raises
    ------
    ConfigError
        A folder is given twice.
    """
    parts = [_parts(folder) for folder in folders]
    again = [folder for folder, own in zip(folders, parts, strict=True) if parts.count(own) > 1]
    if again:
        raise ConfigError(f"{again[0]} is given twice: give what is to be compared once each")
    return [str(Path(*own[-_parts_needed(own, parts) :])) for own in parts]


def _parts(folder: str) -> tuple[str, ...]:
    # Of a URL, bucket and prefix alone.
    return tuple(url_of(folder).split("/")[2:]) if is_url(folder) else Path(folder).absolute().parts


def _parts_needed(own: tuple[str, ...], every: Sequence[tuple[str, ...]]) -> int:
    return next(n for n in range(1, len(own) + 2) if Counter(other[-n:] for other in every)[own[-n:]] == 1)


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def dataset_line(manifest: Manifest, split: str) -> str:
    """Return what a dataset's split is, in one line: rows, how they were made, and how it is told from others."""
    masking, sequence, rows = manifest.config.masking, manifest.config.sequence, manifest.splits[split].rows
    parts = [
        f"{split} split, {counted(rows, 'sequence')} of at most {sequence.max_tokens:,} tokens",
        f"scheme {masking.scheme}" + (f", sampler {masking.sampler}" if masking.sampler else ""),
        f"{masking.mask_ratio * 100:.4g}% masked with seed {masking.seed}",
        f"vocabulary {manifest.stated_vocabulary.name}",
        f"fingerprint {short_digest(manifest.fingerprint)}",
    ]
    return "; ".join(parts)
