"""What a run will write is estimated before it begins, and refused where it cannot fit."""

from __future__ import annotations

import bz2
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanmask import IncompleteShards, StorageError, load_vocabulary, preshard
from spanmask.corpus.inputs import find_inputs
from spanmask.presharding import plan, request, run_unit
from spanmask.presharding.space import estimated_bytes

from .conftest import Lab

pytestmark = pytest.mark.faults


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make a disk have so many bytes free."""
    real = shutil.disk_usage
    return lambda size: monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=size))


def _estimate(lab: Lab, path: Path, **options: Any) -> int:
    config = lab.config(**options)
    return estimated_bytes(config, load_vocabulary(config.vocabulary), find_inputs([path], config.corpus.format).files)


@pytest.mark.parametrize("words", [False, True])
def test_the_estimate_is_about_what_is_written(lab: Lab, words: bool) -> None:
    options: dict[str, Any] = {"shard_bytes": 1 << 20, "min_tokens": 3}
    path = lab.text(count=3000)
    if words:
        lines = path.read_text().replace("\n\n", "\0").replace("\n", " ").split("\0")
        path = lab.jsonl([{"text": line, "words": [0, 4]} for line in lines])
        options["words_field"] = "words"
    manifest = lab.run(path, "out", **options)
    written = sum(int(split.shards.counts("bytes").sum()) for split in manifest.splits.values())
    assert 1 / 2 < _estimate(lab, path, **options) / written < 2


def test_a_run_that_cannot_fit_is_refused_before_it_begins_and_leaves_nothing(
    lab: Lab, free: Callable[[int], None]
) -> None:
    path = lab.text()
    free(_estimate(lab, path) // 3)
    with pytest.raises(
        StorageError, match=r"about 0.0 MB of shards are to be written, and 0.0 MB are free there; make room"
    ):
        lab.run(path, "out")
    assert not (lab.folder / "out").exists()


def test_a_run_that_looks_for_no_room_is_found(
    lab: Lab, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defence taken out: it begins, and would meet the end of the disk on its way."""
    monkeypatch.setattr(request, "check_space", lambda *_: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_run_that_cannot_fit_is_refused_before_it_begins_and_leaves_nothing(lab, free)


def test_a_run_that_may_not_fit_is_warned_of_and_made(lab: Lab, free: Callable[[int], None]) -> None:
    path = lab.text()
    free(_estimate(lab, path) * 2 // 3)
    with pytest.warns(UserWarning, match="it may not fit"):
        preshard(path, lab.folder / "out", lab.config(), jobs=1)


def test_only_what_is_left_of_a_run_needs_room(lab: Lab, free: Callable[[int], None]) -> None:
    path = lab.text()
    planned = plan(path, lab.folder / "out", lab.config())
    for task in planned.tasks[1:]:
        run_unit(planned, task.number)
    free(_estimate(lab, path) // 3)
    lab.run(path, "out")


def test_of_a_large_compressed_file_what_is_not_done_needs_room(lab: Lab, free: Callable[[int], None]) -> None:
    path = lab.folder / "text.txt.bz2"
    path.write_bytes(bz2.compress(lab.text(count=800).read_bytes()))

    def run_until(shards: int) -> None:
        with pytest.raises(IncompleteShards, match="stopped with"):
            preshard(
                path, lab.folder / "out", lab.config(), jobs=1, on_progress=lambda progress: progress.shards > shards
            )

    run_until(1)
    free(_estimate(lab, path) // 3)
    with pytest.raises(StorageError, match="make room"):
        lab.run(path, "out")
    free(_estimate(lab, path))
    blocks = -(-len(bz2.decompress(path.read_bytes())) // 4096)
    run_until(blocks * 2 // 3)
    free(_estimate(lab, path) // 3)
    lab.run(path, "out")


def test_a_dry_run_tells_the_estimate(lab: Lab) -> None:
    path = lab.text(count=2000)
    code, out, _ = lab.finish("preshard", path, "--seed", 1, "--dry-run", 1)
    assert code == 0
    assert f"\nshards: about {_estimate(lab, path) / 1e6:,.1f} MB\n" in out
