"""Standard streams that are closed or full: the work is done, what is left of standard error says one line, and no traceback is seen."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spanmask_cli.commands import COMMANDS

from spanmask import verify

pytestmark = pytest.mark.faults

OneLine = Callable[[str], str]
FULL = "spanmask: standard output: could not write (No space left on device); free some space, or send it elsewhere\n"
#: Redirections of a shell, and the exit code of a command that succeeds.
STREAMS = {
    "<&-": 0,
    ">&-": 0,
    "2>&-": 0,
    ">&- 2>&-": 0,
    "<&- >&- 2>&-": 0,
    "2>/dev/full": 0,
    ">/dev/full": 4,
    ">/dev/full 2>/dev/full": 4,
    ">/dev/full 2>&-": 4,
}


def _run(shell: Any, streams: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line with redirections that a shell sets up."""
    result: subprocess.CompletedProcess[str] = shell.process(
        *arguments, prefix=["sh", "-c", f'exec "$@" {streams}', "sh"]
    )
    assert "Traceback" not in result.stdout + result.stderr
    assert "Exception ignored" not in result.stderr
    return result


def _said(streams: str) -> str:
    return FULL if streams == ">/dev/full" else ""


@pytest.mark.slow
@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids="-".join)
def test_help_of_every_command_meets_closed_and_full_streams(shell: Any, command: tuple[str, ...]) -> None:
    for streams in ("<&- 2>&-", ">/dev/full"):
        result = _run(shell, streams, *command, "--help")
        assert (result.returncode, result.stderr) == (STREAMS.get(streams, 0), _said(streams))
        assert ("Usage" in result.stdout) == (streams != ">/dev/full")


@pytest.mark.parametrize(
    "streams",
    [
        streams if number == 2 else pytest.param(streams, marks=pytest.mark.slow)
        for number, streams in enumerate(STREAMS)
    ],
)
def test_presharding_is_done_whatever_the_streams_are(shell: Any, streams: str) -> None:
    shell.write("a.txt")
    result = _run(shell, streams, "preshard", "a.txt", "--out", "out", "--seed", 1, "--jobs", 1)
    assert (result.returncode, result.stderr) == (STREAMS[streams], _said(streams))
    assert ("wrote out" in result.stdout) == (">&-" not in streams.split() and ">/dev/full" not in streams.split())
    assert verify(shell.folder / "out").ok
    shell.preshard("a.txt", out="reference")
    assert _tree(shell.folder / "out") == _tree(shell.folder / "reference")


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "2>/dev/full", ">/dev/full"])
@pytest.mark.parametrize(
    "command", [["verify"], ["show"], ["export", "--to", "jsonl", "--out", "exported"]], ids=lambda c: c[0]
)
def test_commands_on_a_dataset_meet_closed_and_full_streams(shell: Any, command: list[str], streams: str) -> None:
    shell.preshard(shell.write("a.txt"))
    result = _run(shell, streams, *command, "out")
    assert (result.returncode, result.stderr) == (STREAMS[streams], _said(streams))
    assert (shell.folder / "exported" / "train.jsonl").exists() == (command[0] == "export")


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), [(["nope"], 2), (["verify", "missing"], 2), (["preshard", "e.txt"], 2)])
@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", ">/dev/full"])
def test_an_error_keeps_its_code_where_nobody_can_be_told(
    shell: Any, arguments: list[str], code: int, streams: str
) -> None:
    assert _run(shell, streams, *arguments).returncode == code


@pytest.mark.slow
def test_a_closed_standard_input_is_an_empty_one(shell: Any, one_line: OneLine) -> None:
    result = _run(shell, "<&-", "preshard", "-", "--format", "text", "--out", "out", "--seed", 1)
    assert (result.returncode, result.stdout) == (5, "")
    assert "every input is empty" in one_line(result.stderr)
    assert not (shell.folder / "out" / "manifest.json").exists()


@pytest.mark.parametrize("limit", [5, *(pytest.param(limit, marks=pytest.mark.slow) for limit in (6, 7, 8))])
def test_too_few_file_descriptors_end_with_4_or_do_not_matter(shell: Any, one_line: OneLine, limit: int) -> None:
    """Below 5 Python itself does not begin."""
    shell.write("a.txt")
    script = f'ulimit -n {limit}; exec "$@"'
    arguments = ("preshard", "a.txt", "--out", "out", "--seed", 1, "--jobs", 1)
    result = shell.process(*arguments, prefix=["sh", "-c", script, "sh"])
    if result.returncode == 0:
        assert verify(shell.folder / "out").ok
        return
    assert result.returncode == 4
    assert "(Too many open files); raise the limit of open files (ulimit -n)" in one_line(result.stderr)
    assert not (shell.folder / "out" / "manifest.json").exists()


def test_the_screen_is_not_driven_by_what_stands_on_the_command_line(shell: Any) -> None:
    for arguments in (["demo", "\x07red"], ["show", "\x07red"], ["verify", "--\x07"], ["show", "out", "--n", "\x07"]):
        result = shell(*arguments)
        assert result.code == 2
        assert "\\x07" in result.error
        assert "\x07" not in result.error


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
