"""What the tests of exporting share: finished datasets, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND
from finished import finished

__all__ = ["finished", "run", "tree"]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `spanmask export` in a folder of its own."""

    def export(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "export", *map(str, arguments)],
            check=False,
            cwd=tmp_path,
            env={**os.environ},
            capture_output=True,
            text=True,
            **options,
        )

    return export


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, hidden ones too."""

    def files(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return files
