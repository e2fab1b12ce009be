"""A folder and a prefix of an object store are the same to whoever writes files by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from object_store import ObjectStore

from spanmask import places
from spanmask.errors import ConfigError, StorageError
from spanmask.places import LocalPlace, Place, RemotePlace, place_of
from spanmask.storage import TEMPORARY

pytestmark = pytest.mark.faults

_OUTSIDE = [
    "", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", "./a", "a//b", "a/", ".", "s3://other/a", "file:///a", "c:\\a", "a\\..\\b",
    "a\0b", "a\nb", "\x1b[31m",
]  # fmt: skip


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        (tmp_path / "place" / "sub").mkdir(parents=True)
        return place_of(tmp_path / "place")
    if request.param == "memory":
        return place_of(f"memory://{tmp_path.name}/{request.node.name}")
    store: ObjectStore = request.getfixturevalue("object_store")
    return place_of(store.url("some/prefix"))


@pytest.mark.slow
def test_files_are_published_read_listed_and_removed(place: Place) -> None:
    place.publish("sub/b", memoryview(b"before"))
    place.publish("sub/b", b"0123")
    assert place.write("a", lambda file: file.write(b"abc")) == 3
    assert (place.read("a"), place.read("sub/b", 4), place.size("a"), place.size("c")) == (b"abc", b"0123", 3, None)
    assert place.sizes() == {"a": 3, "sub/b": 4}
    assert (place.names("sub"), place.names("none")) == (["sub/b"], [])
    assert place.digest("a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ConfigError, match=r"sub/b"):
        place.read("sub/b", 3)
    with pytest.raises(ConfigError, match=r"no such"):
        place.read("c")
    place.remove("a", "none", "sub/b")
    assert place.names() == []


def test_a_name_is_given_once(place: Place) -> None:
    assert place.publish_new("a", b"first")
    assert not place.publish_new("a", b"second")
    assert place.publish_new("a", b"first")
    assert (place.read("a"), place.names()) == (b"first", ["a"])


@pytest.mark.parametrize("name", _OUTSIDE)
def test_no_name_leads_outside(tmp_path: Path, name: str) -> None:
    for place in (LocalPlace(tmp_path), RemotePlace("s3://bucket/prefix")):
        asks: list[Callable[[], Any]] = [
            lambda place=place: place.read(name),
            lambda place=place: place.publish(name, b""),
            lambda place=place: place.publish_new(name, b""),
            lambda place=place: place.size(name),
            lambda place=place: place.digest(name),
            lambda place=place: place.remove(name),
        ]
        for ask in asks:
            with pytest.raises(ConfigError, match="no name of a file in a folder"):
                ask()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_any_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: what lies beside the place is read."""
    (tmp_path / "place").mkdir()
    (tmp_path / "outside").write_bytes(b"")
    monkeypatch.setattr(places, "checked_name", lambda name: name)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_no_name_leads_outside(tmp_path / "place", "../outside")


def test_what_fails_while_it_is_filled_is_not_there(place: Place) -> None:
    place.publish("a", b"before")

    def fill(file: Any) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        place.write("a", fill)
    assert (place.read("a"), place.names()) == (b"before", ["a"])


def test_what_is_being_written_is_no_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}x-a").write_bytes(b"half")
    assert LocalPlace(tmp_path).names() == []


def test_a_folder_that_refuses_is_told(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    with pytest.raises(ConfigError, match="no such file or directory"):
        place.publish("missing/a", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"file/a: could not write \(Not a directory\)"):
        place.publish("file/a", b"")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="expected a file"):
        place.read("pipe")


def test_a_path_names_a_folder_and_a_url_a_prefix() -> None:
    assert str(place_of("a/b")) == "a/b"
    assert str(place_of("s3:/bucket/p/")) == "s3://bucket/p"
    for text in ("http://x/y", "file:///a", "ftp://x/y"):
        with pytest.raises(ConfigError, match="a URL, and"):
            place_of(text)
