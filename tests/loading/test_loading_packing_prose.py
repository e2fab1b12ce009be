"""Bins and slots of real prose: enwiki's rows fill 97 % of the tokens in bins of 512, and 95 % of the slots for targets."""

from __future__ import annotations

from pathlib import Path

import pytest

import spanmask
from spanmask.config import MaskingConfig, PreshardConfig
from spanmask.loading import LoadConfig, Position, Stream

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose"


@pytest.fixture(scope="module")
def enwiki(tmp_path_factory: pytest.TempPathFactory) -> spanmask.ShardSet:
    file = SHARED / "enwiki2018.000.jsonl.zst"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in ../shared/data/prose")
    out = tmp_path_factory.mktemp("prose") / "out"
    spanmask.preshard(file, out, PreshardConfig(masking=MaskingConfig(seed=7)), jobs=1)
    return spanmask.open(out)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("size", [8, 64])
def test_fresh_masks_of_enwiki_fill_bins_and_slots(enwiki: spanmask.ShardSet, size: int) -> None:
    stream = Stream([enwiki], LoadConfig(batch_size=size, layout="packed", masks="fresh"))
    assert stream.capacities is not None
    assert stream.capacities.sequences <= 4
    tokens = mlm = sbo = second = mlm_slots = sbo_slots = bins = batches = 0
    for one in stream.batches(Position(epoch=1)):
        tokens, mlm, sbo = tokens + one.counts.tokens, mlm + one.counts.mlm, sbo + one.counts.sbo
        mlm_slots += one.batch.mlm_labels.size
        sbo_slots += one.batch.sbo.labels.size
        bins += int((one.batch.sequences > 0).sum())
        batches += 1
        second += one.batch.mlm_labels.size > stream.slots[0].mlm
    assert tokens / (bins * 512) >= 0.97
    assert mlm / mlm_slots >= 0.95
    assert sbo / sbo_slots >= 0.95
    assert second / batches <= 0.01
