"""Datasets in an object store: what is read of them is what a folder gives, through copies on this machine."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import run_child
from click.testing import CliRunner
from copies import cached_in, copies_in, upload
from object_store import ACCESS_KEY, SECRET_KEY, ObjectStore

import spanmask
from spanmask import ShardSet
from spanmask.errors import ConfigError, IncompleteShards, ShardError, StorageError
from spanmask.loading import ShardDataset, ShardLoader, fetching
from spanmask.shard.root import RemoteRoot
from spanmask.shard.verify import verify

pytestmark = pytest.mark.faults

Make = Callable[..., ShardSet]


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Path]:
    with cached_in(tmp_path / "cache") as folder:
        yield folder


@pytest.fixture
def local(dataset: Make) -> ShardSet:
    return dataset(shard_bytes=32 << 10, holdout=0.1)


@pytest.fixture
def url(local: ShardSet, object_store: ObjectStore) -> str:
    assert isinstance(local.root, Path)
    return upload(object_store, local.root)


def batches(datasets: Any, **options: Any) -> list[dict[str, Any]]:
    loader = ShardLoader(datasets, **{"batch_size": 16, "masks": "fresh", "seed": 3, "window": 256, **options})
    return [dict(batch) for _ in range(2) for batch in loader]


def still_fetching() -> list[threading.Thread]:
    """Return the threads that do not end once nobody takes batches."""
    threads = [thread for thread in threading.enumerate() if thread.name == "spanmask-fetching"]
    for thread in threads:
        thread.join(5)
    return [thread for thread in threads if thread.is_alive()]


def assert_equal(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert np.array_equal(one[name].numpy(), other[name].numpy()), name


def test_a_dataset_is_opened_by_two_requests_and_nothing_is_listed(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path
) -> None:
    object_store.log.clear()
    shards = spanmask.open(url)
    assert [(one.method, one.key) for one in object_store.log] == [
        ("GET", "data/shards/manifest.json"),
        ("GET", "data/shards/shards.arrow"),
    ]
    assert repr(shards).startswith(f"<ShardSet 'train' of {url}: ")
    assert np.array_equal(shards[-1].input_ids, local[-1].input_ids)
    assert [row.segment for row in shards[:3]] == [row.segment for row in local[:3]]
    # One request for a shard, and none that looks at it before.
    assert [one.method for one in object_store.log[2:]] == ["GET", "GET"]
    assert {one.key for one in object_store.log[2:]} == {
        f"data/shards/{local.split.shards[number].path}" for number in (-1, 0)
    }
    assert not object_store.requests(key="^OUTSIDE")


@pytest.mark.parametrize("layout", ["padded", pytest.param("packed", marks=pytest.mark.slow)])
def test_batches_from_an_object_store_are_those_from_a_folder(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path, layout: str
) -> None:
    expected = batches(local.root, layout=layout)
    assert_equal(batches(url, layout=layout), expected)
    assert len(copies_in(copies)) == len(local.split.shards)
    before = len(object_store.log)
    # Of copies that are there nothing is asked again.
    assert_equal(batches(url, layout=layout, workers=2), expected)
    assert [one.key for one in object_store.log[before:]] == ["data/shards/manifest.json", "data/shards/shards.arrow"]


@pytest.mark.slow
def test_each_shard_is_fetched_once_by_workers_that_begin_at_once(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path
) -> None:
    assert_equal(batches(url, workers=2), batches(local.root))
    fetched = [one.key for one in object_store.requests("GET", r"/train/.*arrow$")]
    assert len(fetched) == len(set(fetched)) == len(local.split.shards)


@pytest.mark.slow
def test_rows_by_number_come_from_an_object_store(url: str, local: ShardSet, copies: Path) -> None:
    ours, theirs = ShardDataset(url), ShardDataset(local)
    for mine, other in zip(ours.__getitems__([5, 0, 800]), theirs.__getitems__([5, 0, 800]), strict=True):
        assert np.array_equal(mine.input_ids, other.input_ids)


@pytest.mark.slow
def test_under_a_small_bound_shards_are_let_go_and_fetched_again_and_batches_stay_the_same(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanmask.shard.reader.LOOK_SECONDS", 0.0)
    limit = int(local.split.shards.counts("bytes").max()) * 3
    monkeypatch.setenv("SPANMASK_SHARD_CACHE_BYTES", str(limit))
    for backend in ("compiled", "numpy"):
        options = {"backend": backend, "window": 64, "order": "block", "shuffle_blocks": 1}
        with pytest.warns(UserWarning, match=r"shards are fetched again and again; raise SPANMASK_SHARD_CACHE_BYTES"):
            found = batches(url, **options)
        assert_equal(found, batches(local.root, **options))
    # Each thread ends with the object it is at, for which it makes room then.
    assert not still_fetching()
    assert sum(path.stat().st_size for path in copies_in(copies)) <= limit
    assert len(object_store.requests("GET", "/train/")) > len(local.split.shards)


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("status", "reset", "cut")), "flip"]
)
def test_a_shard_that_comes_wrong_is_asked_for_again(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path, kind: str
) -> None:
    object_store.fail(kind, times=2, key="shard-00000-00000")
    assert np.array_equal(spanmask.open(url)[0].input_ids, local[0].input_ids)
    assert len(object_store.requests("GET", "shard-00000-00000")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        ({"kind": "status"}, StorageError, "503 SlowDown 5 times"),
        ({"kind": "status", "status": 403, "code": "AccessDenied"}, StorageError, "check the credentials"),
        ({"kind": "status", "status": 400, "code": "ExpiredToken"}, StorageError, "the credentials have expired"),
        ({"kind": "reset"}, StorageError, "5 times"),
        ({"kind": "flip"}, ShardError, "SHA-256 is .* on 3 tries"),
        ({"kind": "cut"}, StorageError, "5 times"),
        ({"kind": "status", "status": 404, "code": "NoSuchKey"}, IncompleteShards, "the file is missing"),
    ],
    ids=["busy", "denied", "expired", "reset", "flipped", "cut", "gone"],
)
def test_a_shard_that_never_comes_right_is_refused_by_name_wherever_rows_are_drawn(
    url: str, object_store: ObjectStore, copies: Path, fault: dict[str, Any], error: type[Exception], told: str
) -> None:
    object_store.fail(times=None, key="train/shard-00000-00000", **fault)
    for draw in (lambda: spanmask.open(url)[0], lambda: batches(url)):
        with pytest.raises(error, match=told) as found:
            draw()
        assert "train/shard-00000-00000.arrow" in str(found.value)
        assert not any(secret in str(found.value) for secret in (ACCESS_KEY, SECRET_KEY))
    assert not still_fetching()
    assert not [path for path in copies.rglob("*") if path.is_file() and path.suffix != ".arrow"]


@pytest.mark.slow
def test_a_copy_that_is_damaged_is_fetched_again_or_told(url: str, local: ShardSet, copies: Path) -> None:
    record = local.split.shards[0]
    expected = local[0].input_ids
    for place in (-20, record.bytes // 2):
        assert np.array_equal(spanmask.open(url)[0].input_ids, expected)
        [copy] = [path for path in copies_in(copies) if path.stem == record.sha256]
        data = bytearray(copy.read_bytes())
        data[place] ^= 255
        copy.write_bytes(data)
        if place < 0:
            assert np.array_equal(spanmask.open(url)[0].input_ids, expected)
            continue
        with pytest.raises(ShardError, match="its copy on this machine was damaged since it came, and is removed"):
            list(spanmask.open(url).blocks)
    assert np.array_equal(spanmask.open(url)[0].input_ids, expected)


def test_what_cannot_be_opened_says_what_to_do(object_store: ObjectStore, copies: Path, url: str) -> None:
    with pytest.raises(IncompleteShards, match="no manifest"):
        spanmask.open(object_store.url("nothing/here"))
    with pytest.raises(ConfigError, match=r"a Path, which has one slash of a URL's two"):
        spanmask.open(Path(url))
    with pytest.raises(ConfigError, match="holds a password"):
        spanmask.open("s3://key:secret@bucket/prefix")
    with pytest.raises(ConfigError, match="has no split 'test'"):
        spanmask.open(url, "test")


@pytest.mark.slow
def test_verify_proves_what_lies_in_the_store_whatever_copies_there_are(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path
) -> None:
    list(spanmask.open(url).blocks)
    here = copies_in(copies)
    assert verify(url) == verify(local.root)
    assert copies_in(copies) == here
    record = local.split.shards[1]
    data = bytearray(object_store.get(f"data/shards/{record.path}"))
    data[len(data) // 2] ^= 1
    object_store.put(f"data/shards/{record.path}", bytes(data))
    object_store.put("data/shards/train/stray", b"")
    object_store.put("data/shards/skipped.jsonl", b"")
    object_store.delete(f"data/shards/{local.split.shards[2].path}")
    findings = [(finding.path, finding.message) for finding in verify(url).findings]
    assert [path for path, _ in findings][:2] == ["skipped.jsonl", "train/stray"]
    assert {message for _, message in findings[:2]} == {"not in the manifest; remove it"}
    assert "SHA-256 is" in dict(findings)[record.path]
    assert "missing" in dict(findings)[local.split.shards[2].path]
    assert sorted(path for path in copies.rglob("*") if path.is_file()) == here


@pytest.mark.slow
def test_commands_take_urls(url: str, local: ShardSet, copies: Path, tmp_path: Path) -> None:
    def run(name: str, *arguments: str) -> str:
        command = importlib.import_module(f"spanmask_cli.{name}").command
        result = CliRunner().invoke(command, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    assert run("verify", url).startswith("ok: ")
    ours, theirs = (json.loads(run("show", place, "--json")) for place in (url, str(local.root)))
    assert [{**row, "dataset": ""} for row in ours] == [{**row, "dataset": ""} for row in theirs]
    assert run("show", url).splitlines()[0].startswith("shards: train split")
    ours, theirs = (json.loads(run("audit", place, "--json")) for place in (url, str(local.root)))
    assert {**ours, "dataset": ""} == {**theirs, "dataset": ""}
    for name, place in (("ours", url), ("theirs", str(local.root))):
        run("export", place, "--to", "jsonl", "--out", str(tmp_path / f"{name}.jsonl"), "--split", "train")
    assert (tmp_path / "ours.jsonl").read_bytes() == (tmp_path / "theirs.jsonl").read_bytes()


@pytest.mark.slow
def test_nothing_outside_the_prefix_is_asked_for_and_nothing_outside_the_cache_is_written(
    url: str, object_store: ObjectStore, copies: Path, tmp_path: Path
) -> None:
    """Shards are named by numbers, copies by digests: a manifest has no other say in either."""
    script = f"""
import sys
written = set()
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str) and set("wax+") & set(arguments[1]):
        written.add(arguments[0])
import spanmask
sys.addaudithook(note)
list(spanmask.open({url!r}).blocks)
assert written, written
outside = [path for path in written if not path.startswith({str(copies)!r})]
assert not outside, outside
"""
    object_store.log.clear()
    ended = run_child("-c", script)
    assert ended.returncode == 0, ended.stderr
    assert all(one.key.startswith("data/shards/") for one in object_store.log)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_shards_are_fetched_before_their_rows_are_read_and_no_further_than_a_bound(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    sizes = local.split.shards.counts("bytes")
    monkeypatch.setattr(fetching, "_AHEAD", 2 * int(sizes.max()))
    monkeypatch.setattr("spanmask.loading.row_plan.READ_ROWS", 32)
    monkeypatch.setattr("spanmask.loading.stream.READ_ROWS", 32)
    loader = ShardLoader(url, batch_size=8, layout=layout, window=32, order="none")
    found = iter(loader)
    next(found)
    deadline = time.monotonic() + 10
    while len(copies_in(copies)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    # The one that is read, and two more; what was read before the bound was met may be another.
    assert 3 <= len(copies_in(copies)) <= 4
    assert len(list(found)) > 0
    assert len(copies_in(copies)) == len(sizes)
    fetched = [one.key for one in object_store.requests("GET", r"/train/.*arrow$")]
    assert len(fetched) == len(set(fetched))
    assert not still_fetching()


@pytest.mark.slow
def test_an_error_while_fetching_ahead_is_met_where_its_rows_are_with_its_type(
    url: str, local: ShardSet, object_store: ObjectStore, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = local.split.shards[-1].path
    object_store.fail("status", times=None, key=last, status=403, code="AccessDenied")
    monkeypatch.setattr("spanmask.loading.row_plan.READ_ROWS", 32)
    monkeypatch.setattr("spanmask.loading.stream.READ_ROWS", 32)
    for workers in (0, 1):
        seen: list[int] = []
        loader = ShardLoader(url, batch_size=8, order="none", workers=workers)
        with pytest.raises(StorageError, match=f"{last}: could not read"):
            seen.extend(len(batch["input_ids"]) for batch in loader)
        assert sum(seen) > len(local) // 2
    # What is no error of ours is not left to the reader.
    monkeypatch.setattr(RemoteRoot, "fetch", lambda root, record: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        _ = [time.sleep(0.01) for _ in ShardLoader(url, batch_size=8, order="none")]


_COLD = """
import hashlib, sys
import numpy as np
import spanmask
print("ready", flush=True)
sys.stdin.readline()
shards = spanmask.open(sys.argv[1])
digest = hashlib.sha256()
for number in np.random.default_rng(int(sys.argv[2])).permutation(len(shards.split.shards)).tolist():
    shards.file(number)
for block in shards.blocks:
    digest.update(block.input_ids.values.tobytes())
print(digest.hexdigest(), flush=True)
"""


def _read_cold(url: str, readers: int, pause: float) -> list[str]:
    """Have processes read a dataset, each begun a while after the one before."""
    command = [sys.executable, "-c", _COLD, url]
    running = [
        subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(readers)
    ]
    for reader in running:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    for reader in running:
        assert reader.stdin is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
        time.sleep(pause)
    return [reader.communicate(timeout=120)[0].strip() for reader in running]


@pytest.mark.slow
def test_eight_cold_processes_at_once_read_nothing_wrong_and_fetch_each_object_once(
    url: str,
    local: ShardSet,
    object_store: ObjectStore,
    copies: Path,
    tell: Callable[[str], None],
    count: Callable[[int], None],
) -> None:
    object_store.fail("slow", times=None, key="/train/", seconds=0.1)
    expected = hashlib.sha256(b"".join(block.input_ids.values.tobytes() for block in local.blocks)).hexdigest()
    object_store.log.clear()
    assert _read_cold(url, 8, 0.0) == [expected] * 8
    fetched = [one.key for one in object_store.requests("GET", "/train/")]
    count(8)
    tell(f"8 cold processes: {len(fetched)} requests for {len(set(fetched))} objects")
    assert len(set(fetched)) == len(local.split.shards)
    assert len(fetched) <= 1.25 * len(set(fetched))


@pytest.mark.slow
def test_eighty_staggered_readers_of_one_cache_under_faults_read_nothing_wrong(
    url: str,
    local: ShardSet,
    object_store: ObjectStore,
    copies: Path,
    tell: Callable[[str], None],
    count: Callable[[int], None],
) -> None:
    """Threads with shards and copies of their own: in each, all is opened and compared anew."""
    object_store.fail("slow", times=None, key="/train/", seconds=0.05)
    for kind, record in zip(("flip", "cut", "reset", "status"), local.split.shards, strict=False):
        object_store.fail(kind, times=2, key=record.path)
    expected = [block.input_ids.values.tobytes() for block in local.blocks]

    def read(number: int) -> bool:
        time.sleep(number * 0.01)
        return [block.input_ids.values.tobytes() for block in spanmask.open(url).blocks] == expected

    with ThreadPoolExecutor(80) as pool:
        assert all(pool.map(read, range(80)))
    fetched = [one.key for one in object_store.requests("GET", "/train/")]
    count(80)
    tell(f"80 readers: {len(fetched)} requests for {len(set(fetched))} objects, 8 of which failed")
    assert len(fetched) <= len(set(fetched)) + 10
    assert sorted(path for path in copies.rglob("*") if path.is_file()) == copies_in(copies)
