"""A checkpoint is there whole or not at all, and what was altered since is told, not loaded."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from train.conftest import config_of, lines_of, losses_of, weights_of

from spanmask.errors import ConfigError, MismatchError, SpanmaskError, StorageError
from spanmask.train import Checkpoint, Progress, latest_checkpoint, load_run, read_checkpoint, train
from spanmask.train.checkpoint import CheckpointWriter, write_checkpoint

TENSORS = {
    "matrix": torch.arange(6, dtype=torch.float32).view(2, 3),
    "odd": torch.tensor([1.5], dtype=torch.bfloat16),
    "number": torch.tensor(7),
    "none": torch.empty(0),
    "turned": torch.arange(6, dtype=torch.float64).view(2, 3).T,
}


def made(step: int) -> Checkpoint:
    return Checkpoint(model=TENSORS, optimizer={"matrix.exp_avg": torch.ones(2)}, state={"step": step, "note": "é"})


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_tensors_come_back_as_they_were_and_safetensors_itself_reads_them(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, made(12))
    read = read_checkpoint(folder)
    assert (folder.name, read.step, read.state["note"]) == ("step-00000012", 12, "é")
    assert read.model.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read.model[name].dtype == tensor.dtype
        assert torch.equal(read.model[name], tensor)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert torch.equal(file.get_tensor("turned"), TENSORS["turned"])
    assert read_checkpoint(folder, optimizer=False).optimizer == {}


def test_checkpoints_that_are_named_stay_beside_the_latest_as_long_as_they_are_named(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, keep=1)
    there = []
    for step, besides in ((1, ()), (2, (1,)), (3, (1,)), (4, (3,)), (5, ())):
        writer.begin(made(step), besides)
        writer.finish()
        there.append(sorted(int(path.name[-8:]) for path in tmp_path.glob("step-*")))
    assert there == [[1], [1, 2], [1, 3], [3, 4], [5]]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _flip])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_truncated_or_altered_file_is_told_by_its_name(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    folder = write_checkpoint(tmp_path, made(3))
    damage(folder / name)
    with pytest.raises(MismatchError, match=rf"{name}: .*copy the checkpoint again, or remove its folder"):
        read_checkpoint(folder)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, made(3))
    (folder / "optimizer.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"optimizer.safetensors: the file is missing"):
        read_checkpoint(folder)


def test_only_the_latest_are_kept_and_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-0123-step-00000001").mkdir()
    writer = CheckpointWriter(tmp_path, keep=2)
    for step in (9, 10, 100, 11):
        writer.begin(made(step))
    writer.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000011", "step-00000100"]
    assert latest_checkpoint(tmp_path.parent) is None


def test_a_write_that_fails_leaves_nothing_behind_and_is_raised_at_the_next_look(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, keep=2)
    writer.begin(made(1))
    writer.finish()
    with limited(20):
        writer.begin(made(2))
        writer.wait()
    with pytest.raises(StorageError, match="step-00000002: could not write the checkpoint"):
        writer.check()
    writer.check()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_disk_that_fills_up_ends_the_run_and_leaves_the_checkpoint_before_to_go_on_from(
    shards: Path, tmp_path: Path
) -> None:
    train(shards, tmp_path / "whole", config_of())
    seen = []

    def fill(progress: Progress) -> None:
        seen.append(progress.step)
        if progress.step == 7:
            while latest_checkpoint(tmp_path / "run") is None:
                time.sleep(0.01)
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    with (
        limited(resource.getrlimit(resource.RLIMIT_FSIZE)[0]),
        pytest.raises(StorageError, match=r"step-00000010.*--resume"),
    ):
        train(shards, tmp_path / "run", config_of(), on_progress=fill)
    assert seen[-1] >= 10
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000005"]
    train(shards, tmp_path / "run", config_of(), resume=True)
    assert losses_of(tmp_path / "run") == losses_of(tmp_path / "whole")


def test_a_value_that_is_not_finite_ends_the_run_before_any_checkpoint_and_names_step_and_batch(
    shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(shards, run, config_of(steps=5))
    folder = latest_checkpoint(run)
    assert folder is not None
    good = read_checkpoint(folder)
    # Finite, as checkpoints are; squares of what it makes are not.
    good.model["encoder.layers.1.up.weight"][3] = 3e38
    write_checkpoint(folder.parent, good)
    config = config_of(steps=12, log_every=3, save_every=4)
    at = good.state["stream"]
    place = f"epoch {at['epoch']}, window {at['window']}, bin {at['bin']}"
    with pytest.raises(
        SpanmaskError, match=rf"step 6: .* not finite, in the batch that begins at {place}; .*step-00000005"
    ):
        train(shards, run, config, resume=True)
    assert [path.name for path in folder.parent.iterdir()] == ["step-00000005"]
    assert [line["step"] for line in lines_of(run)] == [1, 2, 3, 4, 5]


def test_a_run_is_resumed_from_no_other_checkpoint_than_the_latest(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(shards, run, config_of())
    _truncate(run / "checkpoints" / "step-00000012" / "model.safetensors")
    before = weights_of(run, 12)
    with pytest.raises(MismatchError, match=r"step-00000012/model.safetensors: its SHA-256"):
        train(shards, run, config_of(), resume=True)
    assert weights_of(run, 12) == before
    with pytest.raises(MismatchError, match="step-00000012"):
        load_run(run)
    shutil.rmtree(run / "checkpoints" / "step-00000012")
    train(shards, run, config_of(), resume=True)
    assert weights_of(run, 12)[:1000] == before[:1000]


def test_a_run_gives_its_model_and_vocabulary_back(shards: Path, tmp_path: Path) -> None:
    finished = train(shards, tmp_path / "run", config_of(steps=2))
    loaded = load_run(tmp_path / "run")
    model, vocabulary = loaded.model, loaded.vocabulary
    assert loaded.step == 2
    assert len(vocabulary) == model.config.vocab_size
    assert sum(parameter.numel() for parameter in model.parameters()) == finished.parameters
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["vocabulary"] == vocabulary.sha256
    assert told["config"]["steps"] == 2
    assert (
        told["versions"]["torch"] == torch.__version__.split("+")[0] or told["versions"]["torch"] == torch.__version__
    )
    with pytest.raises(ConfigError, match=r"no run.json there"):
        load_run(tmp_path)
