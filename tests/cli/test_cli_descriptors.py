"""Too few file descriptors for real jobs: every command does its work, or ends with 4 and one line that says how to go on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trained
from commands import COMMAND

from spanmask import PreshardConfig, preshard, verify

pytestmark = pytest.mark.faults

OneLine = Callable[[str], str]
_PRESHARD = "--seed 1 --max-tokens 32 --min-tokens 3 --shard-bytes 16KiB"
_TRAIN = (
    "--model tiny --hidden 16 --heads 2 --intermediate 32 --preset fast --window 32 --batch-size 2 --device cpu --eval"
)
#: By command: arguments, and what stands there only once it is done.
COMMANDS = {
    "preshard": (f"preshard a.txt b.txt c.txt --out new {_PRESHARD} --jobs 1", "new/manifest.json"),
    "preshard by three": (f"preshard a.txt b.txt c.txt --out new {_PRESHARD} --jobs 3", "new/manifest.json"),
    "verify": ("verify shards --source", None),
    "audit": ("audit shards --html new.html", "new.html"),
    "show": ("show shards --html new.html", "new.html"),
    "export": ("export shards --to parquet --out new", "new"),
    "export to one file": ("export shards --to jsonl --split train --out new.jsonl.gz", "new.jsonl.gz"),
    "demo": ("demo --out new", "new/manifest.json"),
    "train": (f"train shards --out new --steps 2 {_TRAIN}", "new/checkpoints/step-00000002"),
    "resume": ("train shards --out run --resume --steps 2", "run/checkpoints/step-00000002"),
    "export-model": ("export-model run --out new", "new/model.safetensors"),
    "infill": ("infill model [MASK]", None),
}  # fmt: skip
_HEAVY = ("preshard by three", "train", "resume", "export-model", "infill")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a dataset of many shards."""
    folder = tmp_path_factory.mktemp("ground")
    for number, name in enumerate("abc"):
        (folder / f"{name}.txt").write_text(trained.stories()[number * 20_000 : (number + 1) * 20_000])
    options = {"seed": 1, "max_tokens": 32, "min_tokens": 3, "shard_bytes": 16 << 10, "holdout": 0.2}
    preshard(sorted(folder.glob("*.txt")), folder / "shards", PreshardConfig.of(**options), jobs=1)
    return folder


@pytest.fixture(scope="module")
def with_models(ground: Path) -> Path:
    """A run and a model as well."""
    for arguments in (f"train shards --out run --steps 1 {_TRAIN}", "export-model run --out model"):
        subprocess.run([*COMMAND, *arguments.split()], cwd=ground, check=True, capture_output=True)
    return ground


def _ended(place: Path, limit: int, name: str, shell: Any, one_line: OneLine) -> int:
    """Run a command with a limit of descriptors in a copy of a ground; return its exit code, having looked at all else."""
    arguments, made = COMMANDS[name]
    folder = Path(shutil.copytree(place, shell.folder / f"ground-{limit}"))
    prefix = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"]
    result = shell.process(*arguments.split(), prefix=prefix, cwd=folder)
    if made is not None:
        assert (folder / made).exists() is (result.returncode == 0), result.stderr
    if result.returncode:
        assert result.returncode == 4, result.stderr
        assert "Traceback" not in result.stderr
        # Training says first what it is about to do.
        told = one_line(result.stderr.splitlines(keepends=True)[-1] if name in ("train", "resume") else result.stderr)
        assert "Too many open files" in told
        assert "raise the limit of open files (ulimit -n), then " in told
    return int(result.returncode)


@pytest.mark.slow
def test_a_shard_that_cannot_be_opened_is_not_a_damaged_one(ground: Path, shell: Any, one_line: OneLine) -> None:
    assert _ended(ground, 8, "verify", shell, one_line) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_with_few_descriptors(
    name: str, ground: Path, shell: Any, one_line: OneLine, request: Any
) -> None:
    place = request.getfixturevalue("with_models") if name in _HEAVY else ground
    codes = {limit: _ended(place, limit, name, shell, one_line) for limit in (10, 16, 30)}
    assert codes[30] == 0
    print(f"{name}: {codes}")


@pytest.mark.slow
def test_a_run_that_ended_for_want_of_descriptors_goes_on_as_it_was_told(with_models: Path, shell: Any) -> None:
    told = set()
    for limit in (6, 9, 12):
        out = f"new-{limit}"
        arguments = COMMANDS["train"][0].replace("--out new", f"--out {out}").split()
        prefix = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"]
        result = shell.process(*arguments, prefix=prefix, cwd=with_models)
        if result.returncode == 0:
            break
        error = result.stderr.splitlines()[-1]
        begun = (with_models / out / "run.json").exists()
        assert ("go on with --resume" in error) is begun, error
        told.add(begun)
        assert shell.process(*arguments, *(["--resume"] if begun else []), cwd=with_models).returncode == 0
    assert verify(with_models / "shards").ok
    assert True in told
