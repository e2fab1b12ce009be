"""Runs that anyone may have written, under right digests: refused by the file's name before anything is built, or gone on with."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from figures import figure
from hostile import changed_file, changed_json
from safetensors.torch import load_file, save_file
from train.conftest import config_of

from spanmask.config import fingerprint
from spanmask.errors import ConfigError, MismatchError, SpanmaskError
from spanmask.storage import digest
from spanmask.train import load_run, train
from spanmask.train.record import read_run

CHECKPOINT = "checkpoints/step-00000002"
WORDS = "encoder.embeddings.words.weight"


@pytest.fixture(scope="module")
def trained_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    train(shards, run, config_of(steps=2))
    return run


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def _sealed(content: Any) -> dict[str, Any]:
    try:
        return {"content": content, "sha256": fingerprint(content)}
    except (ValueError, TypeError):
        return {"content": content, "sha256": ""}


def _state(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a checkpoint's state, and make its digest anew."""
    path = run / CHECKPOINT / "state.json"
    content = json.loads(path.read_text())["content"]
    change(content)
    path.write_text(json.dumps(_sealed(content)))


def _reseal(run: Path) -> None:
    """Make the digests of a checkpoint's files anew."""

    def name(content: dict[str, Any]) -> None:
        for file in content["files"]:
            if (run / CHECKPOINT / file).is_file() and not (run / CHECKPOINT / file).is_symlink():
                content["files"][file] = digest(run / CHECKPOINT / file)

    _state(run, name)


def _tensors(run: Path, file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = run / CHECKPOINT / file
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    _reseal(run)


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state["model"].update(hidden=1 << 62), "hidden is 4611686018427387904: give a whole number"),
        (lambda state: state["model"].update(layers=4096), "a model of 4,096 layers, and 44 tensors"),
        (lambda state: state["model"].update(hidden=1 << 20), r"has shape .*, and state.json says .*1048576"),
        (lambda state: state["model"].update(layers=1), r"it has encoder.layers.1.* unlike the model that state.json"),
        (lambda state: state["model"].update(layers=3), r"it lacks encoder.layers.2.*, unlike the model"),
        (lambda state: state["model"].update(objective="mlm"), "it has sbo.*, unlike the model"),
        (lambda state: state["model"].update(vocab_size=10**6), r"has shape \(512, 16\), and state.json says \(1000064, 16\)"),
        (lambda state: state["model"].pop("vocab_size"), "vocab_size is missing"),
        (_set("model", [1]), "its model: not what spanmask train writes; copy the checkpoint again"),
        (_set("datasets", "abc"), "its datasets: not what"),
        (_set("datasets", [1]), "its datasets: not what"),
        (_set("stream", None), "its stream: not what"),
        (_set("meter", {"tokens": 1}), "its meter: not what"),
        (lambda state: state["meter"]["sums"].update(mlm="many"), "its meter: not what"),
        (lambda state: state["meter"]["sums"].update(mlm_sum=10**400), "its meter: not what"),
        (lambda state: state.pop("vocabulary"), "its vocabulary: not what"),
        (_set("new_heads", 3), "its new_heads: not what"),
        (_set("step", -1), "it does not tell a step and the digests of files"),
        (_set("step", 2.5), "it does not tell a step"),
        (_set("step", True), "it does not tell a step"),
        (_set("step", 1 << 60), "it does not tell a step"),
        (_set("files", None), "it does not tell a step and the digests of files"),
        (_set("files", {}), r"model.safetensors: its SHA-256 begins with [0-9a-f]{16}, and state.json says None"),
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_refused_under_its_right_digest(
    shards: Path, run: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    _state(run, change)
    began = time.perf_counter()
    for read in (lambda: load_run(run), lambda: train(shards, run, config_of(steps=3), resume=True)):
        with pytest.raises((ConfigError, MismatchError), match=told) as caught:
            read()
        assert str(run / CHECKPOINT) in str(caught.value)
    assert time.perf_counter() - began < 2


def _transposed(tensors: dict[str, torch.Tensor]) -> None:
    tensors[WORDS] = tensors[WORDS].T.contiguous()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop(WORDS), f"it lacks {WORDS}, unlike the model"),
        (_set("more", torch.zeros(3)), "it has more, unlike the model"),
        (_transposed, rf"{WORDS} has shape \(16, 512\), and state.json says \(512, 16\)"),
        (lambda tensors: tensors[WORDS].__setitem__((3, 5), math.nan), f"{WORDS} holds NaN or an infinity"),
        (lambda tensors: tensors["mlm.bias"].__setitem__(7, -math.inf), "mlm.bias holds NaN or an infinity"),
        (_set("mlm.bias", torch.zeros(512, dtype=torch.int64)), "mlm.bias is of torch.int64, which is no weight"),
    ],
)
def test_weights_that_are_not_the_models_are_refused_under_right_digests(
    shards: Path, run: Path, change: Callable[[dict[str, torch.Tensor]], object], told: str
) -> None:
    _tensors(run, "model.safetensors", change)
    for read in (lambda: load_run(run), lambda: train(shards, run, config_of(steps=3), resume=True)):
        with pytest.raises(ConfigError, match=told):
            read()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("mlm.bias.exp_avg"), "it lacks mlm.bias.exp_avg, unlike the model"),
        (lambda tensors: tensors.clear(), "it lacks encoder"),
        (_set("mlm.bias.exp_avg", torch.zeros(1)), r"mlm.bias.exp_avg has shape \(1,\), and state.json says \(512,\)"),
        (lambda tensors: tensors["mlm.bias.exp_avg"].fill_(math.nan), "mlm.bias.exp_avg holds NaN"),
        (
            lambda tensors: tensors["mlm.bias.exp_avg_sq"].fill_(-1),
            "mlm.bias.exp_avg_sq holds a mean of squares below 0",
        ),
    ],
)
def test_moments_that_are_not_the_models_are_refused_under_right_digests(
    shards: Path, run: Path, change: Callable[[dict[str, torch.Tensor]], object], told: str
) -> None:
    _tensors(run, "optimizer.safetensors", change)
    with pytest.raises(ConfigError, match=rf"optimizer.safetensors: {told}"):
        train(shards, run, config_of(steps=3), resume=True)
    load_run(run)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_broken_tensors_are_refused_under_right_digests(shards: Path, run: Path, name: str) -> None:
    path = run / CHECKPOINT / name
    path.write_bytes(path.read_bytes()[:-4])
    _reseal(run)
    with pytest.raises(ConfigError, match=rf"{name}: not a whole safetensors file"):
        train(shards, run, config_of(steps=3), resume=True)


@pytest.mark.parametrize(
    "name",
    [
        *(f"{CHECKPOINT}/{file}" for file in ("state.json", "model.safetensors", "optimizer.safetensors")),
        "run.json", "metrics.jsonl", "tokenizer/vocab.txt", "tokenizer/tokenizer_config.json",
    ],
)  # fmt: skip
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(shards: Path, run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(ConfigError, match=rf"{Path(name).name}: a folder, pipe or device, expected a file"):
        train(shards, run, read_run(run).config.changed(steps=3), resume=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("version", 2), "run.json: of version 2, this spanmask reads 1"),
        (_set("config", None), "run.json: "),
        (lambda run: run["config"].update(steps="many"), "run.json: steps is 'many'"),
        (lambda run: run["config"].update(unheard_of=1), "run.json: unknown option 'unheard_of'"),
        (lambda run: run.pop("model"), "run.json: not what spanmask train writes"),
        (_set("datasets", 3), "run.json: not what spanmask train writes"),
        (_set("names", ["out"]), "run.json: not what spanmask train writes"),
        (_set("datasets", [["a"]]), "run.json: not what spanmask train writes"),
        (_set("names", {"a": 1}), "run.json: not what spanmask train writes"),
        (_set("vocabulary", 3), "run.json: not what spanmask train writes"),
        (_set("parameters", "many"), "run.json: not what spanmask train writes"),
        (_set("new_heads", [1]), "run.json: not what spanmask train writes"),
    ],
)
def test_a_record_that_is_none_is_refused(run: Path, change: Callable[[dict[str, Any]], object], told: str) -> None:
    content = json.loads((run / "run.json").read_text())
    change(content)
    (run / "run.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=told):
        load_run(run)


@pytest.mark.parametrize("line", ["[1]", "7", "{}", '{"step": "two"}', '{"step": null}', "{" * 5000])
@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.jsonl"])
def test_lines_that_are_no_metrics_are_refused_by_number(shards: Path, run: Path, name: str, line: str) -> None:
    (run / name).write_text(f'{line}\n{{"step": 9}}\n')
    with pytest.raises(ConfigError, match=rf"{name}:1: no JSON object with a step; remove the line, or the file"):
        train(shards, run, config_of(steps=3), resume=True)


def test_names_that_are_almost_a_checkpoints_are_none(shards: Path, run: Path) -> None:
    for name in ("step-²", "step-", "step--1", "step-1e3"):
        (run / "checkpoints" / name).mkdir()
    assert load_run(run).step == 2


def _damage(run: Path, rng: random.Random) -> None:
    """Change the state of a run's checkpoint, or a file, with the digests made anew as far as there is what they are of."""
    if rng.random() < 0.4:
        content = json.loads((run / CHECKPOINT / "state.json").read_text())["content"]
        (run / CHECKPOINT / "state.json").write_text(json.dumps(_sealed(changed_json(content, rng))))
        return
    changed_file(rng.choice(sorted(path for path in run.rglob("*") if path.is_file() and path.suffix != ".html")), rng)
    if rng.random() < 0.8 and (run / CHECKPOINT / "state.json").is_file():
        with suppress(ValueError, KeyError, TypeError, OSError, RecursionError):
            _reseal(run)


def _ask(shards: Path, run: Path, *, whole: bool) -> str:
    """Go through the doors of a run; return what came of it. whole: whether a step is trained, too."""
    try:
        read_run(run)
        load_run(run)
        if whole:
            train(shards, run, config_of(steps=3), resume=True)
    except SpanmaskError as error:
        return type(error).__name__
    return "used"


def _attack(shards: Path, trained_run: Path, place: Path, seeds: range) -> Counter[str]:
    """Damage a run for each seed; every other error than ours is one of the test."""
    found: Counter[str] = Counter()
    for seed in seeds:
        run = Path(shutil.copytree(trained_run, place / str(seed)))
        _damage(run, random.Random(seed))
        began = time.perf_counter()
        found[_ask(shards, run, whole=seed % 3 == 0)] += 1
        assert time.perf_counter() - began < 10, f"seed {seed}"
        shutil.rmtree(run)
    return found


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [30, pytest.param(figure(150, 500), marks=pytest.mark.slow, id="slow")])
def test_no_run_breaks_its_readers(shards: Path, trained_run: Path, tmp_path: Path, count: int) -> None:
    found = _attack(shards, trained_run, tmp_path, range(count))
    print(f"{count} hostile runs: {dict(found)}")
    assert found["ConfigError"] + found["MismatchError"] > count // 5
    assert found.total() == count
