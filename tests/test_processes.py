"""Children that stand still are seen, and for how long; what was continued, or slept through with this process, is not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from spanmask import processes
from spanmask.processes import LOOK, PATIENCE, Stillness, is_stopped

pytestmark = pytest.mark.faults


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def _until(pid: int, *, stopped: bool) -> bool:
    deadline = time.monotonic() + 10
    while is_stopped(pid) is not stopped and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_stopped(pid) is stopped


def test_a_child_is_stopped_until_it_is_continued(child: subprocess.Popen[bytes]) -> None:
    assert not is_stopped(child.pid)
    for _ in range(2):
        child.send_signal(signal.SIGSTOP)
        assert _until(child.pid, stopped=True)
        child.send_signal(signal.SIGCONT)
        assert _until(child.pid, stopped=False)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not is_stopped(child.pid)
    assert not is_stopped(os.getpid())


def test_time_counts_while_a_child_stands_still(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    stillness = Stillness()

    def looked(seconds: float, times: int = 1) -> int | None:
        found = None
        for _ in range(times):
            now[0] += seconds
            found = stillness.look([child.pid])
        return found

    assert looked(PATIENCE + 1) is None
    child.send_signal(signal.SIGSTOP)
    monkeypatch.undo()
    assert _until(child.pid, stopped=True)
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    assert looked(LOOK, int(PATIENCE / LOOK)) is None
    assert looked(LOOK / 4, 3) is None
    assert looked(LOOK) == child.pid
    # As after Ctrl-Z and fg: this process was not there itself.
    stillness = Stillness()
    assert looked(3600) is None
    assert looked(LOOK, int(PATIENCE / LOOK) - 2) is None
    child.send_signal(signal.SIGCONT)
    monkeypatch.undo()
    assert _until(child.pid, stopped=False)
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    assert looked(LOOK, int(PATIENCE / LOOK)) is None
