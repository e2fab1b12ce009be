"""Padded batches equal a literal twin, by both backends."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import strategies as shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from small import VOCABULARY, config_of

from spanmask.batches import PaddedBatch
from spanmask.blocks import block_of as block_of_rows
from spanmask.config import MaskingConfig
from spanmask.errors import ConfigError
from spanmask.loading.backend import Backend
from spanmask.loading.padding import pad
from spanmask.loading.targets import Edges, SboRule
from spanmask.masking import mask
from spanmask.records import MaskedBlock

SAMPLERS = [pair for pair in shapes.SAMPLERS if pair[0] != "annotated"]
BACKENDS = [Backend.NUMPY, Backend.COMPILED]
SPECIAL = {"pad_id": shapes.PAD_ID, "cls_id": shapes.CLS_ID, "sep_id": shapes.SEP_ID}


def block_of(segments: list[shapes.Segment], masking, *, wide: bool = False) -> MaskedBlock:
    offsets = np.cumsum([0, *(len(segment.tokens) for segment in segments)])
    tokens = np.array([token for segment in segments for token in segment.tokens], np.int64)
    unigram = None if masking.unigram is None else np.array(masking.unigram, np.int64)
    block = mask(tokens, offsets, config_of(masking), VOCABULARY, unigram=unigram)
    if not wide:
        return block
    ids, labels = (replace(ids, values=ids.values.astype(np.uint32)) for ids in (block.input_ids, block.labels))
    return replace(block, input_ids=ids, labels=labels)


def padded(block: MaskedBlock, backend: Backend, **options) -> PaddedBatch:
    rows, datasets = 100 + np.arange(len(block)), np.arange(len(block)) % 2
    defaults = {"rows_wanted": len(block), "width": None, "rule": None, **SPECIAL}
    return pad(block, rows, datasets, **{**defaults, **options}, backend=backend)


def literal(block: MaskedBlock, rows_wanted: int, width: int | None, rule: SboRule | None) -> dict:
    """What a batch must hold, as lists."""
    out: dict = {name: [] for name in ("input_ids", "attention_mask", "labels", "weights", "rows", "datasets", "sbo")}
    lengths = block.input_ids.lengths.tolist()
    if width is None:
        width = max([2, *lengths])
        width += -width % 8
    for i in range(rows_wanted):
        given = i < len(block)
        ids = block.input_ids[i].tolist() if given else [6, 7]
        labels, targets = [-100] * width, []
        originals = iter(block.labels[i].tolist() if given else [])
        for start, end in np.transpose(block.spans[i]).tolist() if given else []:
            for place in range(start, end):
                labels[place] = next(originals)
                near_edge = start == 1 or end == len(ids) - 1
                dropped = rule is not None and rule.edges == "drop" and near_edge
                if rule is not None and place - start < rule.max_span_offset and not dropped:
                    targets.append((start - 1, end, place - start, labels[place]))
        out["input_ids"].append(ids + [0] * (width - len(ids)))
        out["attention_mask"].append([1] * len(ids) + [0] * (width - len(ids)))
        out["labels"].append(labels)
        out["weights"].append(1.0 if given else 0.0)
        out["rows"].append(100 + i if given else -1)
        out["datasets"].append(i % 2 if given else -1)
        out["sbo"].append(targets)
    slots = max([len(targets) for targets in out["sbo"]], default=0)
    slots += -slots % 8
    out["sbo"] = [[*row, *[(0, 0, 0, -100)] * (slots - len(row))] for row in out["sbo"]]
    return out


def as_lists(batch: PaddedBatch) -> dict:
    names = ("input_ids", "attention_mask", "labels", "weights", "rows", "datasets")
    return {name: getattr(batch, name).tolist() for name in names}


def sbo_as_lists(batch: PaddedBatch) -> list[list[tuple[int, ...]]]:
    assert batch.sbo is not None
    columns = (batch.sbo.left, batch.sbo.right, batch.sbo.offsets, batch.sbo.labels)
    assert {column.dtype for column in columns} == {np.dtype(np.int32)}
    return [list(zip(*(column[i].tolist() for column in columns), strict=True)) for i in range(len(batch.rows))]


def rules() -> st.SearchStrategy[SboRule | None]:
    some = st.builds(SboRule, edges=st.sampled_from(Edges), max_span_offset=st.sampled_from([1, 2, 20]))
    return st.none() | some


@settings(deadline=None)
@given(
    segments=st.lists(shapes.segments(), max_size=5),
    masking=shapes.maskings(samplers=SAMPLERS),
    rule=rules(),
    more=st.integers(0, 2),
    spare=st.sampled_from([None, 0, 5]),
    wide=st.booleans(),
)
def test_both_backends_equal_the_literal_batch(segments, masking, rule, more: int, spare: int | None, wide) -> None:
    block = block_of(segments, masking, wide=wide)
    longest = int(block.input_ids.lengths.max(initial=2))
    width = None if spare is None else longest + spare
    wanted = literal(block, len(block) + more, width, rule)
    for backend in BACKENDS:
        batch = padded(block, backend, rows_wanted=len(block) + more, width=width, rule=rule)
        assert as_lists(batch) == {name: wanted[name] for name in as_lists(batch)}
        assert (batch.sbo is None) == (rule is None)
        assert rule is None or sbo_as_lists(batch) == wanted["sbo"]
        dtypes = {"weights": np.float32} | dict.fromkeys(("input_ids", "attention_mask", "labels", "rows"), np.int64)
        assert all(getattr(batch, name).dtype == dtype for name, dtype in dtypes.items())


def plain(lengths: list[int]) -> MaskedBlock:
    """Rows of one-piece words, that many tokens each without the special ones."""
    tokens = np.full(sum(lengths), 20)
    return mask(tokens, np.cumsum([0, *lengths]), MaskingConfig(seed=5), VOCABULARY)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_width_that_is_no_multiple_of_eight_is_kept(backend: Backend) -> None:
    assert padded(plain([3, 9]), backend, width=11).input_ids.shape == (2, 11)
    assert padded(plain([3, 9]), backend).input_ids.shape == (2, 16)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_of_no_weight_is_an_empty_sequence_without_targets(backend: Backend) -> None:
    batch = padded(plain([9]), backend, rows_wanted=3, rule=SboRule(edges=Edges.USE))
    assert batch.weights.tolist() == [1, 0, 0]
    assert batch.input_ids[1:, :3].tolist() == [[6, 7, 0]] * 2
    assert batch.attention_mask[1:].sum(axis=1).tolist() == [2, 2]
    assert (batch.labels[1:] == -100).all()
    assert batch.sbo is not None
    assert (batch.sbo.labels[1:] == -100).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_rows_make_a_batch_of_no_weight(backend: Backend) -> None:
    empty = padded(block_of_rows([]), backend, rows_wanted=2)
    assert empty.input_ids.tolist() == [[6, 7, 0, 0, 0, 0, 0, 0]] * 2
    assert empty.weights.tolist() == [0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_over_the_width_is_named(backend: Backend) -> None:
    with pytest.raises(
        ConfigError, match="document 1 segment 0 has 12 tokens, the batch is 8 wide: give a width of 12"
    ):
        padded(plain([3, 10]), backend, width=8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_rows_than_wanted_are_refused(backend: Backend) -> None:
    with pytest.raises(ConfigError, match="2 rows do not fit a batch of 1"):
        padded(plain([3, 10]), backend, rows_wanted=1)


def test_rows_must_each_be_named() -> None:
    with pytest.raises(ConfigError, match="1 rows and 2 datasets are named for a block of 2"):
        pad(
            plain([3, 4]), np.zeros(1, np.int64), np.zeros(2, np.int64), rows_wanted=2, width=None, rule=None, **SPECIAL
        )


def test_the_numpy_backend_loads_no_compiler() -> None:
    code = """
import sys
import numpy as np
from spanmask.loading.backend import Backend
from spanmask.loading.padding import pad
from spanmask.loading.binning import Capacities, TargetSlots
from spanmask.loading.packing import fill
from spanmask.loading.targets import Edges, SboRule
from spanmask.records import MaskedBlock, Ragged, Ranges
one = np.array([0, 1])
block = MaskedBlock(document_ids=one[:1].astype(np.uint64), segments=one[:1].astype(np.uint32),
    input_ids=Ragged(values=np.array([6, 8, 20, 7], np.uint16), offsets=4 * one),
    spans=Ranges(starts=np.array([1], np.uint16), ends=np.array([2], np.uint16), offsets=one),
    labels=Ragged(values=np.array([30], np.uint16), offsets=one))
rule, zero = SboRule(edges=Edges.USE), np.zeros(1, np.int64)
batch = pad(block, zero, zero, rows_wanted=1, width=4, pad_id=0, cls_id=6, sep_id=7, rule=rule, backend=Backend.NUMPY)
assert batch.labels.tolist() == [[-100, 30, -100, -100]]
full = fill(block, zero, zero, [zero], bins_wanted=1, capacities=Capacities(tokens=5, sequences=1),
    slots=TargetSlots(mlm=2, sbo=2), pad_id=0, rule=rule, backend=Backend.NUMPY)
assert full.mlm_labels.tolist() == [30, -100]
print(*sorted(sys.modules))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numba", "llvmlite", "torch", "pyarrow"} & set(loaded)
    assert "spanmask.loading.packing" in loaded
