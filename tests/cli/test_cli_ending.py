"""An interrupt or SIGTERM ends the command with its code and without a traceback, whatever it meets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from signals import wait_until_it_answers

pytestmark = pytest.mark.faults

#: What a process does, by what the signal meets; STRIKE is the signal's name. It would print "went on".
MEETS = {
    "the start": "answer_signals(); strike()",
    "an import": "answer_signals()\nwith working(): import struck",
    "a finalizer": "answer_signals()\nwith working(): Struck()",
    "the cleaning up": """
answer_signals()
with working():
    try:
        strike()
    finally:
        print("cleaning up", flush=True)
        strike()
""",
    "what comes after": "answer_signals()\nwith working(): pass\nstrike()",
    "the exit": "import atexit; answer_signals(); atexit.register(print, 'went on'); atexit.register(strike); sys.exit(0)",
}

_PRELUDE = """
import os, signal, sys
from spanmask_cli.ending import answer_signals, leave_with, working

def strike():
    os.kill(os.getpid(), signal.STRIKE)
    for _ in range(9): pass

class Struck:
    def __del__(self): strike()
"""

#: A module that, as C code does, makes another error of whatever it meets.
_MODULE = """
import os, signal
try:
    os.kill(os.getpid(), signal.STRIKE)
    for _ in range(9): pass
except BaseException:
    raise ImportError("could not be imported") from None
"""

both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def start(code: str, folder: Path, disposition: signal.Handlers = signal.SIG_DFL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background is started with interrupts ignored, and its children would inherit that.
        preexec_fn=lambda: [signal.signal(number, disposition) for number in (signal.SIGINT, signal.SIGTERM)],  # noqa: PLW1509
    )


def ended(code: str, folder: Path, number: signal.Signals, **options: Any) -> tuple[int, str, str]:
    (folder / "struck.py").write_text(_MODULE.replace("STRIKE", number.name))
    code = f"{_PRELUDE}\n{code}\nprint('went on')"
    process = start(code.replace("STRIKE", number.name), folder, **options)
    out, error = process.communicate()
    return process.returncode, out, error


@both
@pytest.mark.parametrize("met", MEETS)
def test_a_signal_ends_the_process_whatever_it_meets(met: str, number: signal.Signals, tmp_path: Path) -> None:
    out = "cleaning up\n" if met == "the cleaning up" else ""
    assert ended(MEETS[met], tmp_path, number) == (128 + number, out, "")


@both
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("leave_with('go on by …')\nwith working(): import struck", "spanmask: go on by …\n"),
        ("leave_with('go on by …')\nstrike()", "spanmask: go on by …\n"),
        ("with working():\n    leave_with('untrue')\n    leave_with()\n    import struck", ""),
        ("with working(): leave_with('untrue')\nstrike()", ""),
    ],
    ids=["an import", "the start", "nothing to tell", "what comes after"],
)
def test_where_the_process_leaves_at_once_it_says_how_to_go_on(
    code: str, told: str, number: signal.Signals, tmp_path: Path
) -> None:
    assert ended(f"answer_signals()\n{code}", tmp_path, number) == (128 + number, "", told)


@both
def test_the_first_signal_lets_a_working_command_clean_up(number: signal.Signals, tmp_path: Path) -> None:
    code = """
answer_signals()
try:
    with working(): strike()
except BaseException as error:
    print(repr(error))
"""
    raised = "KeyboardInterrupt()" if number == signal.SIGINT else "SystemExit(143)"
    assert ended(code, tmp_path, number) == (0, f"{raised}\nwent on\n", "")


_NOTING = """
import time
from spanmask_cli.ending import Request
answer_signals()
request = Request("ending in order", patience=1)
try:
    with working(), request.noting():
        strike()
        print(request.code, flush=True)
        AFTER
        time.sleep(60)
except BaseException as error:
    print(repr(error))
    raise
"""


@pytest.mark.slow
@both
@pytest.mark.parametrize("after", ["", "strike()"], ids=["time is up", "once more"])
def test_a_signal_that_is_noted_ends_what_takes_too_long_and_a_second_one_at_once(
    after: str, number: signal.Signals, tmp_path: Path
) -> None:
    code, out, error = ended(_NOTING.replace("AFTER", after), tmp_path, number)
    raised = "KeyboardInterrupt()" if number == signal.SIGINT else "SystemExit(143)"
    assert out == f"{128 + number}\n" + f"{raised}\n" * (not after)
    assert error.startswith("spanmask: ending in order; once more ends it at once\n")
    # An interrupt that nobody catches is Python's to tell, and ends it as the signal itself does.
    assert code in (128 + number, -number)


@both
def test_a_signal_while_python_takes_itself_down_changes_nothing(number: signal.Signals, tmp_path: Path) -> None:
    assert ended("answer_signals(); sys.struck = Struck()", tmp_path, number) == (0, "went on\n", "")


@both
def test_an_ignored_signal_stays_ignored(number: signal.Signals, tmp_path: Path) -> None:
    found = ended("answer_signals()\nwith working(): strike()", tmp_path, number, disposition=signal.SIG_IGN)
    assert found == (0, "went on\n", "")


def test_another_error_of_a_finalizer_is_told_as_ever(tmp_path: Path) -> None:
    code = "class Bad:\n    def __del__(self): 1 / 0\nanswer_signals(); Bad()"
    status, out, error = ended(code, tmp_path, signal.SIGINT)
    assert (status, out) == (0, "went on\n")
    assert "ZeroDivisionError" in error


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc to see what signals a process answers")
@both
def test_a_signal_at_any_moment_of_the_start_ends_with_its_code(number: signal.Signals, tmp_path: Path) -> None:
    """As long as the command has not done its work; the first moments are long before that."""
    codes = []
    for moment in range(16):
        process = start("from spanmask_cli.main import run; run()", tmp_path)
        wait_until_it_answers(process)
        time.sleep(moment * 0.005)
        process.send_signal(number)
        _, error = process.communicate()
        codes.append(process.returncode)
        assert (process.returncode in (0, 2, 128 + number), "Traceback" in error) == (True, False), (
            moment,
            codes,
            error,
        )
    assert codes[0] == 128 + number
