"""SIGKILL, or what the system refuses, at every step that changes the file system: all stays sound, and the next run ends the same."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest
from figures import figure
from steps import FINISHED, KILLED, REFUSED, WATCHED, Step, in_child, kill_at, refuse_at, steps_of

import spanmask
from spanmask import places, storage, verify

pytestmark = pytest.mark.faults

Count = Callable[[int], None]


class Faults:
    """Two texts of six units and more, the finished datasets of both, and a folder for each experiment."""

    def __init__(self, lab: Any, **options: Any) -> None:
        self.lab, self.options = lab, {"on_error": "skip", **options}
        self.old, self.new = lab.text("old.txt", 24, seed=5), lab.text("new.txt", 100)
        # A document that is left out, so that there is a list of such to be put in its place, too.
        for number, path in enumerate((self.old, self.new)):
            path.write_bytes(b"bad \xff\n\n" * (number + 1) + path.read_bytes())
        self.lab.run(self.old, "old", holdout=0.3, **self.options)
        self.lab.run(self.new, "new", seed=8, **self.options)
        self.number = 0

    def next_folder(self) -> str:
        self.number += 1
        return f"{WATCHED}-{self.number}"

    @cached_property
    def steps(self) -> int:
        """Steps of a new run."""
        out = self.next_folder()
        return len(steps_of(lambda: self.run_new(out), self.lab.folder))

    def killed(self, out: str, step: int) -> int:
        """Run in a process that is killed before a step; hold what is left, run again, compare. Return how it ended."""
        ended = in_child(lambda: self.run_new(out), kill_at(step))
        if ended != FINISHED:
            assert ended == KILLED
            self.assert_never_half(out)
            self.run_new(out)
        self.assert_new(out)
        return ended

    def run_old(self, out: str) -> None:
        """Put the dataset there that another run left."""
        shutil.copytree(self.lab.folder / "old", self.lab.folder / out, dirs_exist_ok=True)

    def run_new(self, out: str) -> None:
        self.lab.run(self.new, out, seed=8, overwrite=True, **self.options)

    def assert_new(self, out: str) -> None:
        assert self.lab.tree(out) == self.lab.tree("new")

    def assert_never_half(self, out: str) -> None:
        """Every shard under a final name is whole, and a manifest means a whole dataset."""
        if not (self.lab.folder / out).exists():
            return
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


@pytest.fixture(scope="module")
def pairs_faults(make_lab: Any) -> Faults:
    return Faults(make_lab("pairs"), segmentation="pairs")


def _sweep(faults: Faults, prepare: Callable[[str], object], stride: int) -> int:
    """Kill a run before every stride-th step. Return how many were killed."""
    for killed, step in enumerate(range(1, 100_000, stride)):
        out = faults.next_folder()
        prepare(out)
        if faults.killed(out, step) == FINISHED:
            return killed
    raise AssertionError("the run never ended")


def _nothing(_: str) -> None:
    return None


@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_step_of_a_new_run_ends_in_the_same_bytes(faults: Faults, stride: int, count: Count) -> None:
    killed = _sweep(faults, _nothing, stride)
    count(killed)
    assert killed >= faults.steps // stride >= 200 // stride


@pytest.mark.slow
def test_a_kill_at_any_step_of_a_run_on_pairs_ends_in_the_same_bytes(pairs_faults: Faults, count: Count) -> None:
    killed = _sweep(pairs_faults, _nothing, figure(13, 1))
    count(killed)
    assert killed >= pairs_faults.steps // figure(13, 1) >= 10


@pytest.mark.parametrize("stride", [61, pytest.param(figure(2, 1), marks=pytest.mark.slow, id="slow")])
def test_a_kill_at_any_step_of_an_overwrite_ends_in_the_same_bytes(faults: Faults, stride: int, count: Count) -> None:
    killed = _sweep(faults, faults.run_old, stride)
    count(killed)
    assert killed > faults.steps // stride


@pytest.mark.slow
def test_a_kill_at_any_step_of_going_on_after_a_kill_ends_in_the_same_bytes(faults: Faults, count: Count) -> None:
    for first in range(20, faults.steps - 10, figure(90, 25)):
        for step in range(1, 100_000, figure(17, 1)):
            out = faults.next_folder()
            faults.run_old(out)
            assert in_child(lambda out=out: faults.run_new(out), kill_at(first)) == KILLED
            if faults.killed(out, step) == FINISHED:
                break
            count(1)


@pytest.mark.slow
def test_a_kill_while_an_unfinished_run_is_overwritten_ends_in_the_same_bytes(faults: Faults, count: Count) -> None:
    """The run that was there had another configuration, and shards of other names."""
    options = {"shard_bytes": 1024, "on_error": "skip"}
    for step in range(1, 100_000, figure(17, 1)):
        out = faults.next_folder()
        begun = in_child(lambda out=out: faults.lab.run(faults.new, out, **options), kill_at(faults.steps // 2))
        assert begun == KILLED
        ended = in_child(lambda out=out: faults.run_new(out), kill_at(step))
        if ended == FINISHED:
            break
        faults.run_new(out)
        faults.assert_new(out)
        count(1)


#: What the system may refuse, and the steps where it may.
REFUSALS = {
    "EIO": ("open", "write", "fsync", "rename", "remove", "mkdir"),
    "ENOSPC": ("open", "write", "fsync", "rename", "mkdir"),
    "EDQUOT": ("open", "write", "fsync", "rename", "mkdir"),
    "ESTALE": ("open", "write", "fsync", "rename", "remove", "mkdir"),
    "EINTR": ("open", "write", "fsync"),
    "EXDEV": ("rename",),
    "EROFS": ("open", "rename", "remove", "mkdir"),
}
_EACH = [(name, kind) for name, kinds in REFUSALS.items() for kind in kinds]
_USUAL = [("EIO", "fsync"), ("ENOSPC", "write"), ("EXDEV", "rename"), ("EROFS", "remove")]


@pytest.mark.parametrize(
    ("name", "kind"), [pytest.param(*each, marks=[] if each in _USUAL else pytest.mark.slow) for each in _EACH]
)
def test_what_the_system_refuses_is_told_and_the_run_goes_on_later(
    faults: Faults, name: str, kind: str, count: Count
) -> None:
    """Refused once, early, in the middle and late; or from then on, as by a full disk."""
    number = getattr(errno, name)
    for place in (1, faults.steps // 2, faults.steps - 25)[: 1 if (name, kind) in _USUAL else 3]:
        out = faults.next_folder()
        faults.run_old(out)
        meet = refuse_at(place, number, kind, lasting=place > 1 and name in ("ENOSPC", "EDQUOT", "EROFS"))
        ended = in_child(lambda out=out: faults.run_new(out), meet, advice=number)
        # A folder that cannot be made is no matter where it is there.
        assert ended == REFUSED or (ended == FINISHED and kind == "mkdir"), place
        faults.assert_never_half(out)
        faults.run_new(out)
        faults.assert_new(out)
        count(1)


# --- Each defence taken out


def _without_the_rename(path: Any, write: Any, temporary: Any = None) -> Any:
    """Write a file under its final name."""
    path.unlink(missing_ok=True)
    with storage.reporting(path, "write"):
        return storage.write_through(path, write)


def test_a_writer_that_does_not_rename_is_found(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in (storage, places):
        monkeypatch.setattr(user, "publish", _without_the_rename)
    with pytest.raises(AssertionError):
        _sweep(faults, _nothing, 7)


def test_a_full_disk_under_a_writer_that_does_not_rename_is_found(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in (storage, places):
        monkeypatch.setattr(user, "publish", _without_the_rename)
    out = faults.next_folder()

    def full(_: int, step: Step) -> None:
        if step.kind == "write" and "shard-00002" in step.path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), step.path)

    assert in_child(lambda: faults.run_new(out), full, advice=errno.ENOSPC) == REFUSED
    with pytest.raises(AssertionError):
        faults.assert_never_half(out)


def test_what_only_waits_to_be_put_in_place_is_put_there_whatever_is_asked(faults: Faults) -> None:
    """A run killed while it finishes is finished by the next call, which may want something else and is then refused."""
    out = faults.next_folder()
    assert in_child(lambda: faults.run_new(out), kill_at(f"{out}/manifest.json")) == KILLED
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

    assert in_child(run, kill_at(f"{out}/manifest.json")) == KILLED
    run()
    assert verify(faults.lab.folder / out).findings == ()
    assert ".spanmask/" not in faults.lab.tree(out)
