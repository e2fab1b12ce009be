"""What the tests of the command line share: running it in this process, and in processes of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND
from spanmask_cli.main import run as run_main

TEXT = "the cat sat on the mat and nobody told it\n\nanother document of some words follows here\n"


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    error: str


class Shell:
    """Runs `spanmask` in a folder of its own."""

    command = COMMAND

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def write(self, name: str, data: bytes | str = TEXT) -> Path:
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Result:
        """Run the command line in this process, as its entry point does."""
        self._monkeypatch.setattr(sys, "argv", ["spanmask", *map(str, arguments)])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            run_main()
        out, error = self._capsys.readouterr()
        code = caught.value.code
        return Result(code if isinstance(code, int) else 0 if code is None else 1, out, error)

    def preshard(self, *arguments: object, out: str = "out", stdin: bytes = b"") -> Result:
        """Preshard into a folder, with a seed and in one process."""
        return self("preshard", *arguments, "--out", self.folder / out, "--seed", 1, "--jobs", 1, stdin=stdin)

    def process(
        self, *arguments: object, prefix: Sequence[str] = (), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own."""
        environment = {**os.environ, **options.pop("environment", {})}
        return subprocess.run(
            [*prefix, *COMMAND, *map(str, arguments)],
            check=False,
            **{"capture_output": True, "text": True, "env": environment, **options},
        )


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.chdir(tmp_path)
    yield Shell(tmp_path, monkeypatch, capsys)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def one_line() -> Callable[[str], str]:
    """Return the one line of an error, which has no traceback."""

    def check(error: str) -> str:
        assert "Traceback" not in error
        assert error.startswith("spanmask: "), error
        assert error.count("\n") == 1, error
        return error

    return check
