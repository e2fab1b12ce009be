"""Digests of inputs: made while they are read, of ranges where several units read one, as FORMAT.md says."""

import gzip
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from spanmask.corpus import sources
from spanmask.corpus.hashing import RangeHash
from spanmask.corpus.inputs import find_inputs
from spanmask.errors import IncompleteShards, MismatchError
from spanmask.presharding import digests
from spanmask.presharding.assembling import assemble
from spanmask.presharding.comparing import verify_source
from spanmask.presharding.digests import Hashed, InputDigests, InputRanges
from spanmask.presharding.plan_file import plan_to_json
from spanmask.presharding.planning import make_plan
from spanmask.presharding.state import RunState
from spanmask.presharding.units import END, Pipeline, all_units
from spanmask.vocab import load_vocabulary
from tests.presharding.conftest import make_documents

RANGE = 8192


def stated(path: Path, range_bytes: int | None) -> str:
    """Return what FORMAT.md §4 has as the SHA-256 of an input, from the file alone."""
    data = path.read_bytes()
    if range_bytes is None:
        return hashlib.sha256(data).hexdigest()
    pieces = [data[at : at + range_bytes] for at in range(0, len(data), range_bytes)]
    return hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()


def make_inputs(lab: Any) -> dict[str, tuple[Path, bool]]:
    """Return files of every kind, and whether several units read each."""
    text = ("\n\n".join(make_documents(120)) + "\n").encode()
    lines = [{"text": document, "n": i} for i, document in enumerate(make_documents(120))]
    jsonl = "".join(json.dumps(line) + "\n" for line in lines).encode()
    table = pa.table({"n": list(range(120)), "text": [line["text"] for line in lines]})
    files: dict[str, bytes] = {
        "text.txt": text,
        "marked.txt": b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
        "long.txt": b"a b c " * 4000 + b"\n\n" + text,
        "blank.txt": text + b"\n" * 9000,
        "lines.jsonl": jsonl,
        "small.txt": text[:3000],
        "small.txt.gz": gzip.compress(text[:3000]),
        "empty.txt": b"",
        "streamed.txt.gz": gzip.compress(text) + bytes(200),
        "streamed.jsonl.zst": bytes(pa.Codec("zstd").compress(jsonl)),
        "array.json": json.dumps(lines).encode(),
        "records.csv": b"n,text\n" + b"".join(f'{i},"{line["text"]}"\n'.encode() for i, line in enumerate(lines)),
    }
    made = {name: lab.folder / name for name in files}
    for name, path in made.items():
        path.write_bytes(files[name])
    for name, part in (("table.parquet", table), ("none.parquet", table.slice(0, 0))):
        made[name] = lab.folder / name
        pa.parquet.write_table(part, made[name], row_group_size=20, compression="none")
    made["table.arrow"] = lab.folder / "table.arrow"
    with pa.ipc.new_file(made["table.arrow"], table.schema) as writer:
        writer.write_table(table, 20)
    cut = ("text.txt", "marked.txt", "long.txt", "blank.txt", "lines.jsonl", "table.parquet", "table.arrow")
    return {name: (path, name in cut) for name, path in made.items()}


@pytest.fixture(scope="module")
def hashed(make_lab: Any) -> tuple[Any, dict[str, tuple[Path, bool]], Any]:
    lab = make_lab("digests")
    files = make_inputs(lab)
    return lab, files, lab.run([path for path, _ in files.values()], "jobs1", shard_bytes=RANGE)


def test_records_have_the_digest_of_each_file_as_the_format_says(hashed: Any) -> None:
    _, files, manifest = hashed
    for record, (name, (path, cut)) in zip(manifest.content["inputs"], files.items(), strict=True):
        assert record.get("range_bytes") == (RANGE if cut else None), name
        assert record["sha256"] == stated(path, record.get("range_bytes")), name


@pytest.mark.slow
def test_any_number_of_jobs_and_a_run_that_goes_on_make_the_same_digests(hashed: Any) -> None:
    lab, files, manifest = hashed
    paths = [path for path, _ in files.values()]
    assert lab.run(paths, "jobs2", jobs=2, shard_bytes=RANGE).content == manifest.content
    config = lab.config(shard_bytes=RANGE)
    plan = make_plan(config, load_vocabulary(config.vocabulary), find_inputs(paths, config.corpus.format).files)
    state = RunState(lab.folder / "resumed")
    state.start(plan_to_json(plan))
    pipeline = Pipeline(replace(plan, key=str(state.plan_key)), state.root)
    units = list(all_units(plan))
    assert sum(unit.block == END for unit in units) == 2
    receipts = [pipeline.run(unit, lambda *_: None) for unit in units[::3]]
    for receipt in receipts:
        state.save_receipt(receipt)
    with pytest.raises(IncompleteShards, match=r"tasks are not done \(\d+, "):
        assemble(plan, receipts)
    assert lab.run(paths, "resumed", shard_bytes=RANGE).content == manifest.content


def test_room_for_the_digests_of_a_file_is_made_once(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of ten terabytes has a third of a million ranges, and each comes with a receipt of its own."""
    path, config, made = lab.text(), lab.config(), list[int]()
    plan = make_plan(config, load_vocabulary(config.vocabulary), find_inputs([path], config.corpus.format).files)
    ranges = InputRanges(plan)
    told = [Hashed(0, start, stop, stated(path, None)) for start, stop in ranges.of_file(plan.files[0])]
    assert len(told) > 5
    monkeypatch.setattr(digests, "bytearray", lambda size: made.append(size) or bytearray(size), raising=False)
    put = InputDigests(ranges)
    for one in told:
        put.add([one])
    assert made == [32 * len(told)]


def test_a_streamed_task_that_lacks_a_block_or_its_end_is_not_whole(lab: Any) -> None:
    path = lab.folder / "streamed.txt.gz"
    path.write_bytes(gzip.compress("\n\n".join(make_documents(120)).encode()))
    config = lab.config()
    plan = make_plan(config, load_vocabulary(config.vocabulary), find_inputs([path], config.corpus.format).files)
    state = RunState(lab.folder / "out")
    state.start(plan_to_json(plan))
    pipeline = Pipeline(replace(plan, key=str(state.plan_key)), state.root)
    receipts = [pipeline.run(unit, lambda *_: None) for unit in all_units(plan)]
    assert len(receipts) > 3
    assert receipts[-1].blocks == len(receipts) - 1
    for missing in (0, 1, len(receipts) - 1):
        with pytest.raises(IncompleteShards, match=r"1 tasks are not done \(0\)"):
            assemble(plan, receipts[:missing] + receipts[missing + 1 :])
    assert assemble(plan, receipts)[0].inputs[0].sha256 == stated(path, None)


@pytest.mark.slow
@pytest.mark.faults
def test_a_byte_changed_where_its_range_is_not_the_first_is_found(hashed: Any) -> None:
    lab, files, _ = hashed
    paths = [path for path, _ in files.values()]
    options = {"shard_bytes": RANGE}
    assert lab.run(paths, "jobs1", rehash=True, **options)
    assert verify_source(lab.folder / "jobs1", paths) == []
    for name in ("text.txt", "table.parquet", "streamed.txt.gz"):
        path = files[name][0]
        data, state = path.read_bytes(), path.stat()
        at = len(data) * 3 // 4
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert [finding.path for finding in verify_source(lab.folder / "jobs1", paths)] == [str(path)]
        assert lab.run(paths, "jobs1", **options), "trusted by size and time"
        with pytest.raises(MismatchError, match="the content of one changed"):
            lab.run(paths, "jobs1", rehash=True, **options)
        path.write_bytes(data)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_receipts_of_an_earlier_release_are_gone_on_from(hashed: Any) -> None:
    """They have no digests: what they do not tell of is read."""
    lab, files, manifest = hashed
    paths = [path for path, _ in files.values()]
    config = lab.config(shard_bytes=RANGE)
    plan = make_plan(config, load_vocabulary(config.vocabulary), find_inputs(paths, config.corpus.format).files)
    state = RunState(lab.folder / "earlier")
    state.start(plan_to_json(plan))
    pipeline = Pipeline(replace(plan, key=str(state.plan_key)), state.root)
    for unit in list(all_units(plan))[:-1:2]:
        if unit.block != END:
            state.save_receipt(replace(pipeline.run(unit, lambda *_: None), hashed=()))
    assert lab.run(paths, "earlier", shard_bytes=RANGE).content == manifest.content


def test_what_is_read_twice_or_not_at_all_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(1000)
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    file = find_inputs([path], "auto").files[0]  # type: ignore[arg-type]
    content = RangeHash(100, 900)
    for start, stop in ((0, 50), (40, 300), (90, 310), (305, 500), (700, 1000), (499, 505)):
        content.saw(start, data[start:stop])
    opened: list[int] = []
    opener = sources.open_input
    monkeypatch.setattr("spanmask.corpus.hashing.open_input", lambda f, at: opened.append(at) or opener(f, at))
    assert content.finish(file) == hashlib.sha256(data[100:900]).hexdigest()
    assert opened == [505]
