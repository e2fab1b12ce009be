"""Finished datasets of every kind of column, for tests of what else can read and write them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import spanmask
from spanmask.config import PreshardConfig
from spanmask.presharding.run import preshard
from spanmask.records import MaskedBlock

Rows = list[dict[str, Any]]

#: A word of more pieces than the budget of a row that has no other: such a row has no span.
LONE_WORD = "antidisestablishmentarianism"
_WORDS = (
    f"the a of and it was cats sat quietly unbelievably tokenization Zürich naïve {LONE_WORD} 1984 U.S. don't 猫 , ; ( )"
).split()
_KEPT = ("number", "name", "flag", "score")
_MANY = {"shard_bytes": 4096, "holdout": 0.3}
#: uint16 or (wide) uint32 ids, one shard or many, one split or two, and each optional column at least twice.
RECIPES: dict[str, dict[str, Any]] = {
    "one": {},
    "many": _MANY,
    "wide": {"vocab": "wide", **_MANY},
    "stored": {"words_field": "words", "keep": _KEPT, **_MANY},
    "annotated": {"scheme": "annotated", "spans_field": "spans", "keep": ("name",)},
    "everything": {
        **_MANY,
        "vocab": "wide",
        "scheme": "annotated",
        "spans_field": "spans",
        "words_field": "words",
        "keep": (*_KEPT, "seldom", "often"),
    },
}


def _json_lines(documents: int) -> str:
    rng = random.Random(documents)
    lines = []
    for number in range(documents):
        text = LONE_WORD if number % 40 == 3 else " ".join(rng.choice(_WORDS) for _ in range(rng.randint(3, 60)))
        cuts = sorted(rng.sample(range(len(text)), 6))
        content = {
            "text": text,
            "spans": list(zip(cuts[::2], cuts[1::2], strict=True)),
            "words": sorted({0, *rng.sample(range(len(text)), len(text) // 4)} if number % 40 != 3 else {0}),
            "number": number - 100,
            "name": f'é{number}\n"' * (number % 3),
            "flag": number % 2 == 0,
            "score": number / 3,
            "seldom": None if number % 7 else f"{number}é",
            **({} if number % 5 else {"often": number}),
        }
        lines.append(json.dumps(content) + "\n")
    return "".join(lines)


def _wide_vocabulary(path: Path) -> Path:
    """Write a vocabulary of 70,000 entries whose ordinary ones have the highest ids."""
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = sorted({char for word in _WORDS for char in word} | {f"##{char}" for word in _WORDS for char in word})
    entries += [f"[unused{number}]" for number in range(70_000 - len(entries) - len(pieces))]
    path.write_text("\n".join([*entries, *pieces]) + "\n")
    return path


def make_dataset(folder: Path, recipe: str, *, documents: int = 160, name: str = "shards") -> Path:
    """Preshard a dataset of a recipe into a folder."""
    source = folder / "input.jsonl"
    source.write_text(_json_lines(documents))
    options = {"seed": 7, "max_tokens": 48, "min_tokens": 3, **RECIPES[recipe]}
    if options.pop("vocab", None):
        options |= {"vocab": str(_wide_vocabulary(folder / "vocab.txt")), "cased": True}
    preshard(source, folder / name, PreshardConfig.of(**options), jobs=1)
    return folder / name


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished dataset by the name of its recipe, not to be changed."""
    made: dict[str, Path] = {}

    def dataset(recipe: str) -> Path:
        if recipe not in made:
            made[recipe] = make_dataset(tmp_path_factory.mktemp(recipe), recipe)
        return made[recipe]

    return dataset


def splits_of(folder: Path) -> list[str]:
    return list(spanmask.open(folder).manifest.splits)


def read_rows(folder: Path, split: str) -> Rows:
    """Return the rows of a split as our reader gives them, each as plain values by column."""
    shards = spanmask.open(folder, split)
    ranges = [found for block in shards.blocks for found in _annotated(block)]
    return [
        {
            **{name: getattr(row, name) for name in ("document_id", "segment")},
            **{name: getattr(row, name).tolist() for name in ("input_ids", "span_starts", "span_ends", "labels")},
            **({} if row.word_starts is None else {"word_starts": row.word_starts.tolist()}),
            **found,
            **row.kept,
        }
        for row, found in zip(shards, ranges, strict=True)
    ]


def _annotated(block: MaskedBlock) -> Rows:
    """Return the annotated ranges of each row of a block, where it stores them."""
    known = block.annotations
    if known is None:
        return [{} for _ in range(len(block))]
    places = [slice(*pair) for pair in pairwise(known.offsets.tolist())]
    return [
        {"annotation_starts": known.starts[place].tolist(), "annotation_ends": known.ends[place].tolist()}
        for place in places
    ]


def stored_rows(folder: Path, split: str) -> Rows:
    """Return the rows of a split as Arrow reads them from the shards."""
    paths = sorted((folder / split).glob("*.arrow"))
    return [row for path in paths for row in pa.ipc.open_file(path).read_all().to_pylist()]


def original_of(row: dict[str, Any]) -> list[int]:
    ids, labels = list(row["input_ids"]), iter(row["labels"])
    for start, end in zip(row["span_starts"], row["span_ends"], strict=True):
        ids[start:end] = [next(labels) for _ in range(start, end)]
    return ids
