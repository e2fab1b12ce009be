"""The engine that fine-tunes: a run that was ended anywhere is the run that was not, and what chooses is never what is scored."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes.ordering import Ordering, Turned, config_of, ordering, sentences, small_model, tune, vocabulary
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from spanmask.errors import ConfigError, MismatchError, SpanmaskError
from spanmask.probes.batching import Packer, examples_of
from spanmask.probes.config import FinetuneConfig, GridPoint
from spanmask.probes.finetune import fine_tune
from spanmask.probes.results import read_questions, read_results
from spanmask.probes.selection import selected
from spanmask.probes.starting import Source
from spanmask.probes.tasks import Judged, Outputs, Settings
from spanmask.probes.training import FinetuneStep, TrainingPlan
from spanmask.probes.watching import Watch
from spanmask.train.checkpoint import read_checkpoint, write_checkpoint
from spanmask.train.distributed import World
from spanmask.train.optimizer import learning_rate, make_optimizer
from spanmask.train.watching import Progress

#: Lines of metrics that a stop falls between, and a checkpoint that no evaluation asks for.
SPARSE = {"log_every": 5, "save_every": 2}
#: Updates of a run: 2 seeds, 2 points, 2 epochs of 3 and a half.
UPDATES = 28
#: Figures of metrics that time decides.
TIMES = {"tokens_per_second", "memory"}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert tune(model, out, config_of(**SPARSE)).results is not None
    return out


def content(run: Path) -> dict[str, Any]:
    """All that a run wrote, by path; of metrics, what time does not decide."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(run).as_posix()
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: line[key] for key in line.keys() - TIMES} for line in lines]
        else:
            found[name] = path.read_bytes()
    return found


class StopAfter(Watch):
    """Asks for the end once some updates were made: at once, in the middle of the next evaluation, or of the scoring at the end."""

    def __init__(self, step: int, where: str = "step") -> None:
        super().__init__()
        self._last, self._where, self._reached, self._over = step, where, False, False

    def _look(self, where: str) -> None:
        self._over = self._over or (self._reached and where == self._where)

    def step(self, progress: Progress) -> None:
        self._reached = progress.step >= self._last
        self._look("step")

    def evaluating(self, done: int, total: int) -> None:
        self._look("evaluating")

    def scoring(self, name: str) -> None:
        self._look("scoring")

    def stopping(self) -> bool:
        return self._over


def test_a_run_that_is_stopped_anywhere_is_bit_for_bit_the_one_that_went_through(
    model: Path, whole: Path, tmp_path: Path
) -> None:
    """After an update, at one that evaluates, within an evaluation, in the next training, the next seed, and the last scoring."""
    run, config = tmp_path / "run", config_of(**SPARSE)
    half = UPDATES // 2
    stops = [StopAfter(1), StopAfter(4), StopAfter(6, "evaluating"), StopAfter(9), StopAfter(half, "scoring")]
    for number, watch in enumerate([*stops, StopAfter(half + 2), StopAfter(UPDATES)]):
        assert tune(model, run, config, resume=number > 0, watch=watch).results is None
        assert not (run / "results.json").exists()
    assert tune(model, run, config, resume=True).results == read_results(whole)
    assert content(run) == content(whole)


def test_what_a_finished_run_found_is_told_again_and_more_seeds_join(model: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    judged: list[str] = []
    again = fine_tune(Source(model), counting(judged), run, config_of(**SPARSE), resume=True)
    assert (again.results, judged) == (read_results(whole), [])
    more = tune(model, run, config_of(**SPARSE, seeds="1,2,7"), resume=True)
    assert more.results is not None
    assert more.results.seeds[:2] == read_results(whole).seeds
    assert more.results.seeds[2].seed == 7


def counting(judged: list[str]) -> Callable[[Any], Ordering]:
    """The task, noting what is judged by settings that it is given."""

    class Noted(Turned):
        def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
            if settings is not None or self.name != "selection":
                judged.append(self.name)
            return super().judge(outputs, settings)

    def prepare(words: Any) -> Ordering:
        task = ordering(words)
        noted = [Noted(held.name, held.examples) for held in (task.selection, *task.evaluations)]
        return replace(task, selection=noted[0], evaluations=tuple(noted[1:]))

    return prepare


def test_evaluation_files_are_scored_once_a_seed_by_what_the_selection_chose(model: Path, tmp_path: Path) -> None:
    judged: list[str] = []
    run = tmp_path / "run"
    finished = fine_tune(Source(model), counting(judged), run, config_of())
    assert judged == ["one", "two"] * 2
    assert finished.results is not None
    for seed in finished.results.seeds:
        folders = sorted((run / f"seed-{seed.seed}").glob("lr-*"))
        lines = [
            json.loads(line) for folder in folders for line in (folder / "selection.jsonl").read_text().splitlines()
        ]
        assert len(lines) == 2 * 2
        chosen = seed.chosen
        assert chosen["selection"] == max(line["figures"]["accuracy"] for line in lines)
        assert chosen["threshold"] in [
            line["settings"]["threshold"] for line in lines if line["step"] == chosen["step"]
        ]
        told = read_questions(run, seed.seed)
        for name in ("one", "two"):
            margins = np.loadtxt(run / f"seed-{seed.seed}" / name / "margins.txt")
            right = (margins > chosen["threshold"]) == np.arange(20) % 2
            assert seed.scores[name]["accuracy"] == pytest.approx(100 * right.mean())
            assert [exact for one, exact in zip(told.eval, told.exact, strict=True) if one == name] == right.tolist()


def test_the_model_that_is_written_is_the_one_that_was_scored_and_transformers_loads_it(whole: Path) -> None:
    task = ordering(vocabulary())
    held = task.evaluations[0]
    theirs = AutoModelForSequenceClassification.from_pretrained(whole / "seed-1" / "model").eval()
    margins = np.loadtxt(whole / "seed-1" / "one" / "margins.txt")
    for number, margin in enumerate(margins):
        ids = torch.from_numpy(held.examples.input_ids[number].astype(np.int64))[None]
        types = (torch.arange(ids.shape[1]) >= int(held.examples.second_starts[number])).long()[None]
        with torch.no_grad():
            logits = theirs(input_ids=ids, token_type_ids=types).logits[0]
        assert float(logits[1] - logits[0]) == pytest.approx(margin, abs=1e-5)
    assert theirs.config.id2label == {0: "kept", 1: "turned"}
    card = (whole / "seed-1" / "model" / "README.md").read_text("utf-8")
    assert "pipeline_tag: text-classification" in card
    assert "AutoModelForSequenceClassification.from_pretrained" in card
    assert "| chosen: epoch | " in card
    assert "| accuracy on `one` | " in card


def test_only_the_newest_and_the_best_checkpoint_of_what_is_under_way_lie_on_the_disk(
    model: Path, tmp_path: Path
) -> None:
    run, most, best = tmp_path / "run", [], []

    class Look(Watch):
        def step(self, progress: Progress) -> None:
            # Not into them: what is being written or removed may go under way.
            steps = [int(path.name[5:]) for path in run.glob("seed-*/*/checkpoints/step-*")]
            most.append(len(steps))

        def selected(self, line: dict[str, Any]) -> None:
            best.append(line)

    tune(model, run, config_of(save_every=1, seeds="1"), watch=Look())
    # The newest and best of the training, one that is being written, and the best of the training before.
    assert max(most) <= 4
    assert len(best) == 4
    assert [*run.rglob("step-*")] == []


def trained(model: Path, updates: int, *, bins: int) -> list[float]:
    """Return the mean loss of each update without dropout."""
    task, source = ordering(vocabulary(), count=24), Source(model, dropout=0.0)
    source.begin()
    config = config_of(lr=(2e-3,), epochs=updates).training(GridPoint(2e-3, 8), 1, 8)
    step = FinetuneStep(source.model(task, seed=1).train(), task, config, World(device=torch.device("cpu")))
    packer, losses = Packer(task.training, width=task.width, pad_id=0, bins=bins), []
    for number in range(1, updates + 1):
        which = examples_of(number, count=len(packer), batch_size=8, seed=1)
        step(number, list(packer.batches(which)))
        losses.append(step.totals().sums[0] / 8)
    return losses


@pytest.mark.slow
def test_the_loss_falls_from_that_of_a_guess(model: Path) -> None:
    losses = trained(model, 100, bins=4)
    assert losses[0] == pytest.approx(math.log(2), abs=0.02)
    assert np.mean(losses[-10:]) < 0.3


@pytest.mark.slow
def test_it_trains_in_bfloat16_too(model: Path, tmp_path: Path) -> None:
    finished = tune(model, tmp_path / "run", config_of(lr=(1e-3,), seeds="1", dtype="bf16"))
    assert finished.results is not None
    assert finished.results.seeds[0].chosen["epoch"] > 0


def test_a_run_that_would_write_behind_a_link_is_refused(model: Path, whole: Path, tmp_path: Path) -> None:
    run, mine = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(whole, run)
    (run / "seed-1" / "lr-0.001-batch-8").rename(mine)
    (run / "seed-1" / "lr-0.001-batch-8").symlink_to(mine)
    with pytest.raises(ConfigError, match=r"lr-0.001-batch-8: a link to .*mine, and files would be written"):
        tune(model, run, config_of(**SPARSE), resume=True)


def test_a_seed_of_another_run_is_no_seed_of_this_one(model: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    path = run / "seed-2" / "result.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "scores": {"one": content["scores"]["one"]}}))
    with pytest.raises(ConfigError, match=r"its seeds' result.json do not belong together"):
        tune(model, run, config_of(**SPARSE), resume=True)


def test_an_update_is_the_same_in_however_many_passes(model: Path) -> None:
    assert trained(model, 4, bins=1) == pytest.approx(trained(model, 4, bins=16), rel=1e-4)


def test_a_loss_that_is_not_finite_is_told_and_reaches_no_checkpoint(model: Path, tmp_path: Path) -> None:
    class Broken(Ordering):
        def loss(self, scores: Tensor, batch: Any) -> Tensor:
            wrong = math.nan if 5 in batch.which else 1.0
            return super().loss(scores, batch) * wrong

    def prepare(words: Any) -> Ordering:
        task = ordering(words)
        return Broken(task.training, task.selection, task.evaluations)

    run = tmp_path / "run"
    with pytest.raises(SpanmaskError, match=r"seed-1.*: step \d+: the loss or a gradient is not finite, .* lower --lr"):
        fine_tune(Source(model), prepare, run, config_of(save_every=1))
    for path in run.rglob("model.safetensors"):
        from safetensors.torch import load_file

        assert all(bool(tensor.isfinite().all()) for tensor in load_file(path).values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lr": (1e-3,)}, r"lr was \[0.001, 0.0005\], is \[0.001\]"),
        ({"epochs": 4}, "epochs was 2, is 4"),
        ({"bins": 3}, "bins was 2, is 3"),
    ],
)
def test_a_run_goes_on_as_no_other(model: Path, whole: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(MismatchError, match=rf"run: the run differs: {told}; resume it as it was begun"):
        tune(model, whole, config_of(**SPARSE, **options), resume=True)


def test_a_run_goes_on_with_no_other_model(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"the run differs: model was .* is "):
        tune(small_model(tmp_path / "model", seed=1), whole, config_of(**SPARSE), resume=True)


@pytest.fixture(scope="module")
def ended(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was ended in the last training of its first seed."""
    run = tmp_path_factory.mktemp("ended") / "run"
    assert tune(model, run, config_of(), watch=StopAfter(UPDATES // 2 - 3)).results is None
    return run


def _error_of(model: Path, run: Path) -> str:
    """Go on with a run, which has nothing to do but to stop; return the error that this ends in."""
    try:
        tune(model, run, config_of(), resume=True, watch=StopAtOnce())
    except (ConfigError, MismatchError) as error:
        return str(error)
    return ""


def _without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("name", ["probe.json", "outcome.json", "state.json", "metrics.jsonl", "selection.jsonl"])
def test_a_damaged_run_ends_in_an_error_that_names_the_file_or_goes_on(
    model: Path, ended: Path, tmp_path: Path, name: str
) -> None:
    """Cut, of another kind, or with a part that is missing or is something else."""
    (path,) = sorted(ended.rglob(name))[:1]
    data = path.read_bytes()
    wrongs = [b"", b"[]", b"{}\n{", b"null\n3\n", data[: len(data) // 2], b"\xff" + data]
    if name in ("probe.json", "outcome.json"):
        content = json.loads(data)
        wrongs += [json.dumps(_without(content, key)).encode() for key in content]
        wrongs += [json.dumps(content | {key: wrong}).encode() for key in content for wrong in (None, [1], {"a": "b"})]
    for number, wrong in enumerate(wrongs):
        run = tmp_path / f"{number}"
        shutil.copytree(ended, run)
        damaged = run / path.relative_to(ended)
        damaged.write_bytes(wrong)
        told = _error_of(model, run)
        assert not told or any(part in told for part in (name, "run differs", "no probe.json")), (wrong, told)
        shutil.rmtree(run)


class StopAtOnce(Watch):
    def stopping(self) -> bool:
        return True


def test_a_checkpoint_of_another_training_is_refused(model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for number, stop in enumerate((2, 9)):
        tune(model, run, config_of(), watch=StopAfter(stop), resume=number > 0)
    first, second = (run / "seed-1" / name / "checkpoints" for name in ("lr-0.001-batch-8", "lr-0.0005-batch-8"))
    shutil.rmtree(second)
    first.rename(second)
    with pytest.raises(MismatchError, match=r"state.json: it is another training's than this run's; remove its folder"):
        tune(model, run, config_of(), resume=True)


def test_tensors_that_are_not_the_models_are_refused_and_named(model: Path, tmp_path: Path) -> None:
    """One that is left out, one too many, another shape, not finite, and a mean of squares below 0; the digests fit."""
    run, name = tmp_path / "run", "head.dense.bias"
    tune(model, run, config_of(), watch=StopAfter(1))
    (folder,) = run.rglob("step-*")
    right = read_checkpoint(folder)
    squares = right.optimizer[f"{name}.exp_avg_sq"]
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"model": {key: right.model[key] for key in right.model if key != name}}, rf"model.*: it lacks {name}"),
        ({"model": right.model | {"more": squares}}, r"model.safetensors: it has more, unlike the model"),
        ({"model": right.model | {name: torch.zeros(3)}}, rf"model.safetensors: {name} has shape \(3,\)"),
        ({"model": right.model | {name: squares * math.nan}}, rf"model.safetensors: {name} holds NaN"),
        ({"optimizer": {}}, r"optimizer.safetensors: it lacks encoder"),
        ({"optimizer": right.optimizer | {f"{name}.exp_avg_sq": squares - 1}}, rf"{name}.exp_avg_sq holds .* below 0"),
    ]
    for wrong, told in wrongs:
        write_checkpoint(folder.parent, replace(right, **wrong))
        with pytest.raises(ConfigError, match=told):
            tune(model, run, config_of(), resume=True, watch=StopAtOnce())


def test_a_run_is_neither_begun_over_another_nor_gone_on_with_where_there_is_none(
    model: Path, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"it holds a run already; go on with it \(--resume\)"):
        tune(model, whole, config_of(**SPARSE))
    with pytest.raises(ConfigError, match=r"no probe.json there, so there is no run to resume"):
        tune(model, tmp_path / "none", config_of(), resume=True)
    (tmp_path / "mine" / "seed-1").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"mine: it holds seed-1, which is no run's; give another folder"):
        tune(model, tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


@pytest.mark.parametrize("broken", ["model", "task", "selection", "device"])
def test_what_cannot_begin_leaves_nothing(model: Path, tmp_path: Path, broken: str) -> None:
    if broken == "device" and torch.cuda.is_available():
        pytest.skip("there is CUDA")
    source = model if broken != "model" else tmp_path / "none"

    def prepare(words: Any) -> Ordering:
        if broken == "task":
            raise ConfigError("no such file")
        return ordering(words, share=0.0 if broken == "selection" else 0.2)

    told = {
        "model": "none",
        "task": "no such file",
        "selection": "0 choose: give more texts",
        "device": "torch finds none",
    }
    with pytest.raises(ConfigError, match=told[broken]):
        fine_tune(Source(source), prepare, tmp_path / "run", config_of(device="cuda" if broken == "device" else "cpu"))
    assert list(tmp_path.iterdir()) == []


# --- Parts


def test_an_update_takes_a_whole_batch_and_an_epoch_every_example_once() -> None:
    taken = [examples_of(update, count=10, batch_size=4, seed=3) for update in range(1, 11)]
    assert {len(which) for which in taken} == {4}
    epochs = np.concatenate(taken).reshape(4, 10)
    assert np.array_equal(np.sort(epochs, axis=1), np.tile(np.arange(10), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    other = np.concatenate([examples_of(update, count=10, batch_size=4, seed=4) for update in range(1, 11)])
    assert not np.array_equal(other, epochs.reshape(-1))
    assert len(examples_of(1, count=3, batch_size=8, seed=1)) == 8


def test_examples_lie_in_bins_as_they_are_and_know_where() -> None:
    task = ordering(vocabulary(), count=40)
    examples = task.training
    packer = Packer(examples, width=task.width, pad_id=0, bins=3)
    which = np.arange(len(examples))[::-1].copy()
    batches = list(packer.batches(which))
    assert sorted(np.concatenate([batch.which for batch in batches]).tolist()) == list(range(len(examples)))
    assert max(len(batch.packed.input_ids) for batch in batches) == 3
    assert min(len(batch.which) / len(batch.packed.input_ids) for batch in batches[:-1]) > 1
    for batch in batches:
        ids, positions = batch.packed.input_ids.flatten(), batch.packed.positions.flatten()
        assert batch.packed.token_types is not None
        types = batch.packed.token_types.flatten()
        for place, number in enumerate(batch.which.tolist()):
            slots = torch.nonzero(batch.owners == place).flatten()
            assert int(slots[0]) == int(batch.firsts[place])
            assert ids[slots].tolist() == examples.input_ids[number].tolist()
            assert positions[slots].tolist() == list(range(len(slots)))
            assert types[slots].tolist() == [int(at >= examples.second_starts[number]) for at in range(len(slots))]
            assert int(batch.targets["turned"][place]) == int(examples.targets["turned"][number])
        padding = batch.owners == len(batch.which)
        assert ids[padding].unique().tolist() in ([], [0])
        assert types[padding].any().item() is False
    with pytest.raises(ConfigError, match=r"examples have .* and a bin 8 slots: cut them to that"):
        Packer(examples, width=8, pad_id=0, bins=3)


def test_the_share_that_chooses_is_of_the_paragraphs_themselves() -> None:
    texts = [text.encode() for text in sentences()]
    chosen = selected(texts, 0.05)
    assert 0.02 < chosen.mean() < 0.09  # Of 800 or more, a binomial's four deviations.
    assert selected(texts[::-1], 0.05)[::-1].tolist() == chosen.tolist()
    assert (selected(texts, 0.2) | ~chosen).all()
    assert (selected(texts, 0.0).any(), selected(texts, 1.0).all()) == (False, True)


def test_the_rate_warms_up_over_a_tenth_and_falls_to_nothing_and_biases_and_norms_do_not_decay(model: Path) -> None:
    config = FinetuneConfig(lr=(2e-3,), epochs=2).training(GridPoint(2e-3, 16), 1, 800)
    assert (config.steps, config.warmup, config.clip) == (100, 10, 1.0)
    rates = [learning_rate(step, config) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([2e-4 * step for step in range(1, 11)])
    assert np.diff(rates[10:]) == pytest.approx([-2e-3 / 91] * 89)
    assert rates[-1] == pytest.approx(2e-3 / 91)
    source = Source(model)
    source.begin()
    built = source.model(ordering(vocabulary()), seed=1)
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    groups = make_optimizer(built, config).param_groups
    told = {group["weight_decay"]: [names[id(one)] for one in group["params"]] for group in groups}
    assert set(told) == {0.01, 0.0}
    assert all(name.endswith("bias") or "norm" in name for name in told[0.0])
    assert not [name for name in told[0.01] if name.endswith("bias") or "norm" in name]


@pytest.mark.parametrize(("steps", "count", "due"), [(10, 2, [5, 10]), (7, 3, [3, 5, 7]), (2, 4, [1, 2]), (5, 1, [5])])
def test_evaluations_divide_the_updates_and_the_last_comes_at_the_end(steps: int, count: int, due: list[int]) -> None:
    config = FinetuneConfig(epochs=steps).training(GridPoint(1e-3, 1), 1, 1)
    plan = TrainingPlan(folder=Path(), identity="", config=config, evaluations=count, before=0, overall=steps)
    assert [step for step in range(steps + 1) if plan.is_due(step)] == due


def test_the_papers_grid_is_a_preset_and_one_point_the_default() -> None:
    paper = FinetuneConfig.of("paper")
    assert {point.lr for point in paper.grid} == {5e-6, 1e-5, 2e-5, 3e-5, 5e-5}
    assert ({point.batch_size for point in paper.grid}, len(paper.grid), paper.epochs) == ({16, 32}, 10, 4)
    assert FinetuneConfig().grid == (GridPoint(3e-5, 16),)
    assert FinetuneConfig(seeds="3").seed_numbers == (1, 2, 3)
    assert FinetuneConfig(seeds="5, 2").seed_numbers == (5, 2)


def test_points_of_a_grid_that_differ_have_names_that_differ() -> None:
    assert GridPoint(3e-5, 16).name == "lr-3e-05-batch-16"
    names = [point.name for point in FinetuneConfig(lr=(1e-5, 1.0000001e-5, 1e-4), batch_size=(8, 16)).grid]
    assert len(set(names)) == 6


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": "0"},
        {"seeds": "1,1"},
        {"seeds": "one"},
        {"lr": ()},
        {"lr": (1e-3, 1e-3)},
        {"lr": (0.0,)},
        {"batch_size": (0,)},
        {"selection": 0.0},
        {"epochs": 0},
        {"warmup": 1.5},
        {"bins": 0},
        {"dropout": 1.0},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))} is "):
        FinetuneConfig(**options)
