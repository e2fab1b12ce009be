"""What `preshard` notes: no document held out, sequences that came out short, the first documents that were left out."""

from __future__ import annotations

import io
import json
import os
from itertools import islice
from typing import TYPE_CHECKING

from spanmask.config import CorpusConfig, Format, Layout, Segmentation

if TYPE_CHECKING:
    from spanmask.corpus.inputs import Inputs
    from spanmask.shard.manifest import Manifest

#: Sequences that have less than this share of the tokens they may have, on average, are noted.
_SHORT_SHARE = 1 / 3
#: Documents left out that are told, and how far a file is read to tell a line.
_SKIPPED_TOLD, _LOOK_BYTES = 3, 1 << 30


def holdout_note(manifest: Manifest) -> list[str]:
    """Return a line where documents were to be held out and none was drawn, else none."""
    share = manifest.config.output.holdout
    if not share or "validation" in manifest.splits:
        return []
    documents = manifest.conservation["documents_in"]
    return [
        f"note: --holdout {share:g} drew none of {documents:,} documents, so there is no validation split; give a larger share"
    ]


def short_note(manifest: Manifest, inputs: Inputs) -> list[str]:
    """Return a line where sequences are far shorter than allowed, else none."""
    splits, most = manifest.splits.values(), manifest.config.sequence.max_tokens
    rows, tokens = (sum(getattr(split, name) for split in splits) for name in ("rows", "tokens"))
    if tokens >= _SHORT_SHARE * most * rows:
        return []
    documents = manifest.conservation["documents_in"] - manifest.conservation["documents_skipped"]
    cause = _cause(manifest.config.corpus, inputs)
    if manifest.config.sequence.segmentation is Segmentation.SENTENCE and rows > 2 * documents:
        cause = "with --segmentation sentence a sequence ends at a line; --segmentation fill goes on to the next"
    return [
        f"note: sequences have {tokens / rows:.0f} tokens on average, of {most} allowed, and come from {documents:,} documents: {cause}"
    ]


def _cause(config: CorpusConfig, inputs: Inputs) -> str:
    formats = {file.format for file in inputs.files}
    if Format.TEXT not in formats or config.layout is Layout.FILE:
        what = "file" if formats == {Format.TEXT} else "file or record" if Format.TEXT in formats else "record"
        return (
            f"each {what} is one, and they are short; packed batches waste nothing on that, a lower --max-tokens little"
        )
    if config.layout is Layout.SENTENCES:
        return "a blank line ends one; give --layout file where each file is one document"
    return "each line is one; give --layout sentences where blank lines end documents, or --layout file where each file is one"


def skipped_lines(out: str | os.PathLike[str], manifest: Manifest, inputs: Inputs) -> list[str]:
    """Return a line for each of the first documents that were left out, with its file, line or row, and reason, and where all are told."""
    skipped = manifest.conservation["documents_skipped"]
    if manifest.skipped is None:
        return []
    from spanmask.corpus.streams import line_number
    from spanmask.places import place_of
    from spanmask.shard.parts import SKIPPED

    lines, folder = [], place_of(out)
    for entry in map(json.loads, islice(io.BytesIO(folder.read(SKIPPED)), _SKIPPED_TOLD)):
        file, place = inputs.files[entry["input"]], entry["place"]
        where = f" row {place:,}"
        if file.has_lines:
            where = f":{line_number(file, place)}" if place <= _LOOK_BYTES else f" byte {place:,}"
        lines.append(f"skipped: {file.path}{where}: {entry['detail']}")
    rest = f"skipped: {skipped - len(lines):,} more; " if skipped > len(lines) else "skipped: "
    return [*lines, f"{rest}{folder}/{SKIPPED} tells places and reasons"]
