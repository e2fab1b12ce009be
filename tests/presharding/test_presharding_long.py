"""Sequences of 8,192 tokens from text to batches: what was cut, masked anew, packed, padded and audited is what short ones would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained
from click.testing import CliRunner
from spanmask_cli.show import command as show

import spanmask
from spanmask import PreshardConfig, ShardSet, audit, preshard, verify
from spanmask.loading import LoadConfig, Position, Stream
from spanmask.loading.padding import as_bins

MOST = 8192


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One story of some 17,000 tokens and some shorter ones, with the masks of two epochs."""
    folder = tmp_path_factory.mktemp("long")
    text = trained.stories()[:110_000]
    whole = " ".join(text[:80_000].split())
    (folder / "stories.txt").write_text(whole + "\n\n" + text[80_000:])
    for epoch in (0, 1):
        config = PreshardConfig.of(seed=7, max_tokens=MOST, mask_epoch=epoch)
        preshard(folder / "stories.txt", folder / str(epoch), config, jobs=1)
    return {epoch: folder / str(epoch) for epoch in (0, 1)}


@pytest.fixture(scope="module")
def shards(folders: dict[int, Path]) -> ShardSet:
    return spanmask.open(folders[0])


def test_rows_are_full_and_masked_beyond_the_places_of_short_ones(folders: dict[int, Path], shards: ShardSet) -> None:
    assert verify(folders[0]).findings == ()
    assert audit(folders[0]).differing_rows == 0
    lengths = [len(row.input_ids) for row in shards]
    assert max(lengths) > MOST - 20
    assert max(int(row.span_ends.max()) for row in shards) > MOST - 100
    for row in shards:
        assert len(row.labels) >= -(-15 * (len(row.input_ids) - 2) // 100)


@pytest.mark.parametrize("layout", ["packed", "padded", "bucketed"])
def test_fresh_masks_in_any_layout_are_those_that_the_epoch_stores(
    folders: dict[int, Path], shards: ShardSet, layout: str
) -> None:
    stored = {(row.document_id, row.segment): row for row in spanmask.open(folders[1])}
    names = [(row.document_id, row.segment) for row in shards]
    stream = Stream([shards], LoadConfig.of(batch_size=2, layout=layout, masks="fresh", sbo=True))
    seen = []
    for delivered in stream.batches(Position(epoch=1)):
        batch: Any = delivered.batch if layout == "packed" else as_bins(delivered.batch)  # type: ignore[arg-type]
        width = batch.input_ids.shape[1]
        there = batch.mlm_labels != -100
        labels = dict(zip(batch.mlm_positions[there].tolist(), batch.mlm_labels[there].tolist(), strict=True))
        targets = list(
            zip(*(getattr(batch.sbo, part).tolist() for part in ("left", "right", "offsets", "labels")), strict=True)
        )
        for place, bin_rows in enumerate(batch.rows.tolist()):
            for number, of_row in enumerate(one for one in bin_rows if one >= 0):
                row = stored[names[of_row]]
                slots = np.flatnonzero(batch.sequence_index[place] == number + 1)
                first = place * width + int(slots[0])
                assert batch.input_ids[place][slots].tolist() == row.input_ids.tolist()
                assert batch.positions[place][slots].tolist() == list(range(len(row.input_ids)))
                spans = list(zip(row.span_starts.tolist(), row.span_ends.tolist(), strict=True))
                masked = [first + at for start, end in spans for at in range(start, end)]
                assert [labels[at] for at in masked] == row.labels.tolist()
                wanted = [
                    (first + start - 1, first + end, at - start, labels[first + at])
                    for start, end in spans
                    for at in range(start, min(end, start + 20))
                ]
                assert [one for one in targets if first <= one[0] < first + len(slots) and one[3] != -100] == wanted
                seen.append(of_row)
    assert sorted(seen) == list(range(len(shards)))


def test_a_long_row_is_shown_whole(folders: dict[int, Path], shards: ShardSet) -> None:
    longest = max(range(len(shards)), key=lambda row: len(shards[row].input_ids))
    told = CliRunner().invoke(show, [str(folders[0]), "--row", str(longest), "--n", "1"])
    assert told.exit_code == 0, told.output
    assert f"{len(shards[longest].input_ids) - 2} tokens + 2 special" in told.output
