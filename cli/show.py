"""`spanmask show`."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .commands import examples, say
from .rows import print_views
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.records import Row
    from spanmask.report.view import RowView
    from spanmask.shard.reader import ShardSet


@click.command(
    name="show",
    epilog=examples(
        "spanmask show spans words --n 1",
        "spanmask show shards --pick-seed 7 --n 50 --html rows.html",
    ),
)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path())
@click.option("--split", default="train", show_default=True, help="Which split.")
@click.option("--n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="How many sequences.")
@click.option("--row", type=int, help="Begin at this row, instead of picking some.")
@click.option("--pick-seed", type=int, help="Pick sequences at random with this seed. [the first ones]")
@click.option("--json", "as_json", is_flag=True, help="Print the sequences as JSON.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page instead.")
def command(
    folders: tuple[str, ...],
    split: str,
    count: int,
    row: int | None,
    pick_seed: int | None,
    as_json: bool,
    html: str | None,
) -> None:
    """Show masked sequences of the dataset in DIR, or at its URL: what was masked, replaced and kept, and the original beneath.

    Of several datasets of the same inputs, the same sequences are shown together: those of the first DIR, and where they lie in the others.
    """
    if row is not None and pick_seed is not None:
        raise click.UsageError("--row and --pick-seed exclude each other")
    if as_json and html is not None:
        raise click.UsageError("--json and --html exclude each other")
    from spanmask.report.named import dataset_line, listed, names_of
    from spanmask.shard.reader import open_shards

    names = names_of(folders)
    datasets = [open_shards(folder, split) for folder in folders]
    shown = names if as_json or len(names) > 1 else [""]
    groups = _groups(shown, datasets, _choose(datasets[0], count, row, pick_seed))
    if as_json:
        print_json([view.to_json() for group in groups for view in group])
        return
    told = [f"{name}: {dataset_line(shards.manifest, split)}" for name, shards in zip(names, datasets, strict=True)]
    words = list(dict.fromkeys(map(_word_rule, datasets)))
    if html is None:
        for line in told:
            say(line)
        print_views([view for group in groups for view in group])
        for line in words:
            say(f"\n{line}")
        return
    from spanmask.report.rows_page import rows_page
    from spanmask.storage import publish_bytes

    title = f"Masked sequences of {listed(names)}: {split} split"
    publish_bytes(Path(html).absolute(), rows_page(groups, title, [*told, *words]).encode())
    say(f"wrote {html}")


def _groups(names: Sequence[str], datasets: Sequence[ShardSet], numbers: Sequence[int]) -> list[list[RowView]]:
    """Return rows of the first dataset by their numbers, each with the same sequence in the other datasets."""
    from spanmask.report.view import row_view
    from spanmask.shard.input_list import input_names

    inputs = [input_names(shards.manifest.inputs) for shards in datasets]
    first, groups = datasets[0], []
    for number in numbers:
        views = []
        for name, shards, files in zip(names, datasets, inputs, strict=True):
            place = number if shards is first else _place(shards, first, number)
            if place is not None:
                view = row_view(shards[place], shards.manifest.vocabulary, place)
                views.append(replace(view, dataset=name, input=files[view.file]))
        groups.append(views)
    return groups


def _place(shards: ShardSet, first: ShardSet, number: int) -> int | None:
    """Return where another dataset has a sequence, None where it has not; of other inputs, the row of that number."""
    if shards.manifest.inputs != first.manifest.inputs:
        return number if number < len(shards) else None
    wanted = _identity(first[number])
    place = bisect_left(range(len(shards)), wanted, key=lambda at: _identity(shards[at]))
    return place if place < len(shards) and _identity(shards[place]) == wanted else None


def _identity(row: Row) -> tuple[int, int]:
    return row.document_id, row.segment


def _word_rule(shards: ShardSet) -> str:
    from spanmask.report.figures import word_rule

    if shards.manifest.format_version == 1:
        return "Words are the tokenizer's own (format 1)."
    lines = [f"{line.value} {line.name}" for line in word_rule(shards.manifest.word_rule)]
    return f"In the whole dataset: {'; '.join(lines) or 'no words'}."


def _choose(shards: ShardSet, count: int, row: int | None, pick_seed: int | None) -> list[int]:
    total = len(shards)
    if row is not None and not -total <= row < total:
        raise click.UsageError(f"--row {row}: the split has rows 0 to {total - 1}")
    if pick_seed is not None:
        return sorted(random.Random(pick_seed).sample(range(total), min(count, total)))
    first = (row or 0) % total
    return list(range(first, min(first + count, total)))
