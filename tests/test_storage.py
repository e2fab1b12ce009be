"""Files appear whole or not at all, and refusals name the file and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spanmask.errors import ConfigError, StorageError
from spanmask.storage import make_folder, publish, publish_bytes, remove_temporaries, reporting, sync_folder


def test_a_published_file_has_its_bytes_and_the_usual_mode(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        publish_bytes(tmp_path / "a", b"content")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").read_bytes() == b"content"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_published_file_replaces_the_old_one(tmp_path: Path) -> None:
    publish_bytes(tmp_path / "a", b"old")
    held = (tmp_path / "a").open("rb")
    publish_bytes(tmp_path / "a", memoryview(b"new"))
    assert (held.read(), (tmp_path / "a").read_bytes()) == (b"old", b"new")
    held.close()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    publish_bytes(tmp_path / "a", b"old")

    def write(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise error

    with pytest.raises((type(error), StorageError)):
        publish(tmp_path / "a", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_file_and_folder_reach_the_disk_before_and_after_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split("-")[0])
        fsync(descriptor)

    def replace(source: str, target: str) -> None:
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    (tmp_path / "folder").mkdir()
    publish_bytes(tmp_path / "folder" / "a", b"x")
    assert steps == ["sync .tmp", "rename", "sync folder"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space and run the same command again"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "free some space"),
        (errno.EACCES, "check the permissions"),
        (errno.EROFS, "choose another place"),
        (errno.EIO, "check the disk"),
    ],
)
def test_a_refusal_names_the_file_the_reason_and_what_to_do(number: int, advice: str) -> None:
    with pytest.raises(StorageError) as caught, reporting("some/file", "write"):
        raise OSError(number, os.strerror(number))
    message = str(caught.value)
    assert message.startswith(f"some/file: could not write ({os.strerror(number)}); ")
    assert advice in message


def test_a_missing_file_is_a_wrong_request() -> None:
    with pytest.raises(ConfigError, match="some/file: no such file or directory"), reporting("some/file", "read"):
        Path("some/file").read_bytes()


def test_folders_are_made_with_their_parents_and_again(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    sync_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not create the folder"):
        make_folder(tmp_path / "file")


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    for name in (".tmp-0123-a", "a", ".hidden", "tmp-b"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a", "tmp-b"]
