"""What a command takes: its exit code, processor seconds and the size of its largest process.

The system counts a process's peak from its fork on, so it is never below the size of whoever started it: measured from a test run of two
gigabytes, every command takes two gigabytes. So a bare interpreter, smaller than anything that is measured, starts the command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_STARTER = """
import json, os, sys
told, *command = sys.argv[1:]
process = os.posix_spawnp(command[0], command, os.environ)
_, status, used = os.wait4(process, 0)
os.write(int(told), json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss]).encode())
"""

#: Bytes of what the system counts peaks in.
_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a command took. code: its exit code; processor_seconds: of all its processes; peak_bytes: of the largest of them."""

    code: int
    processor_seconds: float
    peak_bytes: int


def measure(command: Sequence[str], **streams: Any) -> Usage:
    """Run a command to its end; streams: ``stdout``, ``stderr`` and so on, as `subprocess.run` takes them."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as told:
        try:
            starter = [sys.executable, "-I", "-S", "-c", _STARTER, str(writing), *command]
            subprocess.run(starter, pass_fds=[writing], check=False, **streams)
        finally:
            os.close(writing)
        code, seconds, peak = json.load(told)
    return Usage(code=code, processor_seconds=seconds, peak_bytes=peak * _UNIT)
