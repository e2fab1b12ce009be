"""`spanmask overlap`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from spanmask.escaping import counted
from spanmask.overlap.config import OverlapConfig

from .commands import examples, say
from .options import GroupedCommand, config_options, given
from .progress import bar_on
from .summary import print_json, told_inputs

if TYPE_CHECKING:
    from spanmask.overlap.run import Overlap

#: Documents that are shown to people, and evaluation files of which one that shares nothing is.
_SHOWN = 20
_STDOUT = "-"


@click.command(
    name="overlap",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask overlap squad/dev-v1.1.json corpus/*.jsonl.zst --ids id=overlap.txt",
        "spanmask overlap evaluations/ articles.parquet --eval more.tsv --text-field body --json",
    ),
)
@click.argument("evaluation", metavar="EVAL", type=click.Path())
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option("--eval", "more", multiple=True, type=click.Path(), metavar="EVAL", help="Another one; may be repeated.")
@click.option(
    "--ids",
    metavar="FIELD=FILE",
    help="Write FIELD of the documents found, for preshard --exclude FIELD=FILE; - is standard output.",
)
@config_options(OverlapConfig, without=("spans_field", "words_field", "keep", "exclude"))
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes. [one for every processor]")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    evaluation: str,
    inputs: tuple[str, ...],
    more: tuple[str, ...],
    ids: str | None,
    jobs: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the documents of INPUT that share runs of 13 words with what is evaluated on, so that they can be left out of training.

    EVAL, the first path, is an evaluation file or a folder of some: JSON of any layout (SQuAD's, MRQA's, TACRED's), JSON lines, TSV, CSV,
    Parquet, CoNLL or plain text. INPUT is what spanmask preshard reads.

    Words are runs of ASCII letters and digits, without case. What is found is exact, and the same for any --jobs.
    """
    from spanmask.overlap.run import find_overlap

    field, file = _asked_for(ids, as_json=as_json)
    began = time.monotonic()
    with _progress_display(sys.stderr) as on_progress:
        found = find_overlap(
            [evaluation, *more],
            inputs,
            OverlapConfig.of(**given(options)),
            id_field=field,
            jobs=jobs,
            on_progress=on_progress,
        )
    seconds = time.monotonic() - began
    listed = "".join(f"{one}\n" for one in found.ids)
    if file == _STDOUT:
        click.echo(listed, nl=False)
    elif file is not None:
        from spanmask.storage import publish_bytes

        publish_bytes(Path(file).absolute(), listed.encode())
    if as_json:
        print_json(_json(found))
    else:
        _print(found, seconds, err=file == _STDOUT)
    if file is not None:
        say(_told_list(found, f"{field}={file}"), err=True)


def _asked_for(ids: str | None, *, as_json: bool) -> tuple[str | None, str | None]:
    """Return the field and file of a list that is asked for, before anything is read."""
    from spanmask.storage import refuse_url

    if ids is None:
        return None, None
    field, _, file = ids.partition("=")
    if not (field and file):
        raise click.UsageError(f"--ids is {ids!r}: give FIELD=FILE, such as id=overlap.txt, of a field of the input")
    if file == _STDOUT and as_json:
        raise click.UsageError("--json and --ids FIELD=- would both be on standard output: give --ids a file")
    refuse_url(file)
    if file != _STDOUT and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
        raise click.UsageError(f"--ids: {file} is a folder, or in none that exists: give the name of a file")
    return field, file


def _told_list(found: Overlap, option: str) -> str:
    if not found.found:
        return "nothing is shared: the list is empty, and preshard needs no --exclude"
    return f"wrote {counted(len(found.ids), 'identifier')}: preshard with --exclude {option}"


def _json(found: Overlap) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "n": found.n,
        "least": found.least,
        "evaluations": {name: asdict(one) for name, one in found.evaluations.items()},
        "inputs": {"files": len(found.inputs.files), "passed_over": found.inputs.passed_over},
        "documents": found.documents,
        "documents_skipped": found.skipped,
        "text_bytes": found.text_bytes,
        "found": [asdict(one) for one in found.found],
    }


def _print(found: Overlap, seconds: float, *, err: bool) -> None:
    """Print what was looked at and, of the documents found, those that share most."""
    from rich.console import Console

    from spanmask.report.columns import columns

    speed = found.text_bytes / 1e6 / max(seconds, 1e-9)
    say(told_inputs(len(found.inputs.files), found.inputs.passed_over, found.inputs.kinds), err=err)
    skipped = f", {found.skipped:,} left out" if found.skipped else ""
    say(
        f"text: {found.text_bytes / 1e6:,.1f} MB in {counted(found.documents, 'document')}{skipped}, {speed:,.0f} MB/s",
        err=err,
    )
    sharing = Counter(one.evaluation for one in found.found)
    many = len(found.evaluations) > _SHOWN
    for name, one in found.evaluations.items():
        if sharing[name] or not many:
            told = f"{counted(one.texts, 'text')}, {counted(one.ngrams, f'{found.n}-gram')}"
            say(f"{name}: {told}; {counted(sharing[name], 'document')} with {found.least:,} of them or more", err=err)
    clean = [one for name, one in found.evaluations.items() if not sharing[name]]
    if many and clean:
        texts = counted(sum(one.texts for one in clean), "text")
        say(
            f"{len(clean):,} files, {texts}: no document with {found.least:,} of their {found.n}-grams or more", err=err
        )
    most = sorted(found.found, key=lambda one: -one.ngrams)[:_SHOWN]
    if not most:
        return
    rows = [
        (one.id or f"{Path(one.file).name}:{one.place}", [one.evaluation, f"{one.ngrams:,}", f"{one.texts:,}"])
        for one in most
    ]
    say(
        "" if len(most) == len(found.found) else f"\nthe first {len(most)} of {len(found.found):,}; --json tells all",
        err=err,
    )
    table = columns("document", ["shares with", f"{found.n}-grams", "of texts"], rows)
    Console(file=sys.stderr if err else sys.stdout).print(table)


@contextmanager
def _progress_display(stream: IO[str]) -> Iterator[Callable[[int], None] | None]:
    """Show on a terminal how much text was looked at; yield what to call, or None where nobody watches."""
    with bar_on(stream) as bar:
        if bar is None:
            yield None
            return
        bar.show(["reading evaluation files"])
        yield lambda size: bar.show(["looking", f"{size / 1e6:,.1f} MB of text"])
