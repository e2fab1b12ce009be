"""Datasets that tests of loading share: small ones of every kind, written once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemes
import trained

from spanmask import PreshardConfig, ShardSet, preshard
from spanmask import open as open_shards

SCHEMES = {**schemes.SCHEMES, "words": {"words_field": "words"}}

Make = Callable[..., ShardSet]


def paragraphs() -> list[str]:
    return [text for text in trained.stories().split("\n") if len(text) > 60]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines of 900 paragraphs of stories, with ranges and words."""
    path = tmp_path_factory.mktemp("source") / "rows.jsonl"
    with path.open("w") as file:
        for text in (paragraphs() * 3)[:900]:
            spaces = [place + 1 for place, char in enumerate(text) if char == " "]
            spans = [[spaces[2], spaces[4] - 1], [spaces[6], spaces[6] + 2]]
            file.write(json.dumps({"text": text, "spans": spans, "words": [0, *spaces[::2]]}) + "\n")
    return path


@pytest.fixture(scope="session")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a dataset, once for each choice of options, and open it."""
    made: dict[str, Path] = {}

    def make(**options: Any) -> ShardSet:
        name = json.dumps(options, sort_keys=True, default=str)
        if name not in made:
            made[name] = tmp_path_factory.mktemp("dataset") / "out"
            config = PreshardConfig.of(**{"seed": 7, "max_tokens": 48, "shard_bytes": 64 << 10, **options})
            preshard(source, made[name], config, jobs=1)
        return open_shards(made[name])

    return make
