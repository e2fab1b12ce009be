"""`spanmask vocab`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from spanmask.vocabularies.config import TrainingConfig

from .commands import examples, say
from .options import GroupedCommand, config_options, given
from .summary import UNKNOWN_SHARE, counted, print_json, told_inputs

if TYPE_CHECKING:
    from spanmask.vocabularies.measuring import Measured
    from spanmask.vocabularies.text import Progress
    from spanmask.vocabularies.training import TrainedVocabulary


@click.command(
    name="vocab",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask vocab corpus/ --kind wordpiece --size 30000 --uncased --out vocabulary",
        "spanmask vocab corpus/*.jsonl.zst --kind bpe --size 50000 --out vocabulary",
    ),
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder to write.")
@config_options(TrainingConfig, without=("spans_field", "words_field", "keep"), cased="--cased/--uncased")
@click.option("--overwrite", is_flag=True, help="Replace a vocabulary in --out, once the new one is complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(inputs: tuple[str, ...], out: str, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Train a vocabulary on text.

    INPUT is what spanmask preshard reads. DIR is a folder for its --vocab, and for transformers' AutoTokenizer. The same text and options
    give the same bytes.
    """
    config = TrainingConfig.of(**given(options))
    from spanmask.vocabularies.training import train_vocabulary

    with _progress_display(sys.stderr) as on_progress:
        trained = train_vocabulary(inputs, out, config, overwrite=overwrite, on_progress=on_progress)
    summary = _summary(trained, out, config)
    if as_json:
        print_json(summary)
    else:
        say(summary["text"])


def _summary(trained: TrainedVocabulary, out: str, config: TrainingConfig) -> dict[str, Any]:
    """Return what was trained in figures, with a text for people under ``text``."""
    vocabulary, amount, alphabet = trained.vocabulary, trained.amount, trained.alphabet
    summary: dict[str, Any] = {
        "out": str(Path(out)),
        "kind": str(config.kind),
        "cased": config.cased,
        "entries": len(vocabulary),
        "asked_for": config.size,
        "characters": {"seen": alphabet.seen, "entries": len(alphabet.letters), "left": len(alphabet.left)},
        "documents": amount.documents,
        "documents_skipped": amount.skipped,
        "text_bytes": amount.text_bytes,
        "inputs": {"files": len(trained.inputs.files), "passed_over": trained.inputs.passed_over},
        "measured": [_figures(measured) for measured in trained.measured],
        "sha256": vocabulary.sha256,
    }
    warnings = _warnings(trained, config)
    return summary | {"warnings": warnings, "text": "\n".join([*_lines(summary), *warnings, f"wrote {Path(out)}"])}


def _figures(measured: Measured) -> dict[str, Any]:
    return {
        "vocabulary": measured.name,
        "text_bytes": measured.text_bytes,
        "tokens": measured.tokens,
        "unknown": measured.unknown,
    }


def _lines(summary: dict[str, Any]) -> list[str]:
    """Return a summary for people: what was read, what was made of it, and how that compares."""
    characters, case = (
        summary["characters"],
        "" if summary["kind"] != "wordpiece" else ", cased" if summary["cased"] else ", uncased",
    )
    lines = [
        told_inputs(**summary["inputs"]),
        f"text: {summary['text_bytes'] / 1e6:,.1f} MB in {counted(summary['documents'], 'document')}"
        + (f", {summary['documents_skipped']:,} left out" if summary["documents_skipped"] else ""),
        f"vocabulary: {summary['entries']:,} entries ({summary['kind']}{case})",
    ]
    if summary["kind"] != "bpe":
        lines.append(
            f"characters: {characters['entries']:,} have entries"
            + (f", {characters['left']:,} rare ones are unknown (--coverage)" if characters["left"] else "")
        )
    return [*lines, told_fit(*summary["measured"])]


def told_fit(ours: dict[str, Any], other: dict[str, Any]) -> str:
    """Return how many bytes of text a token stands for, by a vocabulary and by another."""
    each = [figures["text_bytes"] / max(figures["tokens"], 1) for figures in (ours, other)]
    return f"fit: {each[0]:.2f} bytes of text a token, {each[1]:.2f} with {other['vocabulary']}"


def _warnings(trained: TrainedVocabulary, config: TrainingConfig) -> list[str]:
    entries, ours, lines = len(trained.vocabulary), trained.measured[0], []
    if entries < config.size:
        often = "" if config.kind == "unigram" else f" that stand together {counted(config.min_frequency or 1, 'time')}"
        lines.append(
            f"warning: {entries:,} entries, fewer than the {config.size:,} asked for: the text has no more pieces{often}; "
            "give more text, or a smaller --size"
        )
    if ours.unknown > UNKNOWN_SHARE * ours.tokens:
        lines.append(f"warning: {ours.unknown / ours.tokens:.2%} of the tokens are unknown; give a higher --coverage")
    return lines


@contextmanager
def _progress_display(stream: IO[str]) -> Iterator[Callable[[Progress], None] | None]:
    """Show on a terminal what is being done; yield what to call, or None where nobody watches."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.percentage:>3.0f}%"), BarColumn(), TextColumn("{task.fields[status]}"))
    with Bars(*columns, console=Console(file=stream), transient=True) as bars:
        bar = bars.add_task("vocab", total=None, status="looking for inputs")

        def show(progress: Progress) -> None:
            bars.update(bar, total=progress.total, completed=progress.done, status=progress.doing)

        yield show
