"""The cache of an object store's shards: whole copies or none, shared, bounded, and none trusted that others could write."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from children import TESTS
from copies import cached_in

from spanmask import remote
from spanmask.errors import ConfigError, ShardError, StorageError
from spanmask.owners import Owner
from spanmask.shard import cache as module
from spanmask.shard.cache import ShardCache, Wanted, shard_cache
from spanmask.shard.root import RemoteRoot
from spanmask.shard.table import ShardRecord


def content(number: int, size: int = 5000) -> bytes:
    return hashlib.shake_256(bytes([number])).digest(size)


def wanted_of(data: bytes) -> Wanted:
    return Wanted(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), name="s3://bucket/shard")


class Source:
    """Hands out bytes, in pieces, and counts how often."""

    def __init__(self, data: bytes, *others: bytes | Exception) -> None:
        self.data, self.others, self.times = data, list(others), 0

    def __call__(self, file: Any) -> None:
        self.times += 1
        data = self.others.pop(0) if self.others else self.data
        if isinstance(data, Exception):
            raise data
        for first in range(0, len(data), 1000):
            file.write(data[first : first + 1000])


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_copy_is_fetched_once_and_lies_under_its_digest_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    data = content(1)
    wanted, source, cache = wanted_of(data), Source(data), ShardCache(tmp_path / "a" / "shards")
    for _ in range(3):
        with cache.open(wanted, source) as file:
            assert file.read() in (data, b"")
            file.seek(0)
            assert file.read() == data
    assert source.times == 1
    assert names_in(tmp_path) == [f"a/shards/{wanted.sha256[:2]}/{wanted.sha256}.arrow"]
    assert stat.S_IMODE((tmp_path / "a" / "shards").stat().st_mode) == 0o700
    cache.ensure(wanted, source)
    assert source.times == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (content(2), "SHA-256 is"),
        (content(1)[:-1], "4,999 bytes came, the manifest says 5,000"),
        (content(1) + b"x", "more than 5,000 bytes came"),
        (b"", "0 bytes came"),
    ],
    ids=["flipped", "cut", "long", "empty"],
)
def test_what_is_not_as_the_manifest_says_is_thrown_away_and_fetched_again_a_few_times(
    tmp_path: Path, wrong: bytes, told: str
) -> None:
    data = content(1)
    cache, twice = ShardCache(tmp_path), Source(data, wrong, wrong)
    cache.open(wanted_of(data), twice).close()
    assert twice.times == 3
    (tmp_path / wanted_of(data).sha256[:2] / f"{wanted_of(data).sha256}.arrow").unlink()
    always = Source(wrong)
    with pytest.raises(ShardError, match=f"s3://bucket/shard: {told}.*on 3 tries"):
        cache.open(wanted_of(data), always)
    assert always.times == 3
    assert names_in(tmp_path) == []


def test_more_bytes_than_the_manifest_says_take_no_disk(tmp_path: Path) -> None:
    largest = 0

    def endless(file: Any) -> None:
        nonlocal largest
        for _ in range(50):
            file.write(bytes(1000))
            largest = max(largest, *(path.stat().st_size for path in tmp_path.rglob("*")))

    with pytest.raises(ShardError, match="more than 5,000 bytes came"):
        ShardCache(tmp_path / "shards").open(wanted_of(content(1)), endless)
    assert largest <= 5000


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "fresh"])
@pytest.mark.parametrize("size", [5000, 5001, 2_000_000, 4000, 4999])
def test_of_an_object_that_is_larger_than_the_manifest_says_no_more_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, kept: bool
) -> None:
    read, stops = remote.read, list[int]()

    def told(url: str, start: int, stop: int, **options: Any) -> bytes:
        stops.append(stop)
        return read(url, start, stop, **options)

    monkeypatch.setattr(remote, "read", told)
    monkeypatch.setattr(remote, "_PIECE_BYTES", 2000)
    remote.put("memory://sizes/train/shard", content(1, size))
    wanted = wanted_of(content(1))
    record = ShardRecord(
        path="train/shard",
        rows=1,
        tokens=1,
        bytes=5000,
        sha256=wanted.sha256,
        content_sha256="",
        first=(0, 0),
        last=(0, 0),
    )
    with cached_in(tmp_path / "cache"):
        if size == 5000:
            RemoteRoot("memory://sizes", kept=kept).open(record).close()
        else:
            came = "more than 5,000" if size > 5000 else f"{size:,}"
            with pytest.raises(ShardError, match=f"{came} bytes came.*on 3 tries"):
                RemoteRoot("memory://sizes", kept=kept).open(record)
    assert max(stops) <= 5001
    assert len(stops) <= 3 * 3


def test_an_error_of_the_store_comes_as_it_is_and_leaves_nothing(tmp_path: Path) -> None:
    source = Source(content(1), StorageError("s3://bucket/shard: could not read (503 5 times)"))
    with pytest.raises(StorageError, match="503 5 times"):
        ShardCache(tmp_path).open(wanted_of(content(1)), source)
    assert names_in(tmp_path) == []
    ShardCache(tmp_path).open(wanted_of(content(1)), source).close()


def test_a_copy_of_another_size_is_fetched_again(tmp_path: Path) -> None:
    data = content(1)
    cache, source = ShardCache(tmp_path), Source(data)
    cache.open(wanted_of(data), source).close()
    os.truncate(cache.path(wanted_of(data)), 100)
    with cache.open(wanted_of(data), source) as file:
        assert os.fstat(file.fileno()).st_size == len(data)
    assert source.times == 2


def test_the_copies_used_least_lately_go_when_there_are_too_many_and_what_is_open_stays_readable(
    tmp_path: Path,
) -> None:
    cache = ShardCache(tmp_path, limit=12_000)
    files = [content(number) for number in range(4)]
    first = cache.open(wanted_of(files[0]), Source(files[0]))
    cache.open(wanted_of(files[1]), Source(files[1])).close()
    for number, data in enumerate(files[:2]):
        os.utime(cache.path(wanted_of(data)), (number, number))
    # Using the older one makes it the younger.
    cache.open(wanted_of(files[0]), Source(files[0])).close()
    cache.open(wanted_of(files[2]), Source(files[2])).close()
    assert [cache.path(wanted_of(data)).exists() for data in files[:3]] == [True, False, True]
    os.utime(cache.path(wanted_of(files[0])), (1, 1))
    cache.open(wanted_of(files[3]), Source(files[3])).close()
    assert not cache.path(wanted_of(files[0])).exists()
    first.seek(0)
    assert first.read() == files[0]
    first.close()
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 12_000
    with pytest.raises(StorageError, match=r"20,000 bytes, and copies may take 12,000; raise SPANMASK_SHARD_CACHE"):
        cache.open(wanted_of(content(5, 20_000)), Source(content(5, 20_000)))


def test_many_processes_exceed_the_limit_by_little_together(tmp_path: Path) -> None:
    """Each knows what it fetched alone; of the others' it learns as it looks, after a part of the limit, or some seconds."""
    limit, size = 2_000_000, 1000
    caches = [ShardCache(tmp_path, limit=limit) for _ in range(32)]
    for cache in caches:
        cache.open(wanted_of(content(255, size)), Source(content(255, size))).close()
    # In use all the time: room for forty is left.
    path = tmp_path / "ab" / f"{'ab' * 32}.arrow"
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_bytes(bytes(limit - 40 * size))
    os.utime(path, (1 << 33, 1 << 33))
    largest = 0
    for number in range(320):
        data = hashlib.shake_256(number.to_bytes(2)).digest(size)
        caches[number % 32].open(wanted_of(data), Source(data)).close()
        if number % 8 == 0:
            largest = max(largest, sum(path.stat().st_size for path in tmp_path.glob("??/*")))
    assert limit < largest <= limit + 32 * (limit // 1024 + size)


def test_a_process_that_fetches_slowly_looks_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 20 << 20
    caches = [ShardCache(tmp_path, limit=limit) for _ in range(2)]
    for number, cache in enumerate(caches):
        cache.open(wanted_of(content(number)), Source(content(number))).close()
    (tmp_path / "ab").mkdir(exist_ok=True, mode=0o700)
    (tmp_path / "ab" / f"{'ab' * 32}.arrow").write_bytes(bytes(limit))
    os.utime(tmp_path / "ab" / f"{'ab' * 32}.arrow", (1, 1))
    caches[0].open(wanted_of(content(2)), Source(content(2))).close()
    assert len(list(tmp_path.glob("??/*"))) == 4
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    caches[0].open(wanted_of(content(3)), Source(content(3))).close()
    assert len(list(tmp_path.glob("??/*"))) == 4
    assert not (tmp_path / "ab" / f"{'ab' * 32}.arrow").exists()


def test_only_copies_are_counted_and_removed(tmp_path: Path) -> None:
    """A user's files may lie where the cache is: none of them is one of its copies, whatever it is named."""
    name = f"{'ab' * 32}.arrow"
    others = [
        "en/part.arrow",
        "ab/part.arrow",
        "ab/notes",
        f"cd/{name}",
        f"abc/{name}",
        f"ab/{name}.bak",
        "ef",
        "fetching/notes",
    ]
    for other in others:
        (tmp_path / other).parent.mkdir(exist_ok=True, mode=0o700)
        (tmp_path / other).write_bytes(bytes(9000))
        os.utime(tmp_path / other, (1, 1))
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"12{name[2:]}").write_bytes(bytes(9000))
    (tmp_path / "12").symlink_to(elsewhere)
    (tmp_path / "ab" / name).symlink_to(elsewhere / f"12{name[2:]}")
    (tmp_path / "34" / f"34{name[2:]}").mkdir(parents=True)
    (tmp_path / "fetching" / f"{'0' * 64}.claim").mkdir()
    os.utime(tmp_path / "fetching" / f"{'0' * 64}.claim", (1, 1))
    before = [name for folder in (tmp_path, elsewhere) for name in names_in(folder)]
    cache = ShardCache(tmp_path, limit=12_000)
    for number in range(4):
        cache.open(wanted_of(content(number)), Source(content(number))).close()
    copies = [cache.path(wanted_of(content(number))) for number in range(4)]
    assert [path.exists() for path in copies] == [False, False, True, True]
    found = {name for folder in (tmp_path, elsewhere) for name in names_in(folder)}
    assert found == {*before, *(str(path.relative_to(tmp_path)) for path in copies[2:])}


def test_what_dead_processes_left_is_removed_and_their_claims_bind_nobody(tmp_path: Path) -> None:
    data, ended = content(1), subprocess.Popen(["true"])
    here = Owner.here()
    dead = Owner(host=here.host, pid=ended.pid, started=1)
    ended.wait()
    under_way = tmp_path / "fetching"
    under_way.mkdir(mode=0o700)
    elsewhere = Owner(host="elsewhere", pid=ended.pid, started=1)
    for owner in (dead, here, elsewhere):
        (under_way / f".tmp-{owner}-abc-x").write_bytes(b"part")
    (under_way / f"{wanted_of(data).sha256}.claim").write_text(str(dead))
    began = time.monotonic()
    ShardCache(tmp_path).open(wanted_of(data), Source(data)).close()
    assert time.monotonic() - began < 5
    assert names_in(under_way) == sorted(f".tmp-{owner}-abc-x" for owner in (here, elsewhere))


def test_a_claim_whose_owner_does_not_move_on_binds_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STILL", 0.05)
    data = content(1)
    (tmp_path / "fetching").mkdir(mode=0o700)
    for told in (str(Owner(host="elsewhere", pid=1, started=1)), "", "?"):
        claim = tmp_path / "fetching" / f"{wanted_of(data).sha256}.claim"
        claim.write_text(told)
        source = Source(data)
        ShardCache(tmp_path).open(wanted_of(data), source).close()
        assert source.times == 1
        assert not claim.exists()
        ShardCache(tmp_path).path(wanted_of(data)).unlink()


def test_threads_of_one_process_fetch_an_object_once(tmp_path: Path) -> None:
    data, cache, gate = content(1), ShardCache(tmp_path), threading.Barrier(8)
    source = Source(data)

    def slow(file: Any) -> None:
        time.sleep(0.1)
        source(file)

    def read(_: int) -> bytes:
        gate.wait()
        with cache.open(wanted_of(data), slow) as file:
            file.seek(0)
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(8))) == {data}
    assert source.times == 1


def test_a_cache_that_others_can_write_to_or_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data, folder = content(1), tmp_path / "shards"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StorageError, match=r"others can write there.*chmod 700.*SPANMASK_CACHE_DIR"):
        ShardCache(folder).open(wanted_of(data), Source(data))
    folder.chmod(0o700)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"could not open.*SPANMASK_CACHE_DIR"):
        ShardCache(tmp_path / "file" / "shards").open(wanted_of(data), Source(data))


@pytest.mark.faults
@pytest.mark.skipif(os.getuid() == 0, reason="root writes anywhere")
def test_copies_in_a_read_only_cache_are_read(tmp_path: Path) -> None:
    data = content(1)
    ShardCache(tmp_path / "shards").open(wanted_of(data), Source(data)).close()
    for folder in (*tmp_path.rglob("*"), tmp_path):
        folder.chmod(0o500)
    with ShardCache(tmp_path / "shards").open(wanted_of(data), Source(data)) as file:
        assert file.read() == data
    with pytest.raises(StorageError, match=r"could not write.*permissions"):
        ShardCache(tmp_path / "shards").open(wanted_of(content(2)), Source(content(2)))
    for folder in (tmp_path, *tmp_path.rglob("*")):
        folder.chmod(0o700)


@pytest.mark.faults
def test_a_full_disk_is_told_with_what_to_do_and_nothing_partial_stays(tmp_path: Path) -> None:
    """A limit of file sizes stands for the disk: what is written over it is refused as a full disk refuses it."""
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(TESTS / "shard")!r})
from pathlib import Path
from test_cache import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
ShardCache(Path(sys.argv[1])).open(wanted_of(content(1)), Source(content(1)))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "shards")]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TESTS)}, check=False
    )
    assert "StorageError" in ended.stderr
    assert "free some space" in ended.stderr
    assert "SPANMASK_CACHE_DIR" in ended.stderr
    assert names_in(tmp_path) == []


def test_the_limit_is_a_size_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "user_cache_folder", lambda: tmp_path)
    monkeypatch.setenv("SPANMASK_SHARD_CACHE_BYTES", "6kB")
    data = content(1)
    for number in range(3):
        shard_cache().open(wanted_of(content(number)), Source(content(number))).close()
    assert len(list(tmp_path.glob("shard-copies/*/??/*"))) == 1
    monkeypatch.setenv("SPANMASK_SHARD_CACHE_BYTES", "much")
    with pytest.raises(ConfigError, match="SPANMASK_SHARD_CACHE_BYTES is 'much': give bytes"):
        shard_cache().open(wanted_of(data), Source(data))


def test_each_host_has_copies_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a home that hosts share, one host would else remove what another has mapped, which then reads stale handles or dies by SIGBUS."""
    monkeypatch.setattr(module, "user_cache_folder", lambda: tmp_path)
    monkeypatch.setenv("SPANMASK_SHARD_CACHE_BYTES", "6kB")
    paths = []
    for number, name in enumerate(("node-1.cluster", "../node 2", "..")):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        shard_cache().open(wanted_of(content(number)), Source(content(number))).close()
        paths.append(shard_cache().path(wanted_of(content(number))))
    assert all(path.exists() for path in paths)
    assert [path.parts[-3] for path in paths] == ["node_1.cluster", "__node_2", "_"]
    assert all(path.is_relative_to(tmp_path / "shard-copies") for path in paths)
    assert stat.S_IMODE((tmp_path / "shard-copies").stat().st_mode) == 0o700


_READER = """
import hashlib, random, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_cache import ShardCache, content, wanted_of
folder, seed, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chance, cache = random.Random(seed), ShardCache(folder, limit=limit)
def slowly(data):
    def fetch(file):
        with open(folder.parent / "fetches", "a") as log:
            log.write(hashlib.sha256(data).hexdigest() + "\\n")
        for first in range(0, len(data), 20000):
            file.write(data[first : first + 20000])
            time.sleep(0.001)
    return fetch
print("ready", flush=True)
bad = 0
for number in chance.sample(range(12), 12) * (3 if limit < 1 << 20 else 1):
    data = content(number, 200_000)
    with cache.open(wanted_of(data), slowly(data)) as file:
        file.seek(0)
        bad += file.read() != data
print(bad, flush=True)
"""


def _readers(folder: Path, seeds: range, limit: int) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", _READER, str(folder), str(seed), str(limit), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        for seed in seeds
    ]


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("limit", [64 << 20, 500_000], ids=["roomy", "tight"])
def test_readers_in_processes_of_their_own_that_are_killed_at_random_leave_nothing_partial(
    tmp_path: Path, limit: int, tell: Callable[[str], None]
) -> None:
    folder = tmp_path / "shards"
    readers = _readers(folder, range(8), limit)
    killed = 0
    for number, reader in enumerate(readers):
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        if number % 2:
            time.sleep(0.02 * number)
            reader.send_signal(signal.SIGKILL)
            killed += 1
    for number, reader in enumerate(readers):
        assert reader.stdout is not None
        with reader.stdout as told_by, reader:
            told = told_by.read()
        assert number % 2 or told == "0\n"
    for path in folder.glob("??/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    fetches = (tmp_path / "fetches").read_text().split()
    tell(f"8 readers, {killed} killed: {len(fetches)} fetches of {len(set(fetches))} objects")
    if limit > 1 << 20:
        assert len(set(fetches)) == 12
        # One more for each that was killed at it, and for the rare one that lost a claim.
        assert len(fetches) <= 12 + 2 * killed
    else:
        total = sum(path.stat().st_size for path in folder.glob("??/*"))
        assert total <= limit


def test_without_their_defences_wrong_bytes_are_kept_and_objects_are_fetched_by_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests above would see: planted are a comparison that finds nothing, and claims that bind nobody."""
    data, flipped = content(1), content(2)
    monkeypatch.setattr(module._Arriving, "differs_from", lambda *_: "")
    with ShardCache(tmp_path / "a").open(wanted_of(data), Source(flipped)) as file:
        file.seek(0)
        assert file.read() == flipped
    monkeypatch.setattr(module._Claim, "take", lambda _: True)
    cache, source, gate = ShardCache(tmp_path / "b"), Source(data), threading.Barrier(4)

    def slow(file: Any) -> None:
        gate.wait(10)
        source(file)

    with ThreadPoolExecutor(4) as pool:
        for file in pool.map(lambda _: cache.open(wanted_of(data), slow), range(4)):
            file.close()
    assert source.times == 4
