"""`collect` removes what dead processes of this host left, never what a living one is at, what has a final name, or a run under way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from object_store import ObjectStore

from spanmask.errors import ConfigError
from spanmask.folders import claimed, sole_writer
from spanmask.owners import Owner
from spanmask.presharding.collecting import collect
from spanmask.storage import publish_bytes

pytestmark = pytest.mark.faults

#: Writes until it is killed: a shard under a temporary name, a claimed folder, and a folder that takes the place of another.
_WRITER = """
import sys, time
from pathlib import Path
from spanmask.folders import claimed, publish_folder
from spanmask.storage import publish
folder = Path(sys.argv[1])

def wait(file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)

with claimed(folder / "export"), publish_folder(folder / "model") as new:
    new.write_bytes("a", b"a")
    (folder / "model").rename(folder / ".tmp-model" / "old")
    publish(folder / "train" / "shard-00000-00000.arrow", wait)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPANMASK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place" / "train").mkdir(parents=True)
    (tmp_path / "place" / "model").mkdir()
    publish_bytes(tmp_path / "place" / "model" / "b", b"b")
    publish_bytes(tmp_path / "place" / "train" / "shard-00001-00000.arrow", b"whole")
    return tmp_path / "place"


@contextmanager
def writing(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Have a process that is in the middle of writing; it is killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, place], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()
        process.wait()


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _names(found: Any, place: Path) -> list[str]:
    return sorted(Path(one.path).relative_to(place).as_posix() for one in found)


def test_what_a_killed_process_left_goes_and_what_it_writes_while_it_lives_stays(place: Path) -> None:
    with writing(place) as process:
        before = _tree(place)
        found = collect([place], older_than=0)
        assert (found.removed, len(found.kept)) == ((), 3)
        assert any(f"process {process.pid} of this host is writing it" in one.why for one in found.kept)
        assert _tree(place) == before
    looked = collect([place], dry_run=True)
    assert (len(looked.removed), looked.kept, _tree(place)) == (3, (), before)
    assert sum(one.bytes for one in looked.removed) >= len(b"halfab")
    assert collect([place]) == looked
    # What had the name before a writer was killed gets it back.
    assert _tree(place) == {"model/b": b"b", "train/shard-00001-00000.arrow": b"whole"}
    assert collect([place]).removed == ()


def _left(folder: Path, owner: Owner | None, name: str = "shard") -> Path:
    path = folder / f".tmp-{f'{owner}-' if owner else ''}{'0' * 16}-{name}"
    path.write_bytes(b"x")
    return path


def test_a_process_of_the_same_number_that_began_later_is_not_its_writer(place: Path) -> None:
    left = _left(place / "train", replace(Owner.here(), started=Owner.here().started - 1))
    mine = _left(place / "train", Owner.here())
    assert _names(collect([place]).removed, place) == [f"train/{left.name}"]
    assert mine.exists()


def test_what_other_hosts_left_goes_by_age_alone(place: Path, cache: Path) -> None:
    (cache / "kernels").mkdir(parents=True)
    kernel = cache / "kernels" / f"a-1.py311.{'0' * 32}.nbc.tmp-{'0' * 16}"
    kernel.write_bytes(b"x")
    others = [kernel, _left(place, replace(Owner.here(), host="elsewhere")), _left(place / "train", None)]
    for old, age in zip(others, (30, 5000, 9000), strict=True):
        os.utime(old, (time.time() - age,) * 2)
    assert collect([place]).removed == ()
    assert {Path(one.path) for one in collect([place], older_than=3600).removed} == set(others[1:])
    assert [path.exists() for path in others] == [True, False, False]
    assert len(collect([place], older_than=10).removed) == 1


def test_names_that_spanmask_does_not_give_are_none_of_its_business(place: Path) -> None:
    for name in (".tmp-of-mine", "tmp-0123456789abcdef-x", ".tmp-1", ".tmp-a-1-x", ".tmp"):
        (place / name).write_bytes(b"x")
    (place / ".tmp-folder" / "mine").mkdir(parents=True)
    (place / ".tmp-folder" / "lock").touch()
    (place / "elsewhere").symlink_to(place.parent)
    _left(place.parent, None)
    before = _tree(place)
    assert collect([place], older_than=0) == collect([place / "train"], older_than=0)
    assert _tree(place) == before


def test_a_run_that_can_be_gone_on_with_stays_and_the_state_of_one_that_ended_goes(tmp_path: Path) -> None:
    for name in ("ended", "begun", "at work"):
        (tmp_path / name / ".spanmask" / "receipts").mkdir(parents=True)
        (tmp_path / name / ".spanmask" / "lock").touch()
    (tmp_path / "begun" / ".spanmask" / "plan.json").write_text(json.dumps({}))
    half = _left(tmp_path / "begun" / ".spanmask" / "receipts", replace(Owner.here(), started=1))
    with sole_writer(tmp_path / "at work", tmp_path / "at work" / ".spanmask"):
        found = collect([tmp_path], older_than=0)
    assert _names(found.removed, tmp_path) == [half.relative_to(tmp_path).as_posix(), "ended/.spanmask"]
    assert _names(found.kept, tmp_path) == ["at work/.spanmask", "begun/.spanmask"]
    assert [(tmp_path / name / ".spanmask").exists() for name in ("ended", "begun", "at work")] == [False, True, True]


def test_a_checkpoint_that_a_killed_trainer_left_half_goes(tmp_path: Path) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "step-00000001").mkdir(parents=True)
    with claimed(checkpoints / "step-00000002") as claim:
        (claim / "new").mkdir()
        (claim / "new" / "model").write_bytes(b"half")
        assert collect([tmp_path]).removed == ()
        os.rename(claim, checkpoints / "kept")
    os.rename(checkpoints / "kept", checkpoints / ".tmp-step-00000002")
    assert _names(collect([tmp_path]).removed, checkpoints) == [".tmp-step-00000002"]
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000001"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        collect([tmp_path / "nowhere"])


def test_of_an_object_store_goes_the_state_of_a_run_that_ended_and_what_uploads_left(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    url = object_store.url("data/set")
    for key in (
        "data/set/.spanmask/plan.json",
        "data/set2/.spanmask/plan.json",
        "data/set/train/shard-00000-00000.arrow",
    ):
        object_store.put(key, b"xx")
    object_store.begin_upload("data/set/train/shard-00001-00000.arrow")
    object_store.begin_upload("data/set2/x")
    before = object_store.tree("data")
    found = collect([url, tmp_path])
    assert (found.removed, len(found.kept)) == ((), 2)
    assert any("a run that the same preshard command goes on with" in one.why for one in found.kept)
    assert (object_store.tree("data"), len(object_store.uploads())) == (before, 2)
    object_store.put("data/set/manifest.json", b"{}")
    looked = collect([url], older_than=0, dry_run=True)
    assert len(looked.removed) == 2
    assert len(object_store.uploads()) == 2
    assert [one.path for one in collect([url], older_than=0).removed] == [one.path for one in looked.removed]
    assert sorted(object_store.tree("data")) == [
        "set/manifest.json",
        "set/train/shard-00000-00000.arrow",
        "set2/.spanmask/plan.json",
    ]
    assert object_store.uploads() == ["data/set2/x"]
    assert collect([url], older_than=0) == collect([tmp_path])
