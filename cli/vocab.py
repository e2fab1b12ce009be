"""`spanmask vocab`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from spanmask.config import CorpusConfig
from spanmask.escaping import counted
from spanmask.vocabularies.config import ExtendingConfig, TrainingConfig

from .commands import examples, say
from .options import GroupedCommand, config_options, given
from .progress import bar_on
from .summary import UNKNOWN_SHARE, print_json, told_inputs

if TYPE_CHECKING:
    from spanmask.vocabularies.extending import ExtendedModel
    from spanmask.vocabularies.measuring import Measured
    from spanmask.vocabularies.text import Progress
    from spanmask.vocabularies.training import TrainedVocabulary

#: Pieces that are told to people.
_PIECES_TOLD = 5


@click.command(
    name="vocab",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask vocab corpus/ --kind wordpiece --size 30000 --uncased --out vocabulary",
        "spanmask vocab articles.jsonl.zst --extend bert --add 3000 --out model",
    ),
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder to write.")
@config_options(TrainingConfig, without=("spans_field", "words_field", "keep", "exclude"), cased="--cased/--uncased")
@click.option(
    "--extend",
    "model",
    type=click.Path(),
    metavar="MODEL",
    help="Folder of a BERT with WordPiece to add pieces to, instead of training.",
)
@config_options(ExtendingConfig, without=("min_frequency", *CorpusConfig.option_names()))
@click.option("--overwrite", is_flag=True, help="Replace a vocabulary or model in --out, once the new one is complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    inputs: tuple[str, ...], out: str, model: str | None, overwrite: bool, as_json: bool, **options: Any
) -> None:
    """Train a vocabulary on text, or add pieces of it to a model's.

    INPUT is what spanmask preshard reads; files are read twice. DIR is a folder for its --vocab, and for transformers' AutoTokenizer. The
    same text and options give the same bytes.

    With --extend, DIR is the model's folder again with N entries more: each new row is the mean of the rows that its text had before. Old
    entries keep their ids and rows.
    """
    flags = given(options)
    if (model is None) == ("add" in flags):
        raise click.UsageError("--extend MODEL and --add N go together: give both or neither")
    summary = (
        _train(inputs, out, TrainingConfig.of(**flags), overwrite=overwrite)
        if model is None
        else _extend(inputs, out, model, _extending(flags), overwrite=overwrite)
    )
    if as_json:
        print_json(summary)
    else:
        say(summary["text"])


def _extending(flags: dict[str, Any]) -> ExtendingConfig:
    foreign = sorted(flags.keys() - ExtendingConfig.option_names())
    if foreign:
        raise click.UsageError(
            f"--{foreign[0]} goes with training, not with --extend: the model decides it; leave it out"
        )
    return ExtendingConfig.of(**flags)


def _train(inputs: tuple[str, ...], out: str, config: TrainingConfig, *, overwrite: bool) -> dict[str, Any]:
    from spanmask.vocabularies.training import train_vocabulary

    with _progress_display(sys.stderr) as on_progress:
        trained = train_vocabulary(inputs, out, config, overwrite=overwrite, on_progress=on_progress)
    return _trained_summary(trained, out, config)


def _extend(
    inputs: tuple[str, ...], out: str, model: str, config: ExtendingConfig, *, overwrite: bool
) -> dict[str, Any]:
    from spanmask.vocabularies.extending import extend_model

    with _progress_display(sys.stderr) as on_progress:
        extended = extend_model(inputs, model, out, config, overwrite=overwrite, on_progress=on_progress)
    return _extended_summary(extended, out)


def _extended_summary(extended: ExtendedModel, out: str) -> dict[str, Any]:
    """Return what was added in figures, with a text for people under ``text``."""
    entries, pieces = extended.vocabulary.entries, extended.pieces
    summary: dict[str, Any] = {
        "out": str(Path(out)),
        "entries": len(entries),
        "added": [
            {"piece": piece.text, "count": piece.count, "parts": [entries[number] for number in piece.parts]}
            for piece in pieces
        ],
        "inputs": {"files": len(extended.inputs.files), "passed_over": extended.inputs.passed_over},
        "measured": [_figures(measured) for measured in extended.measured],
        "sha256": extended.vocabulary.sha256,
    }
    shown = ", ".join(f"{piece.text} ({piece.count:,} times)" for piece in pieces[:_PIECES_TOLD])
    ours, before = summary["measured"]
    lines = [
        told_inputs(**summary["inputs"]),
        f"added: {counted(len(pieces), 'piece')}: {shown}{', …' if len(pieces) > _PIECES_TOLD else ''}",
        f"vocabulary: {len(entries):,} entries, {len(entries) - len(pieces):,} before",
        _told_fit(ours, before | {"vocabulary": "the one before"}),
        f"wrote {Path(out)}: preshard with --vocab {Path(out)}, then train with --init-from {Path(out)}",
    ]
    return summary | {"text": "\n".join(lines)}


def _trained_summary(trained: TrainedVocabulary, out: str, config: TrainingConfig) -> dict[str, Any]:
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
    return [*lines, _told_fit(*summary["measured"])]


def _told_fit(ours: dict[str, Any], other: dict[str, Any]) -> str:
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
    with bar_on(stream, threaded=True) as bar:
        if bar is None:
            yield None
            return
        bar.show(["looking for inputs"])
        yield lambda progress: bar.show([progress.doing], progress.done, progress.total)
