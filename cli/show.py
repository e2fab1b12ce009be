"""`spanmask show`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .commands import examples, say
from .rows import print_rows

if TYPE_CHECKING:
    from spanmask.shard.reader import ShardSet


@click.command(
    name="show",
    epilog=examples(
        "spanmask show shards --n 1",
        "spanmask show shards --pick-seed 7 --n 50 --html rows.html",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--split", default="train", show_default=True, help="Which split.")
@click.option("--n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="How many sequences.")
@click.option("--row", type=int, help="Begin at this row, instead of picking some.")
@click.option("--pick-seed", type=int, help="Pick sequences at random with this seed. [the first ones]")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page instead.")
def command(folder: str, split: str, count: int, row: int | None, pick_seed: int | None, html: str | None) -> None:
    """Show masked sequences of the dataset in DIR: what was masked, replaced and kept, and the original beneath."""
    if row is not None and pick_seed is not None:
        raise click.UsageError("--row and --pick-seed exclude each other")
    from spanmask.shard.reader import open_shards

    shards = open_shards(folder, split)
    numbers = _choose(shards, count, row, pick_seed)
    rows, vocabulary = [(number, shards[number]) for number in numbers], shards.manifest.vocabulary
    words = _word_rule(shards)
    if html is None:
        print_rows(rows, vocabulary)
        say(f"\n{words}")
        return
    from spanmask.report.rows_page import rows_page
    from spanmask.report.view import row_view
    from spanmask.storage import publish_bytes

    views = [row_view(item, vocabulary, number) for number, item in rows]
    publish_bytes(Path(html).absolute(), rows_page(views, f"{Path(folder).name} · {split}", words).encode())
    say(f"wrote {html}")


def _word_rule(shards: ShardSet) -> str:
    from spanmask.report.figures import word_rule

    lines = word_rule(shards.manifest.word_rule)
    if not lines:
        return "Words are the tokenizer's own (format 1)."
    return f"In the whole dataset: {'; '.join(f'{line.value} {line.name}' for line in lines)}."


def _choose(shards: ShardSet, count: int, row: int | None, pick_seed: int | None) -> list[int]:
    total = len(shards)
    if row is not None and not -total <= row < total:
        raise click.UsageError(f"--row {row}: the split has rows 0 to {total - 1}")
    if pick_seed is not None:
        return sorted(random.Random(pick_seed).sample(range(total), min(count, total)))
    first = (row or 0) % total
    return list(range(first, min(first + count, total)))
