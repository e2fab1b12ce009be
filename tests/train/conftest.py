"""A small dataset with a validation split, options of a run that takes a second, and one thread: small products only wait for more."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import trained
from click.testing import CliRunner, Result
from spanmask_cli.train import command

from spanmask import PreshardConfig, preshard
from spanmask.train import TrainConfig

SMALL: dict[str, Any] = {
    "model": "tiny",
    "hidden": 16,
    "heads": 2,
    "intermediate": 32,
    "device": "cpu",
    "threads": 1,
    "window": 64,
    "steps": 12,
    "batch_size": 4,
    "log_every": 1,
    "save_every": 5,
    "lr": 1e-3,
    "seed": 3,
    "compile": False,
}
NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0}


def config_of(preset: str = "paper", **changes: Any) -> TrainConfig:
    return TrainConfig.of(preset, **(SMALL | changes))


def invoke(*arguments: object) -> Result:
    """Run `spanmask train` in this process."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def flags_of(**changes: Any) -> list[str]:
    """SMALL with changes as it is typed, but for switches."""
    values = {name: value for name, value in (SMALL | changes).items() if not isinstance(value, bool)}
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def write_toml(path: Path, **changes: Any) -> Path:
    """Write SMALL with changes as a configuration file."""
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in (SMALL | changes).items()))
    return path


def lines_of(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def losses_of(run: Path) -> list[tuple[Any, ...]]:
    """What a resumed run must write again: all but times and memory."""
    names = ("step", "loss", "mlm_loss", "sbo_loss", "mlm_accuracy", "sbo_accuracy", "lr", "gradient_norm", "tokens")
    return [tuple(line[name] for name in names) for line in lines_of(run)]


def weights_of(run: Path, step: int) -> bytes:
    folder = run / "checkpoints" / f"step-{step:08}"
    return b"".join((folder / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _presharded(folder: Path, vocabulary: str, seed: int, *, cased: bool = True) -> Path:
    source = folder / "stories.txt"
    source.write_text(trained.stories()[:120_000])
    options = {"max_tokens": 48, "holdout": 0.3, "vocab": vocabulary, "cased": cased, "seed": seed}
    preshard(source, folder / "out", PreshardConfig.of(**options), jobs=1)
    return folder / "out"


@pytest.fixture(scope="session")
def small_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every letter and the commonest words, 500 entries: so few that scores cost little. The same each time, unlike what is trained."""
    text = trained.stories()
    letters = sorted({char for char in text if char.isalnum()})
    words = [word for word, _ in Counter(re.findall(r"[^\W_]{2,}|[^\w\s]", text)).most_common(500)]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(entries[:500]) + "\n")
    return str(path)


@pytest.fixture(scope="session")
def shards(small_vocabulary: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _presharded(tmp_path_factory.mktemp("train"), small_vocabulary, 7)


@pytest.fixture(scope="session")
def other_shards(small_vocabulary: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same text masked otherwise."""
    return _presharded(tmp_path_factory.mktemp("other"), small_vocabulary, 8)


@pytest.fixture(scope="session")
def uncased_shards(small_vocabulary: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same text by the same vocabulary, in lower case."""
    return _presharded(tmp_path_factory.mktemp("uncased"), small_vocabulary, 7, cased=False)


@pytest.fixture(scope="session")
def cased_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _presharded(tmp_path_factory.mktemp("cased"), "cased", 7)
