"""The command line in processes of its own, and signals that strike them as soon as a file is there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-c", "from spanmask_cli.main import run; run()"]


def begin(*arguments: object, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Begin the command line with arguments."""
    line = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=stderr, text=True)


def strike(process: subprocess.Popen[str], folder: Path, pattern: str, number: signal.Signals = signal.SIGKILL) -> str:
    """Send a signal as soon as a file is there, and wait for the end; return what the process told where that is read."""
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.001)
    process.send_signal(number)
    return process.communicate(timeout=120)[1]
