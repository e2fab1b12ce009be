"""Python processes that can import what tests share, and may die without taking the tests with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def run_child(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with arguments and changes to the environment, and wait for it to end."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
