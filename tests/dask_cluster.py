"""A real Dask cluster on loopback: a scheduler and workers, each a process that tests may kill or stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from children import TESTS


class DaskCluster:
    """A scheduler and its workers. folder: for what they write; environment: of the scheduler."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.file = folder / "scheduler.json"
        listening = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", *listening, "--scheduler-file", str(self.file), **environment)

    def start_worker(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, without a nanny unless options say so."""
        wait_for(self.file.exists)
        fixed = ["--nthreads", "1", "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard"]
        nanny = [] if "--nanny" in options else ["--no-nanny"]
        scheduler = ["--scheduler-file", str(self.file), "--local-directory", str(self.folder)]
        worker = self._start("worker", *scheduler, *fixed, *nanny, *options, **environment)
        self.workers.append(worker)
        return worker

    def _start(self, kind: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(TESTS), *sys.path]))
        with (self.folder / f"{kind}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options],
                env={**os.environ, "PYTHONPATH": path, **environment},
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def end(self) -> None:
        """End all of it, whatever it does."""
        for process in (*self.workers, self.scheduler):
            # With a nanny's worker.
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(found: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what a function finds, once it finds something."""
    until = time.monotonic() + seconds
    while not (what := found()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return what
