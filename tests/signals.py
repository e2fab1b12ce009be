"""When a process that tests start has begun to answer signals itself, as the system tells it."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any


def wait_until_it_answers(process: subprocess.Popen[Any]) -> None:
    """Wait until a process catches SIGTERM, which Python by itself does not: it is in our code, past what only Python can answer for."""
    while process.poll() is None and not _catches(process.pid, signal.SIGTERM):
        time.sleep(0.0005)


def _catches(process: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    (caught,) = (int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
    return bool(caught >> number - 1 & 1)
