"""What loading packs goes into the model as it is, and padded rows become bins."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import torch

import spanmask
from spanmask.batches import IGNORED, PackedBatch, SboTargets
from spanmask.model import PackedTensors, SboTensors, packed_tensors, padded_tensors
from spanmask.model import loss as model_loss


def _batch() -> PackedBatch:
    """One bin: [CLS] 7 [MASK] 8 [SEP], a sequence of three, two slots of padding."""
    narrow = np.int32
    return PackedBatch(
        input_ids=np.array([[2, 7, 4, 8, 3, 2, 9, 3, 0, 0]], narrow),
        sequence_index=np.array([[1, 1, 1, 1, 1, 2, 2, 2, 0, 0]], narrow),
        positions=np.array([[0, 1, 2, 3, 4, 0, 1, 2, 0, 1]], narrow),
        cu_seqlens=np.array([0, 5, 8, 10], narrow),
        mlm_positions=np.array([2, 0], narrow),
        mlm_labels=np.array([6, IGNORED], narrow),
        sbo=SboTargets(left=_row(1), right=_row(3), offsets=_row(0), labels=_row(6)),
        sequences=np.array([2], narrow),
        rows=np.array([[0, 1]]),
        datasets=np.array([[0, 0]]),
    )


def _row(value: int) -> np.ndarray:
    return np.array([value], np.int32)


def test_a_packed_batch_becomes_tensors_over_the_same_memory() -> None:
    batch = _batch()
    tensors = packed_tensors(batch)
    for name in PackedTensors._fields[:-3]:
        assert getattr(tensors, name).tolist() == getattr(batch, name).tolist()
        assert getattr(tensors, name).data_ptr() == getattr(batch, name).ctypes.data
    assert [tensor.tolist() for tensor in tensors.sbo] == [[1], [3], [0], [6]]
    assert tensors.token_types is None
    batch.input_ids[0, 1] = 5
    assert tensors.input_ids[0, 1] == 5


def test_names_are_those_of_the_arrays_and_the_ignored_label_is_written_down_once() -> None:
    package = Path(spanmask.__file__).parent
    assert [path.name for path in package.rglob("*.py") if re.search(r"= -100\b", path.read_text())] == ["batches.py"]
    assert model_loss.IGNORED == IGNORED == -100
    assert PackedTensors._fields[-1] == "nsp"
    assert set(PackedTensors._fields[:-1]) <= {field.name for field in dataclasses.fields(PackedBatch)}
    assert SboTensors._fields == tuple(field.name for field in dataclasses.fields(SboTargets))


def test_moving_keeps_every_field() -> None:
    batch = packed_tensors(_batch())
    moved = batch._replace(token_types=torch.zeros_like(batch.positions)).to("meta")
    assert isinstance(moved, PackedTensors)
    assert all(tensor.device.type == "meta" for tensor in (*moved[:-3], *moved.sbo, moved.token_types))
    assert batch.to("meta")[-2:] == (None, None)
    back = packed_tensors(_batch()).to("cpu", non_blocking=True)
    assert back.mlm_labels.tolist() == [6, IGNORED]
    assert back.sbo.right.tolist() == [3]


def test_padded_rows_become_bins_of_one_sequence() -> None:
    ids = torch.tensor([[2, 7, 3, 0], [2, 8, 9, 3], [0, 0, 0, 0]])
    batch = padded_tensors(ids, (ids > 0).long())
    assert batch.sequence_index.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 0], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert batch.cu_seqlens.tolist() == [0, 3, 4, 8, 8, 8, 12]
    assert batch.cu_seqlens.dtype == torch.int32
    assert batch.mlm_positions.shape == batch.sbo.labels.shape == (0,)
    assert batch.token_types is None
    types = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert padded_tensors(ids, (ids > 0).long(), types).token_types is types
