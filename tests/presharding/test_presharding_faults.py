"""SIGKILL, or a full disk, at every step that changes the file system: what is there stays sound, and the next run ends the same."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import spanmask
from spanmask import StorageError, verify

pytestmark = pytest.mark.faults

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
FINISHED, KILLED, REFUSED = 0, -signal.SIGKILL, 4


def _is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in _CHANGES


def _in_child(step: int | str, fault: str, body: Callable[[], object]) -> int:
    """Run a body in a forked process that is killed, or whose disk is full from then on, before the given step; return how it ended.

    A step is a number, or the end of the path that a file is about to be renamed to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    taken = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal taken
        if not _is_change(event, arguments) or "/spanmask-faults" not in str(arguments[0]):
            return
        taken += 1
        renames_to = str(arguments[1]) if event == "os.rename" else ""
        reached = renames_to.endswith(step) if isinstance(step, str) else taken >= step
        if reached and fault == "full" and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if reached and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(hook)
        body()
        code = FINISHED
    except StorageError as error:
        code = REFUSED if "free some space" in str(error) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class Faults:
    """Two texts of six units and more, the finished datasets of both, and a folder for each experiment."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.old, self.new = lab.text("old.txt", 24, seed=5), lab.text("new.txt", 100)
        # A document that is left out, so that there is a list of such to be put in its place, too.
        for number, path in enumerate((self.old, self.new)):
            path.write_bytes(b"bad \xff\n\n" * (number + 1) + path.read_bytes())
        self.run_old("old")
        self.lab.run(self.new, "new", seed=8, on_error="skip")
        self.number = 0

    def next_folder(self) -> str:
        self.number += 1
        return f"spanmask-faults-{self.number}"

    def run_old(self, out: str) -> None:
        self.lab.run(self.old, out, holdout=0.3, on_error="skip")

    def run_new(self, out: str) -> None:
        self.lab.run(self.new, out, seed=8, on_error="skip", overwrite=True)

    def assert_new(self, out: str) -> None:
        assert self.lab.tree(out) == self.lab.tree("new")

    def assert_never_half(self, out: str) -> None:
        """Every shard under a final name is whole, and a manifest means a whole dataset."""
        new, tree = self.lab.tree("new"), self.lab.tree(out)
        if "manifest.json" in tree:
            name = "old" if tree["manifest.json"] == self.lab.tree("old")["manifest.json"] else "new"
            assert verify(self.lab.folder / out).findings == ()
            kept = {path: data for path, data in tree.items() if not path.startswith(".spanmask")}
            assert kept == self.lab.tree(name)
            return
        for path, data in tree.items():
            if path.startswith("train/shard-") and data != self.lab.tree("old").get(path):
                assert data == new[path]


@pytest.fixture(scope="module")
def faults(make_lab: Any) -> Faults:
    return Faults(make_lab("faults"))


def _sweep(faults: Faults, prepare: Callable[[str], object], stride: int, fault: str) -> int:
    """Break a run before every stride-th step; hold what is left, run again, compare. Return how many runs were broken."""
    for broken, step in enumerate(range(1, 10_000, stride)):
        out = faults.next_folder()
        prepare(out)
        ended = _in_child(step, fault, lambda out=out: faults.run_new(out))
        if ended == FINISHED:
            faults.assert_new(out)
            return broken
        assert ended == (KILLED if fault == "kill" else REFUSED)
        if (faults.lab.folder / out).exists():
            faults.assert_never_half(out)
        faults.run_new(out)
        faults.assert_new(out)
    raise AssertionError("the run never ended")


STRIDES = [7, pytest.param(1, marks=pytest.mark.slow)]


@pytest.mark.parametrize("stride", STRIDES)
def test_a_kill_at_any_step_of_a_new_run_ends_in_the_same_bytes(faults: Faults, stride: int) -> None:
    assert _sweep(faults, lambda out: None, stride, "kill") >= 40 // stride


@pytest.mark.parametrize("stride", STRIDES)
def test_a_kill_at_any_step_of_an_overwrite_ends_in_the_same_bytes(faults: Faults, stride: int) -> None:
    assert _sweep(faults, faults.run_old, stride, "kill") >= 45 // stride


@pytest.mark.slow
@pytest.mark.parametrize("prepare", ["nothing", "old"])
def test_a_disk_that_is_full_from_any_step_on_is_reported_and_the_run_goes_on_later(
    faults: Faults, prepare: str
) -> None:
    assert _sweep(faults, faults.run_old if prepare == "old" else lambda out: None, 3, "full") >= 10


def test_a_full_disk_is_reported_and_the_run_goes_on_later(faults: Faults) -> None:
    out = faults.next_folder()
    assert _in_child(20, "full", lambda: faults.run_new(out)) == REFUSED
    faults.assert_never_half(out)
    faults.run_new(out)
    faults.assert_new(out)


@pytest.mark.slow
def test_a_kill_at_any_step_of_going_on_after_a_kill_ends_in_the_same_bytes(faults: Faults) -> None:
    for first in (12, 30, 42):
        for step in range(1, 10_000, 2):
            out = faults.next_folder()
            faults.run_old(out)
            assert _in_child(first, "kill", lambda out=out: faults.run_new(out)) == KILLED
            ended = _in_child(step, "kill", lambda out=out: faults.run_new(out))
            if ended == FINISHED:
                break
            faults.assert_never_half(out)
            faults.run_new(out)
            faults.assert_new(out)


@pytest.mark.slow
def test_a_kill_while_an_unfinished_run_is_overwritten_ends_in_the_same_bytes(faults: Faults) -> None:
    """The run that was there had another configuration, and shards of other names."""
    for step in range(1, 10_000, 2):
        out = faults.next_folder()
        options = {"shard_bytes": 1024, "on_error": "skip"}
        assert (
            _in_child(28, "kill", lambda out=out, options=options: faults.lab.run(faults.new, out, **options)) == KILLED
        )
        ended = _in_child(step, "kill", lambda out=out: faults.run_new(out))
        if ended == FINISHED:
            break
        faults.run_new(out)
        faults.assert_new(out)


def test_what_only_waits_to_be_put_in_place_is_put_there_whatever_is_asked(faults: Faults) -> None:
    """A run killed while it finishes is finished by the next call, which may want something else and is then refused."""
    out = faults.next_folder()
    assert _in_child(f"{out}/manifest.json", "kill", lambda: faults.run_new(out)) == KILLED
    assert (faults.lab.folder / out / ".spanmask" / "manifest.json").exists()
    with pytest.raises(spanmask.MismatchError, match="seed: 8 there, 9 here"):
        faults.lab.run(faults.new, out, seed=9)
    faults.assert_new(out)


def test_standard_input_is_not_needed_again_to_put_a_dataset_in_place(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = faults.next_folder()

    def run() -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(faults.new.read_bytes())))
        faults.lab.run("-", out, seed=8, on_error="skip")

    assert _in_child(f"{out}/manifest.json", "kill", run) == KILLED
    run()
    assert verify(faults.lab.folder / out).findings == ()
    assert ".spanmask/" not in faults.lab.tree(out)
