"""What `preshard` notes of how text was read: sequences that came out short, with the likely cause and the option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask.config import CorpusConfig, Format, Layout, Segmentation

if TYPE_CHECKING:
    from spanmask.corpus.inputs import Inputs
    from spanmask.shard.manifest import Manifest

#: Sequences that have less than this share of the tokens they may have, on average, are noted.
_SHORT_SHARE = 1 / 3


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
