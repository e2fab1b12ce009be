"""Bins of real prose: a window of shuffled rows of enwiki fills 97 % of the tokens, in bins of 512."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import spanmask
from spanmask.blocks import join, select
from spanmask.config import MaskingConfig, PreshardConfig
from spanmask.loading.packing import Fill, assign, choose_capacities
from spanmask.loading.targets import count_targets, default_rule

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose"
WINDOW = 4096


@pytest.mark.data
def test_windows_of_enwiki_fill_97_percent_of_the_tokens(tmp_path: Path) -> None:
    file = SHARED / "enwiki2018.000.jsonl.zst"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in ../shared/data/prose")
    config = PreshardConfig(masking=MaskingConfig(seed=7))
    spanmask.preshard(file, tmp_path / "out", config, jobs=1)
    shards = spanmask.open(tmp_path / "out")
    rule = default_rule(config.masking)
    capacities = choose_capacities(shards.manifest.statistics["train"], rule)
    rows = join(shards.blocks[:])
    order = np.random.default_rng(20181).permutation(len(rows))
    fills = []
    for start in range(0, len(rows) - WINDOW, WINDOW):
        window = select(rows, order[start : start + WINDOW])
        needs = window.input_ids.lengths, window.labels.lengths, count_targets(window, rule).sbo
        fills.append(Fill.of(*needs, len(assign(*needs, capacities)), capacities))
    assert len(fills) >= 5
    assert min(fill.rates["tokens"] for fill in fills) >= 0.97
    assert sum(fills, Fill()).rates["mlm"] >= 0.75
    assert capacities.sequences <= 4
