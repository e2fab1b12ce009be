"""Whatever happens to the bytes of a dataset, it is found, and nothing but a SpanmaskError comes out.

What finds what: the manifest's digest finds every change of the manifest, on every way in. A shard's SHA-256 finds every change of
a shard, in `verify`. Reading alone finds every change of what a row holds, on first touch of its batch: it gives rows as written, or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import socket
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import json_values
import numpy as np
import pyarrow as pa
import pytest
from damage import bad_blocks, flips, random_flips
from figures import figure
from planted import plant
from resealed import records_of, reseal

import spanmask
from spanmask.auditing import audit
from spanmask.config import canonical_json, fingerprint
from spanmask.errors import ConfigError, IncompleteShards, MismatchError, ShardError, SpanmaskError
from spanmask.exporting.config import ExportConfig
from spanmask.exporting.run import export
from spanmask.loading import LoadConfig, Position, Stream
from spanmask.shard import canonical, reader, root, shard_file, structure
from spanmask.shard import manifest as manifests
from spanmask.shard import verify as verifying
from spanmask.shard.framing import record_batches
from spanmask.shard.manifest import read_manifest
from spanmask.shard.reader import ShardFile, ShardSet, open_shards
from spanmask.shard.schema import content_chunks
from spanmask.shard.shard_file import Verify
from spanmask.shard.verify import verify
from spanmask.shard.writer import checksum, write_shard
from spanmask.storage import digest

pytestmark = pytest.mark.faults

FORMAT_1 = Path(__file__).parents[1] / "golden" / "format-1" / "cased"


def use(folder: Path) -> list[SpanmaskError]:
    """Do with a dataset what people do; return what was raised. Anything but a SpanmaskError goes through."""
    raised: list[SpanmaskError] = []

    def attempt(action: Callable[[], Any]) -> None:
        try:
            action()
        except SpanmaskError as error:
            raised.append(error)

    attempt(lambda: verify(folder))
    attempt(lambda: [open_shards(folder)[i].original() for i in (0, -1)])
    attempt(lambda: list(open_shards(folder).blocks))
    attempt(lambda: audit(folder))
    return raised


def train_shard(folder: Path, number: int = 0) -> Path:
    return folder / read_manifest(folder).splits["train"].shards[number].path


# --- Flipped bits


@pytest.fixture
def small(fresh, rewrite) -> Path:
    """A dataset of one shard with three rows."""
    folder = fresh("single")

    rewrite(folder, lambda shards: shards[0].__delitem__(slice(3, None)))
    assert train_shard(folder).stat().st_size < 4096
    return folder


def test_the_digest_finds_every_flipped_bit_of_a_shard(fresh, count):
    """The first thing that `verify` does with a shard."""
    shards = open_shards(fresh("stored"))
    (record, *_), found = shards.split.shards, 0
    for _ in flips(shards.root / record.path):
        try:
            shards.check_digest(0)
        except ShardError:
            found += 1
    assert found == 8 * record.bytes > 44_560
    shards.check_digest(0)
    count(found)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_shard_never_gives_another_row(every, small, count):
    """Reading finds each flip that changes a row, by structure or checksum; one that it does not find lies in padding and the like."""
    manifest = read_manifest(small)
    (record,) = manifest.splits["train"].shards
    written = ShardFile(small, record, manifest).batch(0).to_pylist()
    found = silent = 0
    for place, bit in flips(small / record.path):
        if (8 * place + bit) % every:
            continue
        try:
            batch = ShardFile(small, record, manifest).batch(0)
        except ShardError:
            found += 1
            continue
        assert batch.to_pylist() == written, (place, bit)
        silent += 1
    assert found > silent > 0
    count(found + silent)


@pytest.mark.parametrize("every", [61, pytest.param(figure(7, 1), marks=pytest.mark.slow, id="slow")])
def test_verify_fails_for_flipped_bits_of_a_shard(every, small, count):
    """Each seventh bit in the slow leg, so each of a byte's eight once in 7 bytes; all in a long run. The digest meets all above."""
    (record,) = read_manifest(small).splits["train"].shards
    for place, bit in flips(small / record.path):
        if (8 * place + bit) % every == 0:
            (finding,) = verify(small).findings
            assert finding.path == record.path
    assert verify(small).ok
    count(8 * record.bytes // every)


@pytest.mark.slow
def test_every_bit_of_the_manifest_is_guarded(small, count):
    count(8 * (small / "manifest.json").stat().st_size)
    for place, bit in flips(small / "manifest.json"):
        try:
            read_manifest(small)
        except ShardError:
            continue
        pytest.fail(f"bit {bit} of byte {place}")
    assert verify(small).ok


def test_verify_tells_of_a_damaged_manifest(small):
    path = small / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"seed":7', b'"seed":8'))
    (finding,) = verify(small).findings
    assert finding.path == "manifest.json"
    assert "digest" in finding.message


def read_all(folder: Path, record: Any, manifest: Any, **options: Any) -> list[Any]:
    """Return the batches of a shard, each as Arrow's, or None where reading refuses it; nothing where the file is refused."""
    found: list[Any] = []
    try:
        file = ShardFile(folder, record, manifest, **options)
    except ShardError:
        return found
    for number in range(len(file)):
        try:
            found.append(file.batch(number))
        except ShardError:
            found.append(None)
    return found


@pytest.fixture
def larger(fresh) -> Callable[[int], tuple[Path, Any, Any]]:
    """A dataset whose only shard has its rows again and again, with its record and manifest."""

    def make(rows: int) -> tuple[Path, Any, Any]:
        folder = fresh("single")
        table = table_of(folder)
        table = pa.concat_tables([table] * (rows // table.num_rows))
        record = write_shard(folder, records_of(folder)[0].path, table)
        return folder, record, read_manifest(folder)

    return make


def holds(found: list[Any], written: list[Any]) -> bool:
    """Whether reading gave rows as written or none."""
    return all(batch is None or batch.equals(known) for batch, known in zip(found, written, strict=bool(found)))


def test_a_flipped_bit_of_a_large_shard_costs_its_batch_alone(larger, count):
    """Found when its batch is first touched; the batches beside it are read."""
    folder, record, manifest = larger(figure(20_000, 460_000))
    path = folder / record.path
    starts = record_batches(path.read_bytes())
    written = read_all(folder, record, manifest)
    found, flipped = 0, figure(100, 1000)
    for place in random_flips(path, flipped):
        own = max(bisect_right(starts, place) - 1, 0)
        try:
            file = ShardFile(folder, record, manifest)
        except ShardError:
            found += 1
            continue
        with contextlib.suppress(ShardError):
            assert file.batch(own).equals(written[own]), place
        found += 1
        beside = own - 1 if own else own + 1
        assert file.batch(beside).equals(written[beside])
    count(found)
    assert found == flipped


def test_a_block_that_was_lost_is_found(larger, count):
    """Zeroed, another of the file's, or as it was before the file was written."""
    folder, record, manifest = larger(2000)
    path = folder / record.path
    written, stale = read_all(folder, record, manifest), path.read_bytes()[64:]
    blocks = figure(90, 510)
    for place in bad_blocks(path, stale, blocks):
        assert digest(path) != record.sha256
        assert holds(read_all(folder, record, manifest), written), place
    count(blocks)


# --- The defences taken out


def test_rows_that_no_checksum_guards_are_not_always_as_written(small):
    manifest = read_manifest(small)
    (record,) = manifest.splits["train"].shards
    written = read_all(small, record, manifest)
    flipped = islice(flips(small / record.path), 0, None, 61)
    assert not all(holds(read_all(small, record, manifest, verify=Verify.NEVER), written) for _ in flipped)


def test_a_verify_that_compares_no_digest_is_found(small, monkeypatch):
    plant(monkeypatch, reader, "if found != record.sha256:", "if found is None:")
    path = train_shard(small)
    assert any(verify(small).ok for place, bit in flips(path) if (8 * place + bit) % 61 == 0)


def test_a_reader_that_compares_no_size_is_found(small, monkeypatch):
    plant(monkeypatch, root, "if state.st_size != record.bytes:", "if state.st_size is None:")
    manifest = read_manifest(small)
    (record,) = manifest.splits["train"].shards
    path = train_shard(small)
    path.write_bytes(2 * path.read_bytes())
    assert len(ShardFile(small, record, manifest)) == 1, "Arrow reads what its last footer says"


# --- Cut, lengthened, doubled


def test_verify_is_not_ended_by_a_cut_of_what_it_reads(fresh, monkeypatch):
    """In a child: mapped, the shard would end it by SIGBUS."""
    folder, problem = fresh("single"), verifying.content_problem
    (record,) = records_of(folder)

    def cut_first(rows: Any) -> Any:
        os.truncate(folder / record.path, 0)
        return problem(rows)

    monkeypatch.setattr(verifying, "content_problem", cut_first)
    child = get_context("fork").Process(target=lambda: os._exit(100 + verify(folder).ok))
    child.start()
    child.join()
    assert child.exitcode == 101, "it was whole when it was read"
    assert not verify(folder).ok


@pytest.mark.slow
def test_a_shard_cut_at_any_length_is_refused(fresh, count):
    folder = fresh("stored")
    manifest = read_manifest(folder)
    (record, *_) = manifest.splits["train"].shards
    count(record.bytes)
    for size in range(record.bytes - 1, -1, -1):
        os.truncate(folder / record.path, size)
        with pytest.raises(ShardError, match="bytes, the manifest says"):
            ShardFile(folder, record, manifest)
        with pytest.raises(ShardError):
            ShardFile(folder, replace(record, bytes=size), manifest).batch(0)
        if size % 512 == 0:
            assert not verify(folder).ok


def test_a_manifest_cut_at_any_length_is_refused(small, count):
    path = small / "manifest.json"
    count(path.stat().st_size)
    for size in range(path.stat().st_size - 1, -1, -1):
        os.truncate(path, size)
        with pytest.raises(ShardError):
            read_manifest(small)


def test_any_few_bytes_after_the_end_are_refused(small, count):
    manifest = read_manifest(small)
    (record,) = manifest.splits["train"].shards
    data = train_shard(small).read_bytes()
    for more in range(1, 65):
        train_shard(small).write_bytes(data + data[:more])
        with pytest.raises(ShardError, match="bytes, the manifest says"):
            ShardFile(small, record, manifest)
    count(64)


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"ARROW1", b"\xff" * 64, None])
def test_bytes_after_the_end_are_refused(small, tail):
    path = train_shard(small)
    data = path.read_bytes()
    path.write_bytes(data + (data if tail is None else tail))
    (finding,) = verify(small).findings
    assert finding.path == str(path.relative_to(small))
    with pytest.raises(ShardError, match="bytes, the manifest says"):
        open_shards(small)[0]
    path.write_bytes(data)
    assert verify(small).ok


# --- Shards that are not where, or what, they should be


def missing(folder, other):
    train_shard(folder, 1).unlink()
    return "missing"


def first_missing(folder, other):
    train_shard(folder, 0).unlink()
    return "missing"


def folder_missing(folder, other):
    (folder / "validation").rename(folder.parent / "gone")
    return "missing"


def extra(folder, other):
    (folder / "train" / "shard-99999-00000.arrow").write_bytes(train_shard(folder).read_bytes())
    return "not in the manifest"


def temporary_left(folder, other):
    (folder / "train" / ".tmp-0-shard").write_bytes(b"")
    return "not in the manifest"


def renamed(folder, other):
    train_shard(folder).rename(folder / "train" / "shard-00009-00009.arrow")
    return "not in the manifest"


def swapped(folder, other):
    one, two = train_shard(folder, 0), train_shard(folder, 1)
    held = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(held)
    return "SHA-256"


def doubled(folder, other):
    train_shard(folder, 1).write_bytes(train_shard(folder, 0).read_bytes())
    return "SHA-256"


def of_another_run(folder, other):
    train_shard(folder).write_bytes(train_shard(other).read_bytes())
    return "SHA-256"


def of_the_other_split(folder, other):
    path = folder / read_manifest(folder).splits["validation"].shards[0].path
    path.write_bytes(train_shard(folder).read_bytes())
    return "SHA-256"


def empty(folder, other):
    train_shard(folder).write_bytes(b"")
    return "SHA-256"


def link_to_itself(folder, other):
    path = train_shard(folder)
    held = path.rename(path.parent.parent / "held.arrow")
    path.symlink_to(held)
    return "not a regular file"


def link_outside(folder, other):
    path = train_shard(folder)
    path.rename(folder.parent / "outside.arrow")
    path.symlink_to(folder.parent / "outside.arrow")
    return "not a regular file"


def folder_is_a_link(folder, other):
    (folder / "train").rename(folder.parent / "outside")
    (folder / "train").symlink_to(folder.parent / "outside")
    return "not a regular file"


def folder_links_to_itself(folder, other):
    (folder / "train").rename(folder.parent / "outside")
    (folder / "train").symlink_to(folder / "train")
    return "not a regular file"


def folder_is_a_file(folder, other):
    (folder / "train").rename(folder.parent / "outside")
    (folder / "train").write_bytes(b"")
    return "not a regular file"


def fifo(folder, other):
    path = train_shard(folder)
    path.unlink()
    os.mkfifo(path)
    return "not a regular file"


def a_socket(folder, other):
    path = train_shard(folder)
    path.unlink()
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    return "not a regular file"


def a_folder(folder, other):
    path = train_shard(folder)
    path.unlink()
    path.mkdir()
    return "not a regular file"


@pytest.mark.parametrize(
    "damage",
    [
        *(missing, first_missing, folder_missing, extra, temporary_left, renamed, swapped, doubled, of_another_run),
        *(of_the_other_split, empty, link_to_itself, link_outside, folder_is_a_link, folder_links_to_itself),
        *(folder_is_a_file, fifo, a_socket, a_folder),
    ],
)
def test_shards_that_are_not_the_manifests_are_found(damage, fresh):
    folder, other = fresh("paper"), fresh("reference")
    message = damage(folder, other)
    findings = verify(folder).findings
    assert any(message in finding.message for finding in findings)
    assert len({finding.path for finding in findings}) == len(findings), "each shard is told once, under its own name"
    if damage in (missing, first_missing, folder_missing):
        split = "validation" if damage is folder_missing else "train"
        with pytest.raises(IncompleteShards, match="missing"):
            list(open_shards(folder, split).blocks)
    use(folder)


def test_sound_shards_beside_a_damaged_one_are_not_accused(fresh):
    folder = fresh("paper")
    path = train_shard(folder, 2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (finding,) = verify(folder).findings
    assert finding.path == str(path.relative_to(folder))


# --- Hostile manifests


def put(*keys_and_value: Any) -> Callable[[dict[str, Any]], None]:
    *keys, value = keys_and_value
    return lambda content: json_values.put(content, tuple(keys), value)


SHARD = ("splits", "train", "shards", 0)
PATHS = [
    "../outside.arrow",
    "/etc/passwd",
    "train/../../outside.arrow",
    "train/shard-00000-00000.arrow/../../../outside.arrow",
    "./train/shard-00000-00000.arrow",
    "train//shard-00000-00000.arrow",
    "train/sub/shard-00000-00000.arrow",
    "train/shard-00000-00000.arrow\n",
    "train/shard-00000-00000.arrow\0",
    "train/shard-00000-00000.arrow ",
    "\x1b[31mtrain/shard-00000-00000.arrow",
    "train\\shard-00000-00000.arrow",
    "C:\\shard-00000-00000.arrow",
    "\\\\host\\share\\shard-00000-00000.arrow",
    "file:///etc/passwd",
    "s3://bucket/shard-00000-00000.arrow",
    "~/shard-00000-00000.arrow",
    "$HOME/shard-00000-00000.arrow",
    "%2e%2e/shard-00000-00000.arrow",
    "TRAIN/shard-00000-00000.arrow",
    "train/shard-0-0.arrow",
    "train/shard-" + "٠" * 5 + "-00000.arrow",
    "train/" + "x" * 300 + ".arrow",
    "validation/shard-00000-00000.arrow",
    "train",
    "",
    ".",
    5,
    None,
    ["train/shard-00000-00000.arrow"],
]
HOSTILE = {
    **{f"path {path!r}"[:60]: put(*SHARD, "path", path) for path in PATHS},
    "no shards": put("splits", "train", "shards", []),
    "shards no list": put("splits", "train", "shards", {"a": 1}),
    "shard no object": put("splits", "train", "shards", ["train/shard-00000-00000.arrow"]),
    "no splits": put("splits", {}),
    "splits a list": put("splits", []),
    "a split null": put("splits", "train", None),
    "a split a list": put("splits", "train", []),
    "a split a number": put("splits", "train", 5),
    "a kept field that no shard has": put("config", "corpus", "keep", ["x"]),
    "a foreign split": lambda content: content["splits"].update({"../test": content["splits"]["train"]}),
    "the same shard twice": lambda content: content["splits"]["train"]["shards"].append(
        content["splits"]["train"]["shards"][0]
    ),
    "rows text": put(*SHARD, "rows", "12"),
    "rows true": put(*SHARD, "rows", True),
    "rows negative": put(*SHARD, "rows", -1),
    "rows beyond memory": put(*SHARD, "rows", 1 << 62),
    "bytes beyond 64 bits": put(*SHARD, "bytes", 1 << 70),
    "tokens a fraction": put(*SHARD, "tokens", 1.5),
    "sha256 short": put(*SHARD, "sha256", "00"),
    "content_sha256 no hexadecimal": put(*SHARD, "content_sha256", "g" * 64),
    "first of three": put(*SHARD, "first", [0, 0, 0]),
    "last text": put(*SHARD, "last", ["a", "b"]),
    "last a number": put(*SHARD, "last", 5),
    "an unknown part of a shard": put(*SHARD, "url", "http://example.org"),
    "rows of the split": put("splits", "train", "rows", 3),
    "tokens of the split": put("splits", "train", "tokens", 3),
    "content digest of the split": put("splits", "train", "content_digest", "0" * 64),
    "format version true": put("format_version", True),
    "format version 3": put("format_version", 3),
    "format version 0": put("format_version", 0),
    "format version text": put("format_version", "1"),
    "algorithm version text": put("algorithm_version", "1"),
    "config empty": put("config", {}),
    "config unknown option": put("config", "masking", "colour", "red"),
    "config out of range": put("config", "masking", "mask_ratio", 2.0),
    "config a list": put("config", []),
    "config sections lists": put("config", "masking", []),
    "words maybe": put("words", "maybe"),
    "vocabulary of a path": put("vocabulary", "name", "/etc/passwd"),
    "vocabulary of a path above": put("vocabulary", "name", "../vocab.txt"),
    "vocabulary a number": put("vocabulary", "name", 5),
    "vocabulary of another casing": put("vocabulary", "cased", False),
    "vocabulary of another hash": put("vocabulary", "sha256", "0" * 64),
    "vocabulary of another size": put("vocabulary", "size", 7),
    "vocabulary wide": put("vocabulary", "size", 1 << 20),
    "vocabulary of other special ids": put("vocabulary", "special_ids", "mask", 0),
    "vocabulary entries numbers": put("vocabulary", "entries", [1, 2, 3]),
    "vocabulary entries few": put("vocabulary", "entries", ["a"]),
    "vocabulary entries twice": put("vocabulary", "entries", ["a", "a"]),
    "vocabulary entries text": put("vocabulary", "entries", "abc"),
    "statistics of another split": lambda content: content["statistics"].update(
        test=content["statistics"].pop("train")
    ),
    "statistics a list": put("statistics", []),
    "statistics of no rows": put("statistics", "train", {}),
    "sampling missing": put("sampling", json_values.GONE),
    "conservation empty": put("conservation", {}),
    "conservation text": put("conservation", "tokens", "in", "5"),
    "conservation wrong": put("conservation", "tokens", "in", 5),
    "dropped a list": put("conservation", "tokens", "dropped", []),
    "inputs of nothing": put("inputs", [{}]),
    "inputs a number": put("inputs", 5),
    "config fingerprint of another": put("config_fingerprint", "0" * 64),
    "unigram counts text": put("unigram", {"counts": ["a"], "sha256": ""}),
    "unigram counts huge": put("unigram", {"counts": [1 << 70], "sha256": ""}),
    "unigram a list": put("unigram", []),
}

_opened: list[str] | None = None


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event in (
        "open",
        "os.listdir",
        "os.scandir",
        "os.exec",
        "socket.connect",
        "subprocess.Popen",
    ):
        _opened.append(
            os.fspath(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else str(arguments[0])
        )


@pytest.fixture(scope="module")
def audit_hook(datasets) -> None:
    """Hears of every file Python opens, while `_opened` is a list. Hooks cannot be taken off again."""
    # Modules and kernels are loaded by whichever test is the first to use them: here.
    assert use(datasets("paper")) == []
    sys.addaudithook(_hear)


@pytest.fixture
def opened(audit_hook) -> Iterator[list[str]]:
    """Every path opened or listed from here on."""
    global _opened  # noqa: PLW0603
    opened: list[str] = []
    _opened = opened
    yield opened
    _opened = None


def assert_inside(paths: list[str], folder: Path) -> None:
    package = Path(spanmask.__file__).parent
    allowed = (str(folder), str(package), sys.prefix, sys.base_prefix, "/proc/")
    assert [path for path in paths if not path.startswith(allowed)] == []


#: Those that only `verify` and `audit` refuse: they say nothing of where to read, and do not keep a row from being read.
LATE = {
    "vocabulary of a path",
    "vocabulary of a path above",
    "vocabulary of another casing",
    "vocabulary of another hash",
    "vocabulary of other special ids",
    "conservation wrong",
    "config fingerprint of another",
    "a kept field that no shard has",
}


#: Of format 1, whose manifest has an object for each shard.
OLD = {
    name
    for name in HOSTILE
    if name.startswith(("path", "shard", "no shards", "the same shard", "rows ", "first", "last"))
}
OLD |= {"bytes beyond 64 bits", "tokens a fraction", "sha256 short", "content_sha256 no hexadecimal"}
OLD |= {"an unknown part of a shard"}
OLD -= {"rows of the split"}


@pytest.mark.parametrize(
    ("version", "name"), [(1, name) for name in HOSTILE] + [(2, name) for name in HOSTILE if name not in OLD]
)
def test_a_hostile_manifest_is_refused_and_opens_nothing_outside(name, version, fresh, tmp_path, opened):
    folder = fresh("paper") if version == 2 else Path(shutil.copytree(FORMAT_1, tmp_path / "format 1"))
    path = folder / "manifest.json"
    content = json.loads(path.read_bytes())
    del content["digest"]
    HOSTILE[name](content)
    with contextlib.suppress(Exception):
        content["fingerprint"] = manifests._content_fingerprint(content)
    path.write_bytes(canonical_json({**content, "digest": fingerprint(content)}) + b"\n")
    del opened[:]
    assert not verify(folder).ok
    if name not in LATE and name != "vocabulary wide":
        with pytest.raises(ShardError):
            open_shards(folder)
    use(folder)
    assert_inside(opened, folder)


@pytest.mark.parametrize("damage", [link_outside, folder_is_a_link, folder_links_to_itself])
def test_links_lead_nowhere(damage, fresh, opened):
    folder = fresh("paper")
    damage(folder, folder)
    outside = [str(folder.parent / "outside"), str(folder.parent / "outside.arrow")]
    del opened[:]
    use(folder)
    assert not [path for path in opened if path.startswith(tuple(outside))]
    assert not any(Path(path).is_symlink() or Path(path).parent.is_symlink() for path in opened)


def test_a_reader_that_follows_links_is_found(fresh, opened, monkeypatch):
    """The defence taken out: a shard may be a link."""
    plant(monkeypatch, root, "state = path.lstat() if stat.S_ISDIR(folder.st_mode) else folder", "state = path.stat()")
    with pytest.raises(AssertionError):
        test_links_lead_nowhere(link_outside, fresh, opened)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"format_version":1}\n',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}\n",
        b'{"format_version":NaN}\n',
        b'{"format_version":1e999}\n',
        b'{"format_version":' + b"9" * 5000 + b"}\n",
        b'{"format_version":1,"format_version":1}\n',
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
        b'{"a":"\\ud800"}\n',
        b"\0" * 1000,
    ],
)
def test_what_is_no_manifest_is_refused(data, fresh):
    folder = fresh("single")
    (folder / "manifest.json").write_bytes(data)
    (finding,) = verify(folder).findings
    assert finding.path == "manifest.json"
    assert all(isinstance(error, ShardError) for error in use(folder))


def _with_a_space(data: bytes) -> bytes:
    return data.replace(b":", b": ", 1)


@pytest.mark.parametrize(
    "change",
    [
        _with_a_space,
        lambda data: data + b"\n",
        lambda data: data + data,
        lambda data: data[:-1],
        lambda data: b" " + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b'"words":"table"', b'"words":"stored","words":"table"'),
        lambda data: data.replace(b"0.15", b"0.150"),
        lambda data: b"{" + data[1:].replace(b"{", b'{"zzz":0,', 1),
    ],
)
def test_a_manifest_in_other_words_is_refused(change, fresh):
    folder = fresh("single")
    path = folder / "manifest.json"
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    with pytest.raises(ShardError):
        read_manifest(folder)


def test_a_reader_that_takes_other_words_is_found(fresh, monkeypatch):
    """The defence taken out: JSON need not be canonical."""
    plant(monkeypatch, canonical, "return whole if _is_text_of(whole, data) else None", "return whole")
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_manifest_in_other_words_is_refused(_with_a_space, fresh)


def test_a_huge_manifest_is_not_read(fresh):
    folder = fresh("single")
    os.truncate(folder / "manifest.json", (64 << 20) + 1)
    with pytest.raises(ShardError, match="at most"):
        read_manifest(folder)


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_a_manifest_is_a_plain_file(kind, fresh):
    folder = fresh("single")
    path = folder / "manifest.json"
    held = path.rename(folder.parent / "held.json")
    {"fifo": lambda: os.mkfifo(path), "folder": path.mkdir, "link": lambda: path.symlink_to(held)}[kind]()
    with pytest.raises(ShardError, match="regular file"):
        read_manifest(folder)
    assert not verify(folder).ok


def test_a_folder_without_a_manifest_is_incomplete(tmp_path):
    (finding,) = verify(tmp_path).findings
    assert "no manifest" in finding.message
    with pytest.raises(IncompleteShards):
        open_shards(tmp_path)


def test_no_folder_and_no_split_are_config_errors(tmp_path, datasets):
    for action in (
        lambda: verify(tmp_path / "none"),
        lambda: open_shards(tmp_path / "none"),
        lambda: audit(tmp_path / "none"),
    ):
        with pytest.raises(ConfigError, match="no such folder"):
            action()
    with pytest.raises(ConfigError, match="no split 'test'"):
        open_shards(datasets("single"), "test")


def test_rows_masked_by_other_rules_are_read_but_not_replayed(fresh):
    folder = fresh("single")
    config = read_manifest(folder).config
    vocabulary = read_manifest(folder).vocabulary

    def change(content: dict[str, Any]) -> None:
        content["algorithm_version"] = 77
        content["config_fingerprint"] = manifests._config_fingerprint(config.differing(), vocabulary.sha256, 77, 2)

    reseal(folder, change)
    assert verify(folder).ok
    assert len(open_shards(folder)[0].input_ids)
    with pytest.raises(MismatchError, match="algorithm version 77"):
        audit(folder)


# --- Hostile shards, with a manifest that agrees with them


Recast = Callable[[pa.Table], pa.Table]


@pytest.fixture
def replace_shard():
    """Put a table in place of a dataset's only shard, as Arrow writes it; sizes, digests and checksums are right."""

    def put_table(
        folder: Path, table: pa.Table, *, batch_rows: int = 1024, rows: int | None = None, **options: Any
    ) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            for batch in table.combine_chunks().to_batches(max_chunksize=batch_rows):
                try:
                    crc = checksum(content_chunks(batch))
                except (ValueError, TypeError, AttributeError, pa.ArrowException):
                    crc = b"00000000"
                writer.write_batch(batch, custom_metadata={b"crc32": crc})
        data = sink.getvalue().to_pybytes()
        path = train_shard(folder)
        path.write_bytes(data)
        put_bytes(folder, data, table.num_rows if rows is None else rows)

    def put_bytes(folder: Path, data: bytes, rows: int) -> None:
        path = train_shard(folder)
        path.write_bytes(data)

        record, *others = records_of(folder)
        digest = hashlib.sha256(data).hexdigest()
        told = replace(record, bytes=len(data), rows=rows, tokens=3 * rows, sha256=digest)
        reseal(folder, records={"train": [told, *others]})

    put_table.bytes = put_bytes
    return put_table


def table_of(folder: Path) -> pa.Table:
    return pa.ipc.open_file(train_shard(folder)).read_all()


def with_column(table: pa.Table, name: str, column: pa.Array, *, field: pa.Field | None = None) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = field or pa.field(name, column.type, nullable=False)
    schema = table.schema.set(place, field)
    columns = [chunked.combine_chunks() for chunked in table.columns]
    columns[place] = column
    return pa.Table.from_arrays([pa.chunked_array([column]) for column in columns], schema=schema)


def assert_refused(folder: Path, match: str) -> None:
    (finding,) = verify(folder).findings
    assert match in finding.message
    with pytest.raises(ShardError, match=match):
        open_shards(folder)[0]
    use(folder)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_batches_are_refused(codec, fresh, replace_shard):
    folder = fresh("single")
    replace_shard(folder, table_of(folder), compression=codec)
    assert_refused(folder, "compressed")


def test_a_bomb_is_refused_before_it_unpacks(fresh, replace_shard):
    folder = fresh("single")
    table = table_of(folder).slice(0, 1)
    zeros = pa.array([np.zeros(50_000_000, np.uint16)], type=table.schema.field("input_ids").type)
    replace_shard(folder, with_column(table, "input_ids", zeros), compression="zstd")
    assert train_shard(folder).stat().st_size < 100_000
    pool, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        assert_refused(folder, "compressed")
        assert pool.max_memory() < 1 << 20
    finally:
        pa.set_memory_pool(before)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a payload was unpickled",)


def as_type(name: str, kind: pa.DataType) -> Recast:
    return lambda table: with_column(table, name, table.column(name).combine_chunks().cast(kind))


def dictionary(table):
    return with_column(table, "name", table.column("name").combine_chunks().dictionary_encode())


def extension(table):
    """The column that pyarrow before 14.0.1 unpickled on opening (CVE-2023-47248)."""
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Payload())}
    field = table.schema.field("segment").with_metadata(metadata)
    return with_column(table, "segment", table.column("segment").combine_chunks(), field=field)


def list_view(table):
    column = table.column("input_ids").combine_chunks()
    offsets = column.offsets.to_numpy()
    views = pa.ListViewArray.from_arrays(offsets[:-1], np.diff(offsets).astype(np.int32), column.values)
    return with_column(table, "input_ids", views)


def run_ends(table):
    values = table.column("number").combine_chunks()
    ends = pa.array(np.arange(1, len(values) + 1), pa.int32())
    return with_column(table, "number", pa.RunEndEncodedArray.from_arrays(ends, values))


def nullable(table):
    column = table.column("segment").combine_chunks()
    return with_column(table, "segment", column, field=pa.field("segment", pa.uint32()))


def list_field_renamed(table):
    kind = pa.list_(pa.field("element", pa.uint16(), nullable=False))
    return as_type("input_ids", kind)(table)


def column_missing(table):
    return table.drop_columns(["labels"])


def column_added(table):
    return table.append_column(pa.field("more", pa.uint32(), nullable=False), table.column("segment"))


def column_twice(table):
    return table.append_column(table.schema.field("segment"), table.column("segment"))


def kept_twice(table):
    return table.append_column(table.schema.field("number"), table.column("number"))


def columns_reordered(table):
    return table.select(table.column_names[::-1])


def other_metadata(table):
    return table.replace_schema_metadata({"spanmask.format_version": "1"})


def field_metadata(table):
    field = table.schema.field("segment").with_metadata({"PARQUET:field_id": "1"})
    return with_column(table, "segment", table.column("segment").combine_chunks(), field=field)


@pytest.mark.parametrize(
    "recast",
    [
        as_type("name", pa.large_string()),
        as_type("name", pa.string_view()),
        as_type("name", pa.binary()),
        as_type("number", pa.decimal128(20)),
        as_type("segment", pa.uint64()),
        as_type("input_ids", pa.large_list(pa.field("item", pa.uint16(), nullable=False))),
        as_type("input_ids", pa.list_(pa.field("item", pa.uint32(), nullable=False))),
        as_type("input_ids", pa.list_(pa.field("item", pa.int16(), nullable=False))),
        *(
            list_view,
            dictionary,
            extension,
            run_ends,
            nullable,
            list_field_renamed,
            column_missing,
            column_added,
            column_twice,
        ),
        *(kept_twice, columns_reordered, other_metadata, field_metadata),
    ],
)
def test_other_schemas_are_refused(recast, fresh, replace_shard, rewrite):
    folder = fresh("stored")
    keep_one_shard(folder, replace_shard)
    replace_shard(folder, recast(table_of(folder)))
    assert_refused(folder, "schema")


def keep_one_shard(folder: Path, replace_shard) -> None:
    """Make a dataset's first shard its only one."""
    first, *others = records_of(folder)
    for record in others:
        (folder / record.path).unlink()
    reseal(folder, records={"train": [first]})


def test_kept_columns_have_one_type_throughout(fresh, rewrite):
    folder = fresh("stored")
    manifest = read_manifest(folder)
    shards = ShardSet(folder, manifest, manifest.splits["train"])
    file = shards.file(0)
    place = file.schema.get_field_index("number")
    shards.file(1)._reader = None
    opened = shards._files.pop(1)

    class Other(ShardFile):
        def __init__(self, *_: Any, **_options: Any) -> None:
            self.record = opened.record

        schema = file.schema.set(place, pa.field("number", pa.int8(), nullable=False))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ShardFile", Other)
        with pytest.raises(ShardError, match="other types"):
            shards.file(1)


def test_a_null_is_refused(fresh, replace_shard):
    folder = fresh("single")
    table = table_of(folder)
    segments = table.column("segment").to_pylist()
    replace_shard(folder, with_column(table, "segment", pa.array([None, *segments[1:]], pa.uint32())))
    assert_refused(folder, "null")


def test_a_null_in_a_list_is_refused(fresh, replace_shard):
    folder = fresh("single")
    table = table_of(folder)
    lists = table.column("labels").to_pylist()
    field = table.schema.field("labels")
    offsets = table.column("labels").combine_chunks().offsets
    values = pa.array([None, *[item for row in lists for item in row][1:]], pa.uint16())
    made = pa.ListArray.from_arrays(offsets, values).cast(pa.list_(pa.uint16()))
    buffers = [None, made.buffers()[1]]
    column = pa.ListArray.from_buffers(field.type, len(made), buffers, children=[values])
    replace_shard(folder, with_column(table, "labels", column))
    assert_refused(folder, "null")


def another_token(rows):
    place = next(k for k in range(1, len(rows[0]["input_ids"]) - 1) if k not in masked_places(rows[0]))
    rows[0]["input_ids"][place] = 1999


def another_document(rows):
    for row in rows:
        row["document_id"] += 1 << 40


def masked_places(row):
    return {place for span in zip(row["span_starts"], row["span_ends"], strict=True) for place in range(*span)}


@pytest.mark.parametrize("change", [another_token, another_document])
@pytest.mark.parametrize("checked", ["first", "always", "never"])
def test_a_sound_shard_of_other_rows_and_the_same_size_is_refused_where_it_is_opened(change, checked, fresh):
    """As of another dataset: its checksums are its own, and agree."""
    folder = fresh("single")
    rows = table_of(folder).to_pylist()
    change(rows)
    (record,) = records_of(folder)
    written = write_shard(folder, record.path, pa.Table.from_pylist(rows, schema=table_of(folder).schema))
    assert written.bytes == record.bytes
    with pytest.raises(ShardError, match="it holds other rows than the manifest says"):
        open_shards(folder, verify=checked)[0]
    reseal(folder, records={"train": [written]})
    assert len(open_shards(folder, verify=checked)[0].input_ids)


def test_batches_of_other_sizes_are_refused(fresh, replace_shard):
    folder = fresh("single")
    table = table_of(folder)
    replace_shard(folder, table, batch_rows=2)
    assert_refused(folder, "record batches")
    replace_shard(folder, pa.concat_tables([table] * 400), batch_rows=1000)
    assert_refused(folder, "1024")


def test_a_shard_of_fewer_rows_than_stated_is_refused(fresh, replace_shard):
    folder = fresh("single")
    table = pa.concat_tables([table_of(folder)] * 100)
    for rows in (table.num_rows - 1, table.num_rows + 1, 1024):
        replace_shard(folder, table, rows=rows)
        assert_refused(folder, f"not {rows}")
    replace_shard(folder, table, rows=2000)
    assert_refused(folder, "record batches do not hold 2000 rows")
    replace_shard(folder, table, rows=50_000)
    assert_refused(folder, "other bytes than its rows and tokens take")


def lie(folder: Path, column: str, offset: int, replace_shard: Any) -> None:
    """Put a lying offset into a dataset's only shard; its checksum is that of what it holds then, and all digests too."""
    table = table_of(folder)
    offsets = table.column(column).combine_chunks().offsets.to_numpy().astype("<i4")
    data = train_shard(folder).read_bytes()
    assert data.count(offsets.tobytes()) == (2 if column == "span_starts" else 1), "those of span_ends are the same"
    lying = offsets.copy()
    lying[3] = offset
    data = data.replace(offsets.tobytes(), lying.tobytes(), 1)
    batch, told = pa.ipc.open_file(pa.BufferReader(data)).get_batch_with_custom_metadata(0)
    assert data.count(told[b"crc32"]) == 1
    data = data.replace(told[b"crc32"], checksum(content_chunks(batch)))
    replace_shard.bytes(folder, data, table.num_rows)


@pytest.mark.parametrize("offset", [-1, 1 << 30, 2**31 - 1, 0])
@pytest.mark.parametrize("column", ["input_ids", "span_starts", "labels"])
def test_offsets_that_lie_never_reach_a_kernel(offset, column, fresh, replace_shard, monkeypatch):
    folder = fresh("single")
    lie(folder, column, offset, replace_shard)
    monkeypatch.setattr(verifying, "content_problem", lambda _: pytest.fail("a kernel would be entered"))
    monkeypatch.setattr(shard_file, "structure_problem", lambda *_: pytest.fail("rows would be looked at"))
    assert_refused(folder, "record batch 0 is damaged")


def test_a_reader_that_checks_no_offsets_is_found(fresh, replace_shard, monkeypatch):
    """The defence taken out: its checksum agrees with a batch that lies."""
    folder = fresh("single")
    lie(folder, "input_ids", 1 << 30, replace_shard)
    monkeypatch.setattr(structure, "structure_problem", lambda *_: pytest.fail("rows would be looked at"))
    plant(monkeypatch, shard_file, "batch.validate(full=True)", "pass")
    with pytest.raises(pytest.fail.Exception, match="rows would be looked at"):
        open_shards(folder)[0]


def test_a_checksum_missing_or_wrong_is_refused(fresh, replace_shard, monkeypatch):
    folder = fresh("single")
    monkeypatch.setattr(sys.modules[__name__], "checksum", lambda _: b"00000000")
    replace_shard(folder, table_of(folder))
    assert_refused(folder, "checksum")
    monkeypatch.setattr(sys.modules[__name__], "checksum", lambda _: b"")
    replace_shard(folder, table_of(folder))
    assert_refused(folder, "checksum")


@pytest.mark.parametrize(("column", "number"), [("labels", "I6"), ("input_ids", "I2")])
def test_ids_outside_the_vocabulary_never_reach_a_kernel(column, number, fresh, rewrite, tmp_path):
    """With every digest right: no reader hands them on, whether it compares checksums or not."""
    folder = fresh("single")
    rewrite(folder, lambda shards: shards[0][0][column].__setitem__(1, 28_996))
    readers = [
        lambda: audit(folder),
        lambda: open_shards(folder)[0],
        lambda: open_shards(folder, verify="never").blocks[0],
        *(
            lambda backend=backend, layout=layout: next(iter(loader_of(folder, backend, layout)))
            for backend in ("numpy", "compiled")
            for layout in ("padded", "packed")
        ),
        *(
            lambda target=target: export(folder, tmp_path / target, ExportConfig.of(target=target))
            for target in ("parquet", "jsonl", "datasets", "t5")
        ),
    ]
    for read in readers:
        with pytest.raises(ShardError, match=rf"row 0: .* is not in the vocabulary \({number}\)"):
            read()
    (finding,) = verify(folder).findings
    assert number in finding.message


def loader_of(folder: Path, backend: str, layout: str) -> Iterator[Any]:
    config = LoadConfig(batch_size=1, layout=layout, backend=backend, width=64 if layout == "packed" else None)
    return Stream([open_shards(folder)], config).batches(Position())


@pytest.mark.parametrize("size", [104, 28_997, 65_536])
def test_a_vocabulary_that_is_not_of_the_size_stated_is_never_used(size, fresh):
    """Ids would be held against another size than that of the tables they index."""
    folder = fresh("single")
    reseal(folder, put("vocabulary", "size", size))
    with pytest.raises(ShardError, match=f"has 28996 entries .* the manifest says {size}"):
        read_manifest(folder).vocabulary  # noqa: B018
    for use_it in (lambda: audit(folder), lambda: next(iter(fresh_loader(folder)))):
        with pytest.raises(ShardError):
            use_it()
    assert not verify(folder).ok


def fresh_loader(folder: Path) -> Iterator[Any]:
    return Stream([open_shards(folder)], LoadConfig(batch_size=1, masks="fresh")).batches(Position())
