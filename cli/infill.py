"""`spanmask infill`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spanmask.errors import ConfigError

from .commands import examples, say
from .progress import waiting_display
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.model.infilling import Guess, Infilled, InfilledSpan, Joined
    from spanmask.model.pretraining import PretrainingModel
    from spanmask.vocab import Vocabulary

#: What predicts, in the order of printing; ``both`` is the sum of log probabilities, and joins whole spans only.
_WAYS = ("mlm", "sbo", "both")
_LEGEND = {
    "mlm": "by a masked token's own place",
    "sbo": "by the tokens around the masked ones",
    "both": "by the two together",
}
_FIGURES = """%: how probable a token is there. =: the likeliest tokens together, and the natural logarithm of how probable they are.
…: goes on with the word before it."""


@click.command(
    name="infill",
    epilog=examples(
        "spanmask infill model 'The [MASK] [MASK] sat on the mat.'",
        "spanmask infill run --top 3 --json - < lines.txt",
    ),
)
@click.argument("model", metavar="MODEL", type=click.Path())
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Guesses for each masked token.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: str, texts: tuple[str, ...], top: int, as_json: bool) -> None:
    """Tell what MODEL puts in place of the [MASK] tokens of each TEXT, or of each line of standard input where TEXT is -.

    MODEL is a folder that spanmask export-model or transformers wrote, or a run of spanmask train, whose latest checkpoint is taken.
    Several [MASK] in a row are a span. mlm guesses a token from its own place, sbo from the tokens around the span and its place in it; sbo
    needs the span boundary head, which only spanmask's models have.
    """
    asked = _lines(texts)
    with waiting_display(sys.stderr, "loading the model"):
        loaded, vocabulary = _loaded(Path(model))
        from spanmask.model.infilling import infill

        results = [_described(one, vocabulary) for one in infill(loaded, vocabulary, asked, top=top)]
    if loaded.sbo is None:
        say(f"{model} has no span boundary head: mlm only", err=True)
    elif any(span["sbo"] is None for result in results for span in result["spans"]):
        offsets = loaded.config.max_span_offset
        say(f"the span boundary head knows the first {offsets} tokens of a span: beyond them mlm only", err=True)
    if as_json:
        print_json(results)
    else:
        say("\n\n".join([*map(_text, results), _legend(results)]))


def _lines(texts: Sequence[str]) -> list[str]:
    """Return the texts, those of standard input in place of ``-``; blank lines are left out."""
    if "-" not in texts:
        return list(texts)
    try:
        read = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input is not UTF-8 ({error}): convert it") from None
    lines = [line.strip() for line in read.split("\n") if line.strip()]
    place = texts.index("-")
    found = [*texts[:place], *lines, *(text for text in texts[place:] if text != "-")]
    if not found:
        raise ConfigError("standard input has no line of text: give one text a line")
    return found


def _loaded(folder: Path) -> tuple[PretrainingModel, Vocabulary]:
    if (folder / "run.json").exists():
        from spanmask.train.run_folder import load_run

        run = load_run(folder)
        return run.model, run.vocabulary
    from spanmask.model.convert import load_model
    from spanmask.model.tokenizer_files import read_tokenizer

    return load_model(folder), read_tokenizer(folder)


def _described(result: Infilled, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what was found as JSON values, ids with the vocabulary's entries and as text."""
    from spanmask.report.entries import raw_entry, readable_entries
    from spanmask.report.view import join_text

    readable = readable_entries(vocabulary)

    def guess(one: Guess) -> dict[str, Any]:
        text, attached = readable(one.id)
        known = {"id": one.id, "token": raw_entry(vocabulary, one.id), "text": f"…{text}" if attached else text}
        return {**known, "probability": math.exp(one.log_probability)}

    def joined(one: Joined | None) -> dict[str, Any] | None:
        if one is None:
            return None
        text = join_text(map(readable, one.ids))
        return {"ids": list(one.ids), "text": text, "log_probability": one.log_probability}

    return {"text": result.text, "spans": [_span(span, guess, joined) for span in result.spans]}


def _span(
    span: InfilledSpan,
    guess: Callable[[Guess], dict[str, Any]],
    joined: Callable[[Joined | None], dict[str, Any] | None],
) -> dict[str, Any]:
    """Return a span as JSON values. guess, joined: turn a guess for a token, and the best tokens of a whole span, into such."""
    tokens = [
        {"mlm": [guess(one) for one in token.mlm], "sbo": token.sbo and [guess(one) for one in token.sbo]}
        for token in span.tokens
    ]
    return {
        "start": span.start,
        "end": span.end,
        "tokens": tokens,
        **{way: joined(getattr(span, way)) for way in _WAYS},
    }


def _legend(results: list[dict[str, Any]]) -> str:
    """Return what the figures are, of the ways that any is of."""
    ways = [way for way in _WAYS if any(span[way] is not None for result in results for span in result["spans"])]
    return f"{'; '.join(f'{way}: {_LEGEND[way]}' for way in ways)}.\n{_FIGURES}"


def _text(result: dict[str, Any]) -> str:
    return "\n".join([result["text"], *(line for span in result["spans"] for line in _span_lines(span))])


def _span_lines(span: dict[str, Any]) -> Iterator[str]:
    size = span["end"] - span["start"]
    yield f"  span of {size} at token {span['start']}"
    for number, token in enumerate(span["tokens"], start=1):
        for way in ("mlm", "sbo"):
            if token[way] is not None:
                guesses = ", ".join(f"{one['text']} {one['probability']:.1%}" for one in token[way])
                yield f"    {number}  {way:<4}  {guesses}"
    for way in _WAYS:
        if span[way] is not None:
            yield f"    =  {way:<4}  {span[way]['text']}  (log p {span[way]['log_probability']:.2f})"
