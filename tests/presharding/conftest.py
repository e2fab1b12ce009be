"""What the tests of presharding share: texts, configurations, folders as bytes, and the command line in processes."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND

from spanmask import PreshardConfig, preshard

Tree = dict[str, bytes]

_WORDS = ["the", "a", "of", "cats", "sat", "down", "unbelievably", "spanning", "antelopes", "never", "re-read"]
_WORDS += ["“quotes”", "Ωmega", "naïve", "漢字", "1907", "x-ray"]


def _sentence(choose: random.Random) -> str:
    return " ".join(choose.choice(_WORDS) for _ in range(choose.randint(2, 18))).capitalize() + "."


def make_documents(count: int, seed: int = 0) -> list[str]:
    """Return documents of one to five lines; some are equal."""
    choose = random.Random(seed)
    documents = ["\n".join(_sentence(choose) for _ in range(choose.randint(1, 5))) for _ in range(count)]
    return [documents[i // 2] if i % 11 == 0 else document for i, document in enumerate(documents)]


#: Options of every run here, but for those that a test gives.
_SMALL = {"seed": 7, "shard_bytes": 4096, "max_tokens": 64}


class Lab:
    """Makes texts, runs presharding, and compares folders."""

    command = COMMAND

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def text(self, name: str = "text.txt", count: int = 160, seed: int = 0) -> Path:
        path = self.folder / name
        path.write_text("\n\n".join(make_documents(count, seed)) + "\n")
        return path

    def jsonl(self, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return path

    def corpus(self) -> list[Path]:
        """Write files of one task each, of several together, of several each, one that is streamed, and one of nothing."""
        texts = self.text(count=200).read_text().split("\n\n")
        rows = [{"text": text, "id": number} for number, text in enumerate(texts)]
        large, small = (
            self.jsonl(rows[:90], "large.jsonl"),
            [self.jsonl(rows[n : n + 3], f"{n}.jsonl") for n in (90, 93)],
        )
        packed, empty = self.folder / "packed.jsonl.gz", self.folder / "empty.jsonl"
        packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows[96:]).encode(), mtime=0))
        empty.write_bytes(b"")
        return [large, packed, empty, *small]

    def config(self, **options: Any) -> PreshardConfig:
        return PreshardConfig.of(**{**_SMALL, **options})

    def flags(self, **options: Any) -> list[str]:
        """Return the options of `config` as they are typed."""
        return [
            part
            for name, value in {**_SMALL, **options}.items()
            for one in (value if isinstance(value, tuple) else (value,))
            for part in (f"--{name.replace('_', '-')}", str(one))
        ]

    def run(
        self, inputs: Any, out: str, *, jobs: int = 1, overwrite: bool = False, rehash: bool = False, **options: Any
    ) -> Any:
        return preshard(
            inputs, self.folder / out, self.config(**options), jobs=jobs, overwrite=overwrite, rehash=rehash
        )

    def tree(self, out: str | Path) -> Tree:
        """Return every file of a folder, hidden ones too, by its path; folders end in a slash."""
        root = self.folder / out
        return {
            path.relative_to(root).as_posix() + ("/" if path.is_dir() else ""): b""
            if path.is_dir()
            else path.read_bytes()
            for path in sorted(root.rglob("*"))
        }

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Start the command line as the leader of its own process group."""
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A test run in the background is started with interrupts ignored, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def finish(self, *arguments: object, **environment: str) -> tuple[int, str, str]:
        """Run the command line; return its exit code, standard output and standard error."""
        process = self.start(*arguments, **environment)
        out, error = process.communicate()
        return process.returncode, out, error


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Lab]:
    return lambda name: Lab(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def whole(make_lab: Callable[[str], Any]) -> Any:
    """A corpus of all kinds of tasks, and the files of a dataset that a run in one piece made of it."""
    return _whole(make_lab("whole"))


@pytest.fixture(scope="module")
def paired(make_lab: Callable[[str], Any]) -> Any:
    """As `whole`, of pairs of segments."""
    return _whole(make_lab("paired"), segmentation="pairs")


def _whole(lab: Any, **options: Any) -> Any:
    lab.inputs, lab.options = lab.corpus(), {"holdout": 0.2, "random_ids": "unigram", "keep": ("id",), **options}
    lab.run(lab.inputs, "local", **lab.options)
    lab.wanted = lab.tree("local")
    return lab
