"""`spanmask annotate`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from spanmask.annotating.config import AnnotateConfig
from spanmask.escaping import counted

from .commands import examples, say
from .options import GroupedCommand, config_options, given
from .progress import bar_on
from .summary import print_json, told_inputs

if TYPE_CHECKING:
    from spanmask.annotating.record import Annotated
    from spanmask.corpus.inputs import Inputs

#: Labels that are told to people.
_LABELS_TOLD = 8


@click.command(
    name="annotate",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask annotate corpus/ --with spacy:en_core_web_sm --spans entities --out entities.jsonl.zst",
        "spanmask annotate articles.parquet --keep id --with spacy:pipelines/mine --spans noun_chunks --out phrases.jsonl.zst --resume",
    ),
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option(
    "--out", type=click.Path(), required=True, metavar="FILE", help="File to write: .jsonl, .jsonl.gz or .jsonl.zst."
)
@config_options(AnnotateConfig, without=("spans_field", "words_field"), pipeline="--with")
@click.option("--resume", is_flag=True, help="Go on with the run that was begun for --out, if one was.")
@click.option("--overwrite", is_flag=True, help="Replace what stands in --out, and a run that was begun for it.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes. [one for every processor]")
@click.option("--json", "as_json", is_flag=True, help="Print what was annotated, and with what, as JSON.")
def command(
    inputs: tuple[str, ...],
    out: str,
    resume: bool,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find named entities or noun phrases in text, for spanmask preshard --scheme annotated.

    INPUT is what spanmask preshard reads. FILE has a line for each document: its text, the fields to keep, and the ranges [start, end) in
    code points, in a field named entities or noun_chunks. What was found with what stands in _FILE.json beside it. The same text,
    options, pipeline and libraries give the same bytes, for any --jobs and after any kill.

    Loading a pipeline runs code of its package: give none that you would not install.
    """
    from spanmask.annotating.run import annotate

    config = AnnotateConfig.of(**given(options))
    with _progress_display(sys.stderr) as on_progress:
        annotated, found = annotate(
            inputs, out, config, jobs=jobs, resume=resume, overwrite=overwrite, on_progress=on_progress
        )
    summary = {
        "out": str(Path(out)),
        "inputs_found": {"files": len(found.files), "passed_over": found.passed_over},
        "warnings": _warnings(annotated),
        **annotated.to_json(),
    }
    if as_json:
        print_json(summary)
    else:
        say("\n".join(_lines(annotated, found, config, out)))


def _lines(annotated: Annotated, found: Inputs, config: AnnotateConfig, out: str) -> Iterator[str]:
    with_what, total = annotated.pipeline, sum(annotated.ranges.values())
    yield told_inputs(len(found.files), found.passed_over, found.kinds)
    yield f"with: {with_what['name']} {with_what['version']}, spaCy {with_what['spacy']}"
    left = [
        f"{count:,} {what}"
        for count, what in (
            (annotated.documents_skipped, "left out"),
            (annotated.documents_excluded, "excluded"),
            (annotated.without, f"without {config.spans}"),
            (annotated.cut, "cut before the pipeline had them"),
        )
        if count
    ]
    yield (
        f"text: {annotated.text_bytes / 1e6:,.1f} MB in {counted(annotated.documents, 'document')}"
        + (f"; {', '.join(left)}" if left else "")
    )
    yield f"{config.spans}: {total:,}" + _told_labels(annotated.ranges)
    if annotated.omitted:
        yield f"left out by label: {sum(annotated.omitted.values()):,}{_told_labels(annotated.omitted)}"
    yield from _warnings(annotated)
    named = "" if config.corpus.text_field == "text" else f" --text-field {config.corpus.text_field}"
    yield f"wrote {out}: preshard with --scheme annotated --spans-field {config.into}{named}"


def _told_labels(labels: dict[str, int]) -> str:
    """Return how many ranges have which label, the most frequent first; nothing of noun chunks, which have no others."""
    if set(labels) <= {"NP"}:
        return ""
    often = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{label} {count:,}" for label, count in often[:_LABELS_TOLD])
    return f" ({told}{', …' if len(often) > _LABELS_TOLD else ''})"


def _warnings(annotated: Annotated) -> list[str]:
    if annotated.documents and annotated.without == annotated.documents:
        return [
            "warning: nothing was found in any document: is the pipeline of this language, and none of what it needs disabled?"
        ]
    return []


@contextmanager
def _progress_display(stream: IO[str]) -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal how much is annotated; yield what to call, or None where nobody watches."""
    with bar_on(stream) as bar:
        if bar is None:
            yield None
            return
        bar.show(["loading the pipeline"])
        began = time.monotonic()
        yield lambda documents, size: bar.show(
            [
                "annotating",
                f"{size / 1e6:,.1f} MB of text",
                counted(documents, "document"),
                f"{size / 1e6 / max(time.monotonic() - began, 1e-9):.2g} MB/s",
            ]
        )
