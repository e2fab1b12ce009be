"""`spanmask bench train`: contestants that do the same work, turns in mirrored order, figures, and whole runs at a tiny size."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from figures import THOROUGH
from spanmask_bench import hosting, training, training_contestants, training_table, training_variants
from spanmask_bench.baselines.hugging_face_trainer import collate
from spanmask_bench.training_contestants import build, ground_of
from spanmask_bench.training_variants import CPU_VARIANTS, GPU_VARIANTS, Setting
from spanmask_cli.bench import command

import spanmask
from spanmask.errors import ConfigError

pytest.importorskip("transformers", reason="belongs to the extra bench")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    training.prepare(paths=[], folder=str(folder), megabytes=0.02, slots=32, segmentation="sentence")
    return Setting(
        dataset=str(folder / "shards"),
        model="tiny",
        slots=32,
        bins=4,
        accumulate=2,
        steps=3,
        device="cpu",
        threads=1,
    )


def _built(setting, name, variants=CPU_VARIANTS):
    return build(setting, variants[name], ground_of(setting, variants[name]))


# --- The same work


def test_the_peers_rows_are_those_in_the_bins_of_the_same_step(setting):
    """Each bin cut at its sequences, against the stored rows that the peer is given."""
    setting = dataclasses.replace(setting, steps=1000)
    ground = ground_of(setting, CPU_VARIANTS["hugging face"])
    steps = training_contestants._rows_of_steps(setting, ground)
    assert (len(steps), [len(step) for step in steps]) == (len(ground.tokens), [2] * len(ground.tokens))
    feed = training_contestants._once(ground.stream, ground.config, torch.device("cpu"), 1000)
    for step, ours, tokens in zip(steps, feed, ground.tokens, strict=True):
        assert sum(len(ids) for examples in step for ids, _ in examples) == tokens
        for examples, batch in zip(step, ours.batches, strict=True):
            assert sorted(ids.tolist() for ids, _ in examples) == sorted(_sequences(batch))
            theirs = sorted(int(label) for _, labels in examples for label in labels if label != -100)
            assert theirs == sorted(label for label in batch.mlm_labels.flatten().tolist() if label != -100)


def _sequences(batch):
    for ids, index in zip(batch.input_ids, batch.sequence_index, strict=True):
        for number in range(1, int(index.max()) + 1):
            yield ids[index == number].tolist()


def test_an_example_restores_to_the_original_row(setting):
    shards = spanmask.open(setting.dataset)
    seen = 0
    for row in list(shards)[:20]:
        ids, labels = training_contestants.example_of(row)
        assert ids.tolist() == row.input_ids.tolist()
        assert np.where(labels == -100, ids, labels).tolist() == row.original().tolist()
        seen += int((labels != -100).sum())
        assert (labels != -100).sum() == len(row.labels)
    assert seen > 50


def test_rows_are_padded_to_the_longest_or_to_a_shape():
    examples = [(np.array([5, 6, 7]), np.array([-100, 9, -100])), (np.array([8]), np.array([-100]))]
    batch = collate(examples)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 9, -100], [-100, -100, -100]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    wide = collate(examples, (3, 4))
    assert wide["input_ids"].tolist() == [[5, 6, 7, 0], [8, 0, 0, 0], [0, 0, 0, 0]]
    assert wide["attention_mask"].sum(1).tolist() == [3, 1, 1]
    assert (wide["labels"] == -100).sum() == 11


@pytest.mark.slow
def test_all_contestants_have_the_same_losses_step_by_step(setting, monkeypatch):
    """From the same weights, and, since updates are the same, after three of them, which depend on the gradients' size here."""
    moving = {"lr": 0.05, "warmup": 1, "epsilon": 0.01, "clip": 1000.0}
    monkeypatch.setattr(training_contestants, "_OPTIONS", training_contestants._OPTIONS | moving)
    losses = {}
    for name in ("ours, mlm", "hugging face", "hugging face, masked rows"):
        contestant = _built(setting, name)
        losses[name] = []
        for _ in range(4):
            contestant.step()
            losses[name].append(contestant.loss())
    both = _built(setting, "ours, mlm+sbo")
    both.step()
    ours = losses.pop("ours, mlm")
    assert both.loss() == pytest.approx(ours[0], abs=1e-4)
    assert ours[3] < ours[0] - 0.1, "the same batch comes again after three"
    for theirs in losses.values():
        assert theirs == pytest.approx(ours, abs=2e-3)


@pytest.mark.slow
def test_a_model_of_transformers_is_the_same_for_all_contestants(setting):
    setting = dataclasses.replace(setting, model="modernbert")
    losses = []
    for name in CPU_VARIANTS:
        contestant = _built(setting, name)
        contestant.step()
        losses.append(contestant.loss())
    assert max(losses) - min(losses) < 1e-3
    plan = training.plan_of("cpu", model="modernbert", slots=None)
    assert (plan.slots, [(size.model, size.bins) for size in plan.sizes]) == (2048, [("modernbert", 2)])
    with pytest.raises(ConfigError, match="measured on a CPU alone"):
        training.plan_of("cuda", model="modernbert", slots=None)


@pytest.mark.slow
def test_every_variant_of_a_gpu_begins_alike_on_cpu(setting):
    losses = []
    for name, plain in _uncompiled(GPU_VARIANTS).items():
        contestant = build(setting, plain, ground_of(setting, plain))
        contestant.step()
        losses.append(contestant.loss())
        assert contestant.slots() >= sum(ground_of(setting, plain).tokens), name
    assert max(losses) - min(losses) < 1e-3


def _uncompiled(variants):
    return {
        name: dataclasses.replace(
            variant, compiled=False, peer=variant.peer and dataclasses.replace(variant.peer, compiled=False)
        )
        for name, variant in variants.items()
    }


def test_flops_are_those_of_the_objective(setting):
    mlm, both = (ground_of(setting, CPU_VARIANTS[f"ours, {name}"]) for name in ("mlm", "mlm+sbo"))
    assert mlm.tokens == both.tokens
    assert all(one < other for one, other in zip(mlm.flops, both.flops, strict=True))


def test_a_text_that_makes_no_step_is_refused(setting):
    large = dataclasses.replace(setting, bins=100_000)
    with pytest.raises(ConfigError, match="the text is shorter than two training steps: give more text"):
        ground_of(large, CPU_VARIANTS["ours, mlm"])


def test_contestants_that_begin_otherwise_end_the_run():
    training.require_same_losses({"a": 10.0, "b": 10.009})
    training.require_same_losses({})
    with pytest.raises(AssertionError, match=r"not do the same work: .* a: 10\.0000, b: 10\.0110"):
        training.require_same_losses({"a": 10.0, "b": 10.011})


# --- Turns


class Recorder:
    """Answers as a contestant's process does, and writes down when it was asked."""

    def __init__(self, name, log, fails_at=None):
        self.name, self.log, self.fails_at = name, log, fails_at

    def ask(self, what, **parameters):
        self.log.append(self.name)
        if self.fails_at is not None and self.log.count(self.name) > self.fails_at:
            raise hosting.HostError("its process ended with exit code 1")
        return {"seconds": 1.0, "what": what, **parameters}


def test_turns_are_in_mirrored_order():
    log = []
    hosted = {name: Recorder(name, log) for name in "abc"}
    taken = training._turns(hosted, 2, 5, {}, time.monotonic() + 60)
    assert "".join(log) == "abccba" * 2
    assert {name: [len(pair) for pair in rounds] for name, rounds in taken.items()} == {name: [2, 2] for name in "abc"}
    assert taken["a"][0][0]["steps"] == 5


def test_a_contestant_that_fails_is_left_out_and_the_others_go_on():
    log, failed = [], {}
    hosted = {"a": Recorder("a", log), "b": Recorder("b", log, fails_at=1)}
    taken = training._turns(hosted, 2, 1, failed, time.monotonic() + 60)
    assert list(taken) == ["a"]
    assert [len(pair) for pair in taken["a"]] == [2, 2]
    assert failed == {"b": "its process ended with exit code 1"}


def test_no_round_is_begun_that_would_not_fit():
    log = []
    taken = training._turns({"a": Recorder("a", log)}, 5, 1, {}, time.monotonic() - 1)
    assert len(taken["a"]) == 1


def test_a_process_that_takes_too_long_is_killed(setting):
    one = hosting.Hosted(setting, CPU_VARIANTS["ours, mlm"], time.monotonic() + 0.3)
    with pytest.raises(hosting.HostError, match="out of time"):
        one.prepare()
    one.end()


def test_a_process_that_ends_is_told(setting, capfd):
    one = hosting.Hosted(setting, CPU_VARIANTS["ours, mlm"], time.monotonic() + 60)
    with pytest.raises(hosting.HostError, match="its process ended with exit code 1"):
        one.ask("nonsense")
    one.end()
    assert "nonsense" in capfd.readouterr().err


def test_what_intervals_cover_together_is_counted_once():
    assert hosting.union([(0, 2), (1, 3), (5, 6), (5.5, 5.7)]) == 4
    assert hosting.union([]) == 0


# --- Figures


def _turn(seconds, tokens):
    return {"seconds": seconds, "tokens": tokens, "loss": 9.0, "waited": seconds / 10, "peak_bytes": 7}


PREPARED = {
    "loss": 10.0,
    "first_seconds": 3.0,
    "tokens": [100, 300],
    "flops": [2e3, 6e3],
    "slots_per_token": 1.25,
    "target_slots": {"filled": 0.97, "second": 0.0},
    "loader_seconds": 0.5,
}


def test_figures_are_made_from_both_turns_of_a_round():
    found = training.figures_of(PREPARED, [[_turn(1.0, 100), _turn(3.0, 300)], [_turn(1.0, 200), _turn(1.0, 200)]])
    assert found["rates"] == [100.0, 200.0]
    assert found["tokens_per_second"] == {"median": 150.0, "min": 100.0, "max": 200.0}
    assert found["flops_per_second"] == pytest.approx(20 * 800 / 6)
    assert found["waited"] == pytest.approx(0.1)


def test_ratios_are_of_rates_and_goals_are_told():
    rates = {"ours, mlm": 600.0, "hugging face": 150.0, "hugging face, masked rows": 600.0}
    variants = {name: {"rates": [rate], "tokens_per_second": {"median": rate}} for name, rate in rates.items()}
    found = training.verdicts({"mini": {"variants": variants}})
    assert found["ratios"]["mini: ours, mlm / hugging face"]["median"] == 4.0
    assert found["goals"] == {
        "mini: ours, mlm / hugging face": {"goal": 3.0, "reached": True},
        "mini: ours, mlm / hugging face, masked rows": {"goal": 1.2, "reached": False},
    }


@pytest.mark.parametrize("device", training.PLANS)
def test_what_was_not_measured_has_empty_cells(device):
    text = training_table.empty(device)
    plan = training.PLANS[device]
    rows = [line for line in text.splitlines() if line.startswith(tuple(f"| {size.model}" for size in plan.sizes))]
    assert len(rows) == len(plan.sizes) * len(training_variants.VARIANTS[plan.variants])
    assert all(set(row.split("|", 3)[3]) == {" ", "|"} for row in rows)


def test_a_plan_keeps_about_as_many_tokens_a_step():
    plan = training.plan_of("cpu", model="tiny", slots=128)
    assert (plan.slots, plan.sizes) == (128, (training.Size(model="tiny", bins=32),))
    assert training.plan_of("cuda", model=None, slots=None) == training.PLANS["cuda"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match="torch finds no GPU to measure on: give --device cpu"):
        training.measure(plan=training.PLANS["cuda"])


# --- Whole runs


@pytest.mark.slow
def test_a_run_answers_everything(tmp_path):
    arguments = ["train", "--rounds", "1", "--model", "tiny", "--slots", "64", "--json", str(tmp_path / "out.json")]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert done.stdout == training_table.table(result)
    [found] = result["models"].values()
    assert (set(found["variants"]), found["failed"]) == (set(CPU_VARIANTS), {})
    losses = [figures["first_loss"] for figures in found["variants"].values()]
    assert max(losses) - min(losses) <= training.TOLERANCE
    assert result["ratios"]["tiny: ours, mlm / hugging face"]["median"] > 0
    assert str(tmp_path) not in json.dumps(result)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_gpus_table_is_filled_on_cpu_at_a_tiny_size(monkeypatch):
    """All variants in one command, compiled ones as such in a long run; only figures of a GPU are missing."""
    if not THOROUGH:
        monkeypatch.setitem(training_variants.VARIANTS, "cuda", _uncompiled(GPU_VARIANTS))
    sizes = (training.Size(model="tiny", bins=4, accumulate=2),)
    plan = training.Plan(device="cpu", variants="cuda", sizes=sizes, slots=32, turn=2, megabytes=0.1, together=2)
    result = training.measure(plan=plan, rounds=1, minutes=9)
    found = result["models"]["tiny"]
    assert (set(found["variants"]), found["failed"]) == (set(GPU_VARIANTS), {})
    assert all(figures["idle"] is None for figures in found["variants"].values())
    text = training_table.table(result)
    assert text.count("| tiny | ") == len(GPU_VARIANTS)
