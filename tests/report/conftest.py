"""What the tests of views share: a small dataset, its rows, and a row of text that means harm."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spanmask.auditing import audit
from spanmask.config import PreshardConfig
from spanmask.presharding.run import preshard
from spanmask.records import Row
from spanmask.report.view import RowView, row_view
from spanmask.shard.reader import ShardSet, open_shards
from spanmask.vocab import Vocabulary

TEXT = (
    "the old lighthouse keeper unbelievably remembered every storm ; (some) 1987 [sic] = sailors, Straße 東京 naïve "
    "re-entered harbour with electroencephalograph and don't panic !"
)
#: Entries of a vocabulary whose text a terminal, rich or a browser would obey.
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "[bold red]x[/]",
    "<script>alert(1)</script>",
    "\x9bK",
    "\u202eevil",
    "##\x07bell",
    "中",
    "国",
    "⟦",
    "]]",
    '"onload="x',
    "a" * 70,
    "&amp;",
    "é",
)


def corpus() -> str:
    chance = random.Random(5)
    words = TEXT.split()
    lines = [" ".join(chance.choices(words, k=chance.randint(4, 60))) for _ in range(80)]
    return "\n\n".join(lines)


def build(folder: Path, **options: Any) -> ShardSet:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "corpus.txt"
    source.write_text(corpus(), "utf-8")
    preshard([source], folder / "out", PreshardConfig.of(**{"seed": 3, "max_tokens": 96, **options}), jobs=1)
    return open_shards(folder / "out")


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return build(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="session")
def views(shards: ShardSet) -> list[RowView]:
    vocabulary = shards.manifest.vocabulary
    return [row_view(row, vocabulary, number) for number, row in enumerate(shards)]


@pytest.fixture(scope="session")
def audited(shards: ShardSet) -> dict[str, Any]:
    return audit(shards.root).to_json()


def row_of(originals: list[int], spans: list[tuple[int, int]], now: list[int], **kept: Any) -> Row:
    return Row(
        document_id=(3 << 40) + 99,
        segment=2,
        input_ids=np.array(now, np.uint16),
        span_starts=np.array([start for start, _ in spans], np.uint16),
        span_ends=np.array([end for _, end in spans], np.uint16),
        labels=np.array([originals[i] for start, end in spans for i in range(start, end)], np.uint16),
        kept=kept,
    )


@pytest.fixture(scope="session")
def hostile() -> RowView:
    vocabulary = Vocabulary(
        name="hostile", entries=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *HOSTILE), cased=True
    )
    words = list(range(5, len(vocabulary)))
    originals = [2, *words, *words, 3]
    now = list(originals)
    now[2:5] = [4, 4, 4]
    now[7:9] = [5, 7]
    spans = [(2, 5), (7, 9), (15, 17)]
    kept = {"title": "\x1b]0;owned\x07 [red]<img src=x>", "source": b"\xff\x1b"}
    return row_view(row_of(originals, spans, now, **kept), vocabulary, 99)
