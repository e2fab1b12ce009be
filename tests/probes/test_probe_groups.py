"""Tasks that see several examples at once, rates of their own for what stands on an encoder, and encoders that stay as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes.ordering import config_of, ordering, pairs, small_model, tune, vocabulary
from torch import Tensor, nn

from spanmask import Tokenizer
from spanmask.errors import ConfigError
from spanmask.model import SpanBertConfig
from spanmask.model.finetuning import GroupStates
from spanmask.probes import Examples
from spanmask.probes.batching import GroupPacker, Packer, examples_of
from spanmask.probes.config import FinetuneConfig, GridPoint
from spanmask.probes.finetune import fine_tune
from spanmask.probes.predicting import predict
from spanmask.probes.results import Named
from spanmask.probes.starting import Source
from spanmask.probes.tasks import Judged, Outputs, Rows, Settings
from spanmask.probes.training import FinetuneStep
from spanmask.probes.watching import Watch
from spanmask.train.checkpoint import read_checkpoint
from spanmask.train.distributed import World
from spanmask.train.optimizer import learning_rate
from spanmask.train.watching import Progress

#: Pairs of a group, one group after another.
SIZES = (3, 1, 5, 2)
PAD = 0


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


def grouped(sizes: tuple[int, ...] = SIZES, first: int = 0) -> Examples:
    examples = pairs(Tokenizer(vocabulary()), first, sum(sizes))
    return replace(examples, groups=np.repeat(np.arange(len(sizes)) + 7, sizes))


class Voting(nn.Module):
    """Of each of a group's examples, whether it is turned, by its own first state beside the mean of all of them."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(2 * config.hidden, 2)

    def forward(self, hidden: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        states = hidden[given["firsts"]]
        scores: Tensor = self.dense(torch.cat([states, states.mean(0).expand_as(states)], 1))
        return scores

    def predict(self, states: GroupStates, given: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([given["numbers"][:, None], self(states.of(0, states.bins), given)], 1)


@dataclass(frozen=True)
class Held:
    name: str
    examples: Examples

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        assert outputs[:, 0].tolist() == self.examples.groups.tolist()
        assert outputs[:, 1].tolist() == list(range(len(self.examples)))
        right = (outputs[:, 3] > outputs[:, 2]) == (self.examples.targets["turned"] == 1)
        lines = "".join(f"{value:.9g}\n" for value in (outputs[:, 3] - outputs[:, 2]).tolist())
        return Judged(figures={"accuracy": 100 * float(right.mean())}, files={"margins.txt": lines.encode()})


@dataclass(frozen=True)
class Groups:
    training: Examples
    selection: Held
    evaluations: tuple[Held, ...]
    name: str = "groups"
    metric: str = "accuracy"
    width: int = 64
    rows: Rows = Rows.GROUP
    most_examples: int | None = 2
    train_files: tuple[Named, ...] = (Named(name="poe.txt", sha256="0" * 64),)
    eval_files: tuple[Named, ...] = (Named(name="one", sha256="1" * 64),)

    @property
    def protocol(self) -> Mapping[str, Any]:
        return {}

    def head(self, config: SpanBertConfig) -> nn.Module:
        return Voting(config)

    def given(self, batch: Any) -> dict[str, Tensor]:
        return {"firsts": batch.firsts, "numbers": torch.from_numpy(batch.which)}

    def loss(self, scores: Tensor, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(scores.float(), batch.targets["turned"])


def groups(_: Any = None) -> Groups:
    return Groups(grouped(), Held("selection", grouped((2, 2), 40)), (Held("one", grouped(SIZES, 60)),))


def test_a_group_is_a_batch_in_order_each_example_a_bin_of_its_own() -> None:
    examples = grouped()
    packing = GroupPacker(examples, width=64, pad_id=PAD)
    seen = list(packing.batches(np.arange(len(packing))))
    assert [batch.which.tolist() for batch in seen] == [[0, 1, 2], [3], [4, 5, 6, 7, 8], [9, 10]]
    for batch in seen:
        assert batch.units == 1
        longest = int(examples.input_ids.lengths[batch.which].max())
        assert batch.packed.input_ids.shape == (len(batch.which), longest)
        for row, number in enumerate(batch.which.tolist()):
            ids = examples.input_ids[number]
            assert batch.packed.input_ids[row, : len(ids)].tolist() == ids.tolist()
            assert int(batch.firsts[row]) == row * longest


def test_neighbours_are_drawn_by_seed_update_and_unit_as_often_as_a_group_has_so_many() -> None:
    packing = GroupPacker(grouped(), width=64, pad_id=PAD, most=2)
    whose = [0, 0, 1, 2, 2, 2, 3]
    assert len(packing) == len(whose)

    def drawn(seed: int) -> list[list[list[int]]]:
        units = np.arange(len(whose))
        return [[batch.which.tolist() for batch in packing.batches(units, (seed, step))] for step in range(60)]

    seen = drawn(1)
    assert seen == drawn(1) != drawn(2)
    firsts = {0: {0, 1}, 1: {3}, 2: {4, 5, 6, 7}, 3: {9}}
    for unit, group in enumerate(whose):
        taken = {tuple(update[unit]) for update in seen}
        assert taken == {(first, first + 1)[: SIZES[group]] for first in firsts[group]}
    assert [update[3] for update in seen] != [update[4] for update in seen]


def test_a_grouped_run_that_is_stopped_is_the_one_that_went_through(model: Path, tmp_path: Path) -> None:
    class StopAfter(Watch):
        over = False

        def __init__(self, last: int) -> None:
            super().__init__()
            self._last = last

        def step(self, progress: Progress) -> None:
            self.over = progress.step >= self._last

        def stopping(self) -> bool:
            return self.over

    config = config_of(batch_size=(2,), lr=(1e-3,), seeds="1", epochs=3, head_lr=(5e-3,))
    whole = fine_tune(Source(model), groups, tmp_path / "whole", config).results
    for last in (1, 3):
        resume = last > 1
        told = fine_tune(Source(model), groups, tmp_path / "run", config, resume=resume, watch=StopAfter(last))
        assert told.results is None
    assert fine_tune(Source(model), groups, tmp_path / "run", config, resume=True).results == whole
    assert whole is not None
    assert whole.seeds[0].chosen["head_lr"] == 5e-3
    margins = [(tmp_path / name / "seed-1" / "one" / "margins.txt").read_bytes() for name in ("whole", "run")]
    assert margins[0] == margins[1]
    (metrics,) = (tmp_path / "whole").glob("seed-1/*/metrics.jsonl")
    last = json.loads(metrics.read_text().splitlines()[-1])
    packing = GroupPacker(grouped(), width=64, pad_id=PAD, most=2)
    seen = [
        batch.which
        for step in range(1, last["step"] + 1)
        for batch in packing.batches(examples_of(step, count=len(packing), batch_size=2, seed=1), (1, step))
    ]
    assert last["tokens"] == grouped().input_ids.lengths[np.concatenate(seen)].sum()


def test_a_group_is_scored_as_if_it_were_alone(model: Path) -> None:
    source, task = Source(model), groups()
    source.begin()
    built, examples = source.model(task, seed=1), grouped()
    whole = predict(built, task, GroupPacker(examples, width=64, pad_id=PAD), dtype=torch.float32)
    for group in range(len(SIZES)):
        which = np.flatnonzero(examples.groups == 7 + group)
        alone = GroupPacker(examples.take(which), width=64, pad_id=PAD)
        found = predict(built, task, alone, dtype=torch.float32)
        assert found[:, 2:] == pytest.approx(whole[which][:, 2:], abs=1e-6)


def test_a_frozen_encoder_stays_as_it_is_and_what_stands_on_it_learns(model: Path, tmp_path: Path) -> None:
    class Keep(Watch):
        """Copies the checkpoints' weights."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[dict[str, Tensor]] = []

        def selected(self, line: dict[str, Any]) -> None:
            found = sorted((tmp_path / "run").glob("seed-1/*/checkpoints/step-*"))
            self.seen += [read_checkpoint(path, optimizer=False).model for path in found[-1:]]

    options: dict[str, Any] = {"lr": (1e-2,), "seeds": "1", "epochs": 3, "frozen": True}
    watch, source = Keep(), Source(model, frozen=True)
    finished = fine_tune(source, ordering, tmp_path / "run", config_of(**options), watch=watch)
    assert finished.results is not None
    began = source.model(ordering(vocabulary()), seed=1).state_dict()
    last = watch.seen[-1]
    moved = {name for name, tensor in last.items() if not torch.equal(tensor, began[name])}
    assert moved == {name for name in began if not name.startswith("encoder.")}
    with pytest.raises(ConfigError, match="frozen is True, and of the model that is given False"):
        tune(model, tmp_path / "unlike", config_of(**options))
    fine = tune(model, tmp_path / "fine", config_of(**{**options, "frozen": False})).results
    assert fine is not None
    assert fine.protocol != finished.results.protocol


def test_what_stands_on_the_encoder_has_a_rate_of_its_own(model: Path) -> None:
    source, task = Source(model), ordering(vocabulary())
    source.begin()
    built = source.model(task, seed=1)
    config = config_of(lr=(1e-3,)).training(GridPoint(1e-3, 8, 1e-2), 1, 80)
    step = FinetuneStep(built, task, config, World(device=torch.device("cpu")), head_lr=1e-2)
    packing = Packer(task.training, width=task.width, pad_id=PAD, bins=4)
    step(1, list(packing.batches(np.arange(8), (1, 1))))
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    rate = learning_rate(1, config)
    for group in step.optimizer.param_groups:
        for parameter in group["params"]:
            times = 1 if names[id(parameter)].startswith("encoder.") else 10
            assert float(group["lr"]) == pytest.approx(times * rate)


def test_rates_of_heads_are_points_of_the_grid() -> None:
    config = FinetuneConfig(lr=(1e-5, 2e-5), head_lr=(1e-4, 3e-4), batch_size=(1,))
    assert [point.name for point in config.grid] == [
        f"lr-{lr}-batch-1-head-{head}" for lr in (1e-5, 2e-5) for head in (0.0001, 0.0003)
    ]
    assert len(FinetuneConfig.of("paper-coref").grid) == 6
