"""Rows by number: equal to the stored ones with either backend, and fresh masks equal to those that presharding would store."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained
from loading.conftest import SCHEMES, Make

import spanmask
from spanmask import PreshardConfig, ShardSet, preshard
from spanmask.errors import ConfigError, IncompleteShards, MismatchError, ShardError, StorageError
from spanmask.loading import LoadConfig, ShardDataset, ShardLoader, Stream, shelves
from spanmask.loading.backend import Backend
from spanmask.loading.rows import Masks, RowReader
from spanmask.records import MaskedBlock
from spanmask.shard import reader as reader_module
from spanmask.shard import shard_file
from spanmask.train import TrainConfig, train

BACKENDS = [Backend.NUMPY, Backend.COMPILED]
PARTS = ("input_ids", "span_starts", "span_ends", "labels")


def cells(block: MaskedBlock, row: int) -> list[Any]:
    return [block.input_ids[row], *block.spans[row], block.labels[row]]


def equals(block: MaskedBlock, row: int, stored: spanmask.Row) -> bool:
    same = all(np.array_equal(cell, getattr(stored, name)) for cell, name in zip(cells(block, row), PARTS, strict=True))
    return same and (block.document_ids[row], block.segments[row]) == (stored.document_id, stored.segment)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_come_as_stored_in_the_order_asked_for(dataset: Make, backend: Backend) -> None:
    shards = dataset()
    assert len(shards.split.shards) > 3
    rows = np.random.default_rng(0).permutation(len(shards))[:1500]
    block = RowReader([shards], masks=Masks.STORED, backend=backend).read(np.zeros(len(rows), np.int64), rows, 0)
    assert all(equals(block, k, shards[int(row)]) for k, row in enumerate(rows))


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_several_datasets_come_together(dataset: Make, backend: Backend) -> None:
    both = [dataset(), dataset(max_tokens=32, scheme="word")]
    rng = np.random.default_rng(1)
    datasets = rng.integers(0, 2, 300)
    rows = rng.integers(0, 800, 300)
    block = RowReader(both, masks=Masks.STORED, backend=backend).read(datasets, rows, 0)
    assert all(equals(block, k, both[d][int(r)]) for k, (d, r) in enumerate(zip(datasets.tolist(), rows, strict=True)))


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("backend", BACKENDS)
def test_fresh_masks_of_an_epoch_are_those_that_preshard_stores(dataset: Make, scheme: str, backend: Backend) -> None:
    stored, later = dataset(**SCHEMES[scheme]), dataset(**SCHEMES[scheme], mask_epoch=3)
    rows = np.random.default_rng(2).permutation(len(stored))[:700]
    for first, epoch, wanted in ((0, 3, later), (0, 0, stored), (2, 1, later)):
        reader = RowReader([stored], masks=Masks.FRESH, backend=backend, first_epoch=first)
        block = reader.read(np.zeros(len(rows), np.int64), rows, epoch)
        assert all(equals(block, k, wanted[int(row)]) for k, row in enumerate(rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["byte_level", "unigram", "wide"])
@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_fresh_masks_hold_for_every_tokenizer(dataset: Make, tmp_path: Path, name: str, scheme: str) -> None:
    options = {**SCHEMES[scheme], "vocab": trained.saved(getattr(trained, name)(), tmp_path)}
    stored, later = dataset(**options), dataset(**options, mask_epoch=2)
    rows = np.arange(0, len(stored), 3)
    for backend in BACKENDS:
        block = RowReader([stored], masks=Masks.FRESH, backend=backend).read(np.zeros(len(rows), np.int64), rows, 2)
        assert all(equals(block, k, later[int(row)]) for k, row in enumerate(rows))


@pytest.mark.parametrize("backend", BACKENDS)
def test_lengths_are_those_of_the_rows(dataset: Make, backend: Backend) -> None:
    shards = dataset()
    rows = np.arange(len(shards))[::-7]
    found = RowReader([shards], masks=Masks.STORED, backend=backend).lengths(np.zeros(len(rows), np.int64), rows)
    assert found.tolist() == [len(shards[int(row)].input_ids) for row in rows]


def test_different_vocabularies_do_not_mix(dataset: Make) -> None:
    with pytest.raises(MismatchError, match="2 vocabularies"):
        RowReader([dataset(), dataset(vocab="uncased")], masks=Masks.STORED, backend=Backend.NUMPY)


def test_casings_do_not_mix_though_they_share_a_vocabulary(dataset: Make, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{entry}\n" for entry in dataset().manifest.vocabulary.entries))
    cased, uncased = (dataset(vocab=str(path), cased=cased) for cased in (True, False))
    assert cased.manifest.vocabulary.sha256 == uncased.manifest.vocabulary.sha256
    for several in ([uncased, cased], [dataset(), cased, uncased]):
        told = rf"{several[0].root} is (un)?cased and {several[-1].root} (un)?cased, by one vocabulary: give datasets of one"
        with pytest.raises(MismatchError, match=told):
            RowReader(several, masks=Masks.STORED, backend=Backend.NUMPY)
        with pytest.raises(MismatchError, match=told):
            ShardLoader(several, batch_size=4)
    RowReader([dataset(), cased], masks=Masks.STORED, backend=Backend.NUMPY)


# --- Damage


def damaged(shards: spanmask.ShardSet, folder: Path) -> tuple[Path, Path]:
    """Return a copy of a dataset with one bit of its first shard's last ids flipped, and that shard."""
    shutil.copytree(shards.root, folder)
    path = folder / shards.split.shards[0].path
    data = bytearray(path.read_bytes())
    middle = data.find(shards[0].labels.tobytes())
    assert middle > 0
    data[middle] ^= 1
    path.write_bytes(data)
    return folder, path


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_altered_block_is_named_when_it_is_touched(dataset: Make, tmp_path: Path, backend: Backend) -> None:
    shards = dataset()
    folder, path = damaged(shards, tmp_path / "copy")
    zero = np.zeros(1, np.int64)
    reader = RowReader([spanmask.open(folder)], masks=Masks.STORED, backend=backend)
    assert len(reader.read(zero, np.array([len(shards) - 1]), 0)) == 1
    with pytest.raises(ShardError, match="checksum") as caught:
        reader.read(zero, np.array([0]), 0)
    assert caught.value.path == f"train/{path.name}"
    unchecked = RowReader([spanmask.open(folder, verify="never")], masks=Masks.STORED, backend=backend)
    assert len(unchecked.read(zero, np.array([0]), 0)) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_damage_that_comes_later_and_keeps_size_and_time_is_seen_with_verify_always_only(
    dataset: Make, tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "LOOK_SECONDS", 0)
    shards = dataset()
    shutil.copytree(shards.root, tmp_path / "copy")
    zero = np.zeros(1, np.int64)
    opened = [spanmask.open(tmp_path / "copy", verify=verify) for verify in ("first", "always")]
    readers = [RowReader([one], masks=Masks.STORED, backend=backend) for one in opened]
    for reader in readers:
        reader.read(zero, zero, 0)
    path = tmp_path / "copy" / shards.split.shards[0].path
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(path.read_bytes().find(shards[0].labels.tobytes()))
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(readers[0].read(zero, zero, 0)) == 1
    with pytest.raises(ShardError, match="checksum"):
        readers[1].read(zero, zero, 0)


def _written_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")


def _replaced(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def _grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_written_over, "it changed since it was opened"),
        (_replaced, "it changed since it was opened"),
        (_grown, "it changed since it was opened"),
        (Path.unlink, "it is gone since it was opened"),
    ],
)
def test_a_shard_that_changes_is_seen_a_second_later_at_most(
    dataset: Make,
    tmp_path: Path,
    backend: Backend,
    change: Callable[[Path], Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards = dataset()
    shutil.copytree(shards.root, tmp_path / "copy")
    zero = np.zeros(1, np.int64)
    opened = [spanmask.open(tmp_path / "copy", verify=verify) for verify in ("first", "always", "never")]
    readers = [RowReader([one], masks=Masks.STORED, backend=backend) for one in opened]
    for one in readers:
        one.read(zero, zero, 0)
    change(tmp_path / "copy" / shards.split.shards[0].path)
    with pytest.raises(ShardError, match=message):
        readers[1].read(zero, zero, 0)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1.1 * reader_module.LOOK_SECONDS)
    for one in (readers[0], readers[2]):
        with pytest.raises(ShardError, match=message):
            one.read(zero, zero, 0)
    with pytest.raises(ShardError, match=message):
        opened[0][0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_many_shards_few_stay_open_and_one_that_changed_until_it_is_opened_again_is_checked_again(
    dataset: Make, tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a pass over 10 TB would end with the 1,024th shard, or where that is raised with the 65,530th, which systems map no more of."""
    monkeypatch.setattr(reader_module, "OPEN_LIMIT", 2)
    monkeypatch.setattr(shelves, "_BLOCKS_KEPT", 2)
    made = dataset(shard_bytes=16 << 10)
    shutil.copytree(made.root, tmp_path / "copy")
    shards = spanmask.open(tmp_path / "copy")
    count = len(shards.split.shards)
    assert count > 6
    reader = RowReader([shards], masks=Masks.STORED, backend=backend)
    firsts = shards.row_offsets[:-1]
    for row in [*firsts, *firsts[::-1]]:
        block = reader.read(np.zeros(1, np.int64), np.array([row]), 0)
        assert equals(block, 0, made[int(row)])
        assert _open_below(tmp_path / "copy") <= 5
    rows = np.random.default_rng(0).permutation(len(shards))[:500]
    block = reader.read(np.zeros(len(rows), np.int64), rows, 0)
    assert all(equals(block, k, made[int(row)]) for k, row in enumerate(rows))
    reader.read(np.zeros(1, np.int64), firsts[-1:], 0)
    gc.collect()
    assert _open_below(tmp_path / "copy") <= 5
    for row in firsts[1:4]:
        reader.read(np.zeros(1, np.int64), np.array([row]), 0)
    path = tmp_path / "copy" / shards.split.shards[0].path
    data = bytearray(path.read_bytes())
    data[data.find(made[0].labels.tobytes())] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ShardError, match="checksum"):
        reader.read(np.zeros(1, np.int64), np.zeros(1, np.int64), 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_is_checked_once_however_often_its_shard_is_opened_again(
    dataset: Make, tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nearly each random row of more shards than may be open costs a check of 1,024."""
    monkeypatch.setattr(reader_module, "OPEN_LIMIT", 2)
    monkeypatch.setattr(shelves, "_BLOCKS_KEPT", 2)
    sums, checksum = list[bytes](), shard_file.checksum

    def noted(chunks: Any) -> bytes:
        sums.append(checksum(chunks))
        return sums[-1]

    monkeypatch.setattr(shard_file, "checksum", noted)
    made = dataset(shard_bytes=16 << 10)
    shutil.copytree(made.root, tmp_path / "copy")
    rows = np.random.default_rng(0).permutation(len(made))[:100]

    def checks(shards: ShardSet) -> int:
        before = len(sums)
        reader = RowReader([shards], masks=Masks.STORED, backend=backend)
        for row in rows:
            assert equals(reader.read(np.zeros(1, np.int64), np.array([row]), 0), 0, made[int(row)])
        return len(sums) - before

    made[0], *(made[int(row)] for row in rows)
    shards = spanmask.open(tmp_path / "copy")
    blocks = len({shards.locate(int(row)) for row in shards.row_offsets[:-1]})
    assert 6 < checks(shards) <= blocks < len(rows)
    assert checks(shards) == 0
    # What another process, or a fork, is handed was not checked there.
    assert checks(pickle.loads(pickle.dumps(shards))) > 6
    for path in (tmp_path / "copy").glob("*/*.arrow"):
        state = path.stat()
        path.write_bytes(path.read_bytes())
        # The very time that it had: who sets that cannot hide that the file was written to.
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert checks(shards) > 6
    always = spanmask.open(tmp_path / "copy", verify="always")
    assert checks(always) >= len(rows)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(64, 64), (256, 64), (1024, 256), (4096, 1024), (1 << 20, 16_384), (resource.RLIM_INFINITY, 16_384)],
)
def test_as_many_shards_stay_open_as_the_limit_of_files_allows(
    limit: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert reader_module._open_limit() == expected


def _open_below(folder: Path) -> int:
    """Return how many files of a folder this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return len({line.split()[-1] for line in lines if line.split()[-1].startswith(f"{folder}/")})


def test_more_shards_than_a_process_may_open_are_told_with_what_to_do(dataset: Make) -> None:
    shards = dataset()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert len(shards.split.shards) > 3
    held: list[int] = []
    gc.collect()  # Else what earlier tests left open could be closed meanwhile.
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for descriptor in (held.pop(), held.pop(), held.pop()):
            os.close(descriptor)
        with pytest.raises(StorageError, match=r"Too many open files.*raise the limit of open files \(ulimit -n\)"):
            list(spanmask.open(shards.root))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)


def test_digests_of_whole_shards_are_compared_on_request(dataset: Make, tmp_path: Path) -> None:
    shards = dataset()
    shards.check_digests()
    folder, path = damaged(shards, tmp_path / "copy")
    with pytest.raises(ShardError, match="SHA-256") as caught:
        spanmask.open(folder).check_digests()
    assert caught.value.path == f"train/{path.name}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_shard_is_named(dataset: Make, tmp_path: Path, backend: Backend) -> None:
    shards = dataset()
    shutil.copytree(shards.root, tmp_path / "copy")
    last = shards.split.shards[-1].path
    (tmp_path / "copy" / last).unlink()
    reader = RowReader([spanmask.open(tmp_path / "copy")], masks=Masks.STORED, backend=backend)
    with pytest.raises(IncompleteShards, match="missing") as caught:
        reader.read(np.zeros(1, np.int64), np.array([len(shards) - 1]), 0)
    assert caught.value.path == last


def test_an_id_beyond_the_vocabulary_is_refused_before_any_table_is_read(dataset: Make) -> None:
    shards = dataset()
    reader = RowReader([shards], masks=Masks.FRESH, backend=Backend.NUMPY)
    block = reader._shelves[0].read(np.arange(5), whole=True)
    ids = dataclasses.replace(block.input_ids, values=block.input_ids.values.copy())
    ids[3][1] = 65_000
    with pytest.raises(ShardError, match="row 3: it has an id that the vocabulary of 28,996 entries lacks"):
        reader._masker(0, 0).remask(dataclasses.replace(block, input_ids=ids))


def test_the_expected_dataset_and_vocabulary_are_demanded(dataset: Make) -> None:
    shards = dataset()
    manifest = shards.manifest
    good = {"fingerprint": manifest.fingerprint, "vocabulary": manifest.vocabulary.sha256}
    assert len(spanmask.open(shards.root, **good)) == len(shards)
    for name, found in good.items():
        with pytest.raises(MismatchError, match=f"its {name} is {found}, expected was 00"):
            spanmask.open(shards.root, **{**good, name: "00"})


#: Prints a digest of a dataset's first batches: folder, as three layouts and with both masks.
BATCHES = """
import hashlib, sys
from itertools import islice
import spanmask
from spanmask.loading import LoadConfig, Position, Stream
digest = hashlib.sha256()
for layout, masks in (("padded", "stored"), ("bucketed", "stored"), ("packed", "stored"), ("packed", "fresh")):
    config = LoadConfig(batch_size=4, layout=layout, masks=masks, window=16, sbo=True, edges="use", backend="compiled")
    for one in islice(Stream([spanmask.open(sys.argv[1])], config).batches(Position()), 3):
        for name in ("input_ids", "rows"):
            digest.update(getattr(one.batch, name).tobytes())
        for name in ("left", "right", "offsets", "labels"):
            digest.update(getattr(one.batch.sbo, name).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "annotated"])
def test_interpreted_and_bounds_checked_kernels_load_the_same_batches(dataset: Make, name: str) -> None:
    folder = dataset(**SCHEMES[name]).root
    told = []
    for switch in ("", "NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK", "SPANMASK_PLAIN_LOADS"):
        switches = {switch: "1"} if switch else {}
        command = [sys.executable, "-c", BATCHES, str(folder)]
        ended = subprocess.run(command, env={**os.environ, **switches}, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        told.append(ended.stdout)
    assert len(set(told)) == 1


def nothing_masked(folder: Path, **options: Any) -> Path:
    """A dataset whose documents are one supplied word each, longer than any budget."""
    source = folder / "words.jsonl"
    source.write_text("".join(json.dumps({"text": f"the cat sat on mat {k}", "words": [0]}) + "\n" for k in range(40)))
    preshard(source, folder / "out", PreshardConfig.of(seed=1, words_field="words", **options), jobs=1)
    return folder / "out"


@pytest.mark.parametrize("masks", ["stored", "fresh"])
def test_a_split_without_a_single_target_is_refused_by_name(tmp_path: Path, masks: str) -> None:
    folder = nothing_masked(tmp_path, holdout=0.5)
    for split in ("train", "validation"):
        shards = spanmask.open(folder, split)
        doors = [
            lambda shards=shards: ShardLoader(shards, batch_size=2, masks=masks),
            lambda shards=shards: ShardLoader(shards, batch_size=2, masks=masks, layout="packed"),
            lambda shards=shards: ShardDataset(shards, masks=masks),
            lambda shards=shards: Stream([shards], LoadConfig.of(batch_size=2, masks=masks)),
        ]
        for door in doors:
            with pytest.raises(ConfigError, match=f"none of the .* of split {split} is masked.*--scheme token"):
                door()


def test_training_refuses_it_before_it_begins_a_run(tmp_path: Path) -> None:
    folder = nothing_masked(tmp_path)
    with pytest.raises(ConfigError, match="split train is masked"):
        train(folder, tmp_path / "run", TrainConfig.of(steps=1, device="cpu"))
    assert not (tmp_path / "run").exists()
