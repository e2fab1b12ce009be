"""One process writes a place; what a killed one left goes with the next writer, and nothing is written behind a link."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spanmask.errors import ConfigError, MismatchError, StorageError
from spanmask.folders import claimed, publish_folder, sole_writer


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def _publish(out: Path, text: str) -> None:
    with publish_folder(out) as written:
        written.write_bytes("a/b", text.encode())


def test_a_place_has_one_writer_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with publish_folder(out) as written:
        written.write_bytes("a", b"first")
        for _ in range(2):
            with pytest.raises(MismatchError, match=r"out: another spanmask process is writing it; wait for it"):
                _publish(out, "second")
        (tmp_path / "link").symlink_to(tmp_path / "new")
        with pytest.raises(MismatchError, match="out: another spanmask process"):
            _publish(tmp_path / "link" / "out", "by another name")
        _publish(tmp_path / "new" / "other", "another place")
    assert (out / "a").read_bytes() == b"first"
    _publish(out, "third")
    assert _tree(tmp_path / "new") == {
        "out": None, "out/a": None, "out/a/b": b"third", "other": None, "other/a": None, "other/a/b": b"another place"
    }  # fmt: skip


def test_a_writer_that_is_refused_leaves_no_trace(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConfigError("no")

    with pytest.raises(ConfigError), publish_folder(tmp_path / "x" / "y" / "out", refuse):
        pass
    assert _tree(tmp_path) == {}


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    out, left = tmp_path / "out", tmp_path / ".tmp-out"
    (left / "new" / "train").mkdir(parents=True)
    (left / "new" / "train" / "half").write_bytes(b"half")
    (left / "lock").write_bytes(b"")
    (tmp_path / ".tmp-out2").mkdir()
    _publish(out, "whole")
    assert _tree(tmp_path) == {".tmp-out2": None, "out": None, "out/a": None, "out/a/b": b"whole"}


@pytest.mark.parametrize("renamed", [False, True], ids=["before the second rename", "after it"])
def test_a_kill_while_a_folder_is_replaced_loses_neither(tmp_path: Path, renamed: bool) -> None:
    out, left = tmp_path / "out", tmp_path / ".tmp-out"
    _publish(out, "old")
    left.mkdir()
    out.rename(left / "old")
    if renamed:
        _publish(tmp_path / "again", "new")
        (tmp_path / "again").rename(out)
    with pytest.raises(StorageError), publish_folder(out) as written:
        written.write("a", _full)
    assert _tree(tmp_path) == {"out": None, "out/a": None, "out/a/b": b"new" if renamed else b"old"}


def _full(_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_who_waits_for_a_lock_looks_less_and_less_often_and_not_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand tasks of an array wait for the first of them, which plans for minutes."""
    clock, pauses = [0.0], list[list[float]]()

    def sleep(seconds: float) -> None:
        pauses[-1].append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("spanmask.folders.time.sleep", sleep)
    monkeypatch.setattr("spanmask.folders.time.monotonic", lambda: clock[0])
    with sole_writer(tmp_path, tmp_path / "x"):
        for _ in range(2):
            pauses.append([])
            with (
                pytest.raises(MismatchError, match="another spanmask process"),
                sole_writer(tmp_path, tmp_path / "x", shared=True, patience=600),
            ):
                pass
    assert all(sum(some) == pytest.approx(600) for some in pauses)
    assert max(map(len, pauses)) < 650
    assert all(some[0] <= 0.1 and max(some) <= 2 for some in pauses)
    assert pauses[0][0] != pauses[1][0]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_as_that(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("spanmask.folders.fcntl.flock", refuse)
    with (
        pytest.raises(StorageError, match=r"does not keep locks, or not now: mount it with them \(flock\)"),
        sole_writer(tmp_path, tmp_path / "x"),
    ):
        pass


def test_nothing_is_written_or_removed_behind_a_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    (tmp_path / ".tmp-out").symlink_to(mine)
    for claim in (lambda: claimed(tmp_path / "out"), lambda: sole_writer(tmp_path / "out", tmp_path / ".tmp-out")):
        with pytest.raises(ConfigError, match=r"\.tmp-out: a link to .*mine, .* remove the link"), claim():
            pass
    assert _tree(mine) == {"thesis.txt": b"years of work"}
