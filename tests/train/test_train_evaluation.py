"""An evaluation counts every masked token of the validation split once, and finds whole spans as a plain reading of the rows does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train.conftest import NO_DROPOUT, config_of, lines_of

import spanmask
from spanmask.batches import PackedBatch
from spanmask.errors import ConfigError
from spanmask.loading import Position
from spanmask.report.curves_page import curves_page
from spanmask.report.runs import Told
from spanmask.train import evaluate, train
from spanmask.train.distributed import World
from spanmask.train.evaluation import mlm_recovery, sbo_recovery
from spanmask.train.starting import initial_model, stream_of
from spanmask.train.watching import Watch

CPU = World(device=torch.device("cpu"))


def _spans_of(batch: PackedBatch, shards: spanmask.ShardSet) -> list[list[int]]:
    """The originals under each span, from the rows as they are stored."""
    spans = []
    for row in (shards[number] for number in batch.rows.ravel().tolist() if number >= 0):
        original = row.original().tolist()
        spans += [original[a:b] for a, b in zip(row.span_starts.tolist(), row.span_ends.tolist(), strict=True)]
    return spans


def _literal(spans: list[list[int]], predicted: list[int]) -> tuple[Counter[int], Counter[int]]:
    told, right, ids = Counter[int](), Counter[int](), iter(predicted)
    for span in spans:
        guess = [next(ids) for _ in span]
        told[len(span)] += 1
        right[len(span)] += guess == span
    return told, right


def test_whole_spans_are_counted_by_length_as_a_plain_reading_counts_them(shards: Path) -> None:
    opened = spanmask.open(shards, "validation")
    config = config_of(batch_size=5, masks="stored")
    stream = stream_of([opened], config, initial_model(config, [opened]).config, CPU)
    random = np.random.default_rng(1)
    seen = Counter[int]()
    for delivered in stream.batches(Position()):
        batch = delivered.batch
        assert isinstance(batch, PackedBatch)
        mlm = np.where(random.random(batch.mlm_labels.shape) < 0.8, batch.mlm_labels, 9).astype(np.int64)
        sbo = np.where(random.random(batch.sbo.labels.shape) < 0.8, batch.sbo.labels, 9).astype(np.int64)
        found = mlm_recovery(batch, mlm), sbo_recovery(batch, sbo)
        expected = np.zeros((2, 2, 11), np.int64)
        spans = _spans_of(batch, opened)
        assert all(len(span) <= 20 for span in spans), "so that every masked token is a boundary target"
        told, right = _literal(spans, mlm[batch.mlm_labels >= 0].tolist())
        _, sbo_right = _literal(spans, sbo[batch.sbo.labels >= 0].tolist())
        for length in range(1, 11):
            expected[:, 0, length] += told[length]
            expected[0, 1, length] += right[length]
            expected[1, 1, length] += sbo_right[length]
        seen += told
        assert (found == expected).all()
    assert len(seen) > 10
    assert seen[1] > 20


def test_no_target_gives_no_span(shards: Path) -> None:
    opened = spanmask.open(shards)
    config = config_of()
    stream = stream_of([opened], config, initial_model(config, [opened]).config, CPU)
    batch: Any = next(iter(stream.batches(Position()))).batch
    batch.mlm_labels[:] = -100
    assert not mlm_recovery(batch, batch.mlm_labels.astype(np.int64)).any()


def test_an_evaluation_counts_each_target_once_whatever_the_batch(shards: Path) -> None:
    opened = [spanmask.open(shards, "validation")]
    model = initial_model(config_of(), opened)
    found = [evaluate(model, opened, config_of(batch_size=size)) for size in (1, 7)]
    masked = sum(len(row.labels) for row in opened[0])
    assert found[0].mlm_targets == found[1].mlm_targets == masked
    assert found[0].mlm_loss == pytest.approx(found[1].mlm_loss, rel=1e-5)
    assert found[0].sbo_loss == pytest.approx(found[1].sbo_loss, rel=1e-5)
    assert found[0].recovery == found[1].recovery
    # Untrained scores are nearly equal: about the entropy of a uniform guess.
    assert found[0].mlm_loss == pytest.approx(np.log(model.config.vocab_size), rel=0.05)
    assert model.training


@pytest.mark.parametrize("asked", ["evaluating", "stopping"])
@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_that_fails_leaves_the_model_as_it_was(shards: Path, asked: str, training: bool) -> None:
    class Failing(Watch):
        def __getattribute__(self, name: str) -> Any:
            if name == asked:
                raise KeyboardInterrupt
            return super().__getattribute__(name)

    opened = [spanmask.open(shards, "validation")]
    model = initial_model(config_of(), opened).train(training)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, opened, config_of(), watch=Failing())
    assert model.training is training


def test_evaluations_come_when_due_and_at_the_end_and_change_nothing_of_the_run(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "without", config_of(steps=5))
    finished = train(shards, tmp_path / "with", config_of(steps=5, eval_every=2))
    assert [line["step"] for line in lines_of(tmp_path / "with", "evaluation.jsonl")] == [2, 4, 5]
    losses = [[line["loss"] for line in lines_of(tmp_path / name)] for name in ("with", "without")]
    assert losses[0] == losses[1]
    assert finished.evaluation is not None
    assert finished.evaluation["step"] == 5
    train(shards, tmp_path / "without", config_of(steps=5, evaluate=True), resume=True)
    later = lines_of(tmp_path / "without", "evaluation.jsonl")
    assert later == [finished.evaluation]


def test_a_dataset_without_a_validation_split_is_refused_before_training(tmp_path: Path, small_vocabulary: str) -> None:
    (tmp_path / "text.txt").write_text("a few words that make a sequence of some length here\n" * 20)
    options = {"vocab": small_vocabulary, "cased": True, "seed": 1, "max_tokens": 48}
    spanmask.preshard(tmp_path / "text.txt", tmp_path / "out", spanmask.PreshardConfig.of(**options), jobs=1)
    with pytest.raises(ConfigError, match=r"no validation split.*--holdout"):
        train(tmp_path / "out", tmp_path / "run", config_of(evaluate=True))


def test_the_page_of_curves_stands_alone_and_has_every_figure(shards: Path, tmp_path: Path) -> None:
    finished = train(shards, tmp_path / "run", config_of(steps=4, eval_every=2, **NO_DROPOUT))
    page = (tmp_path / "run" / "curves.html").read_text()
    for told in (
        "Training run run",
        "Loss, nats a target",
        "Targets predicted right",
        "Learning rate",
        "Gradient norm",
        "Validation split",
    ):
        assert told in page
    assert "Model FLOPs utilisation" not in page
    assert finished.evaluation is not None
    assert f"{finished.evaluation['mlm_loss']:.4f}" in page
    for foreign in ("<script", "http://", "https://", "src=", "<link"):
        assert foreign not in page


def test_the_page_averages_long_runs_and_escapes_what_it_shows(tmp_path: Path, shards: Path) -> None:
    import json

    train(shards, tmp_path / "run", config_of(steps=1))
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    told["config"]["init_from"] = "<b>x</b>"
    line = lines_of(tmp_path / "run")[0]
    lines = [{**line, "step": step, "mlm_loss": None if step == 5 else 2.0 + step % 2} for step in range(1, 1001)]
    page = curves_page([Told(name="run", run=told, metrics=lines, evaluations=[])])
    assert "<b>x" not in page
    assert "&lt;b&gt;x" in page
    assert len(page) < 200_000
    assert "No metrics yet." in curves_page([Told(name="run", run=told, metrics=[], evaluations=[])])
