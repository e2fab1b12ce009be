"""Ranks whose micro-batches differ in shape take the step that one process takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import uneven

SCRIPT = """
import json, sys
sys.path[:0] = [{tests!r}, {folder!r}]
from train.test_train_slots import steps_of
json.dump(steps_of(sys.argv[1], int(sys.argv[2])), open(sys.argv[3] + f"-{{__import__('os').environ['RANK']}}", "w"))
"""
STEPS = 10


def steps_of(folder: str, batch_size: int) -> list[tuple[float, ...]]:
    """Take some steps in stored order: the loss sums and gradient norm of each, and the slots of this rank's batch."""
    import torch
    from train.conftest import NO_DROPOUT, config_of

    import spanmask
    from spanmask.loading import LoadConfig, Position, Share, Stream
    from spanmask.train import TrainStep
    from spanmask.train.config import Device
    from spanmask.train.distributed import joined
    from spanmask.train.feeding import StepBatches, step_batches
    from spanmask.train.starting import initial_model

    torch.set_num_threads(1)
    shards = [spanmask.open(folder)]
    with joined(Device.CPU) as world:
        config = config_of(**NO_DROPOUT, batch_size=batch_size)
        model = initial_model(config, shards)
        options = LoadConfig(
            **{**uneven.OPTIONS, "batch_size": batch_size, "max_span_offset": model.config.max_span_offset}
        )
        stream = Stream(shards, options, Share(rank=world.rank, world=world.size))
        update, found = TrainStep(model, config, world), []
        feed: Iterator[StepBatches]
        with closing(step_batches(stream, Position(), accumulate=1, sbo_weight=1.0, device=world.device)) as feed:
            for number, step in enumerate(islice(feed, STEPS), start=1):
                update(number, step)
                read = update.read()
                found.append((read.mlm_sum, read.sbo_sum, read.gradient_norm, step.batches[0].mlm_labels.shape[0]))
    return found


@pytest.mark.slow
def test_two_ranks_of_different_shapes_are_one_process_with_twice_the_batch(
    small_vocabulary: str, tmp_path: Path
) -> None:
    folder = uneven.write(tmp_path, vocab=small_vocabulary, cased=True)
    (tmp_path / "child.py").write_text(SCRIPT.format(tests=str(Path(uneven.__file__).parent), folder=str(tmp_path)))
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        tmp_path / "child.py",
        folder,
        16,
    ]
    ended = subprocess.run(
        [sys.executable, *map(str, command), str(tmp_path / "told")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    ranks = [json.loads((tmp_path / f"told-{rank}").read_text()) for rank in (0, 1)]
    alone = steps_of(str(folder), 32)
    shapes = [tuple(steps[number][3] for steps in ranks) for number in range(STEPS)]
    assert len(set(shapes)) > 1
    assert any(one != other for one, other in shapes)
    for one, other, whole in zip(*ranks, alone, strict=True):
        assert one[:3] == other[:3] == pytest.approx(whole[:3], rel=1e-5)
