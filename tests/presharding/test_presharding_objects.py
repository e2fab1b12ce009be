"""Inputs that are objects of a store: the same dataset as from files, each byte asked for once, refused by name if they changed."""

from __future__ import annotations

import bz2
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet
import pytest
from object_store import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, ObjectStore

from spanmask import preshard
from spanmask.config import Format
from spanmask.corpus import objects
from spanmask.corpus.inputs import Inputs, find_inputs
from spanmask.corpus.reading import divide, read_part
from spanmask.errors import ConfigError, CorpusError, StorageError
from spanmask.presharding import finalize, plan, read_plan, run_unit
from spanmask.presharding.comparing import verify_source
from tests.presharding.test_presharding_digests import RANGE, make_inputs

pytestmark = pytest.mark.faults

PROSE = Path(__file__).parents[3] / "shared" / "data" / "prose"


def put_all(store: ObjectStore, files: dict[str, Path], prefix: str = "in") -> None:
    for path in files.values():
        store.put(f"{prefix}/{path.name}", path.read_bytes())


@pytest.fixture(scope="module")
def local(make_lab: Any) -> tuple[Any, dict[str, Path]]:
    """Files of every kind, and what is made of them."""
    lab = make_lab("local")
    files = {name: path for name, (path, _) in make_inputs(lab).items()}
    order = sorted(files.values(), key=lambda path: path.name.encode())
    lab.run(order, "local", shard_bytes=RANGE)
    return lab, files


@pytest.mark.slow
def test_objects_of_every_kind_make_the_dataset_that_files_make(local: Any, object_store: ObjectStore) -> None:
    lab, files = local
    put_all(object_store, files)
    lab.run(object_store.url("in"), "remote", shard_bytes=RANGE)
    assert lab.tree("remote") == lab.tree("local")
    assert len(object_store.requests("GET", "list-type")) == 1
    assert not object_store.requests("HEAD", "in/.")
    before = len(object_store.log)
    lab.run(object_store.url("in") + "/", "remote", shard_bytes=RANGE)
    told = [one.key.partition("&")[0] for one in object_store.log[before:]]
    assert told == ["?list-type=2", "in/array.json"], "told by size and pin; JSON is looked at for how it begins"
    assert verify_source(lab.folder / "remote", [object_store.url("in/*")]) == []
    assert verify_source(lab.folder / "remote") == [], "where they lie is known here"
    lab.run(object_store.url("in"), "remote", shard_bytes=RANGE, rehash=True)
    assert {one.key for one in object_store.log if not one.key.startswith("?list-type")} <= {
        "in", "in/*", *(f"in/{name}" for name in files)
    }  # fmt: skip
    kept = b"".join(path.read_bytes() for path in (lab.folder / "remote").rglob("*") if path.is_file())
    assert not [secret for secret in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN) if secret.encode() in kept]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    """Requests of so few bytes that objects of a test are of many."""
    piece = 4096
    monkeypatch.setattr(objects, "PIECE_BYTES", piece)
    monkeypatch.setattr(objects, "_LEAST_BYTES", 512)
    monkeypatch.setattr(objects, "_BEFORE_BYTES", 128)
    return piece


def asked(store: ObjectStore, key: str) -> list[tuple[int, int]]:
    """Return the ranges of an object that were asked for, in order."""
    ranges = [one.headers["Range"].removeprefix("bytes=").split("-") for one in store.requests("GET", f"{key}$")]
    return sorted((int(start), int(stop) + 1) for start, stop in ranges)


def lines(count: int, seed: int = 0) -> bytes:
    choose = random.Random(seed)
    words = ["the", "cat", "sat", "down", "antelopes", "naïve"]
    texts = (" ".join(choose.choices(words, k=choose.randint(5, 60))) for _ in range(count))
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()


def test_large_objects_are_read_in_ranges_once_and_a_compressed_one_streams_once(
    lab: Any, object_store: ObjectStore, small_pieces: int
) -> None:
    data = lines(1000)
    packed = {"a.jsonl": data, "b.jsonl.zst": bytes(pa.Codec("zstd").compress(data)), "c.jsonl.gz": gzip.compress(data)}
    for name, content in packed.items():
        (lab.folder / name).write_bytes(content)
        object_store.put(name, content)
    options = {"shard_bytes": 32 << 10}
    manifest = lab.run([object_store.url(name) for name in packed], "remote", jobs=1, **options)
    lab.run([lab.folder / name for name in packed], "local", **options)
    assert lab.tree("remote") == lab.tree("local")
    assert manifest.content["inputs"][0]["range_bytes"] == 32 << 10
    units = -(-len(data) // (32 << 10))
    whole = asked(object_store, "a.jsonl")
    # What is left of a unit's last line comes with its last piece.
    assert small_pieces < max(stop - start for start, stop in whole) <= small_pieces * 1.25
    assert len(whole) == -(-len(data) // small_pieces)
    read = sum(stop - start for start, stop in whole)
    # Of each unit a little before it, and what is left of its last line.
    assert len(data) <= read <= len(data) + units * (128 + 4 * 512)
    for name in ("b.jsonl.zst", "c.jsonl.gz"):
        bounds = asked(object_store, name)
        assert [start for start, _ in bounds] == list(range(0, len(packed[name]), small_pieces)), name
        assert sum(stop - start for start, stop in bounds) == len(packed[name])
        assert not object_store.requests("GET", f"{name}$")[0].headers.get("If-None-Match")


def test_columns_are_read_alone_and_the_footer_once_a_unit(
    lab: Any, object_store: ObjectStore, small_pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [json.loads(line)["text"] for line in lines(800).splitlines()]
    table = pa.table({"text": texts, "ballast": [random.Random(i).randbytes(3000) for i in range(800)]})
    path = lab.folder / "a.parquet"
    pa.parquet.write_table(table, path, row_group_size=200)
    object_store.put("a.parquet", path.read_bytes())
    monkeypatch.setattr("spanmask.corpus.parquet._PAGE_BUFFER", 4096)
    file = find_inputs([object_store.url("a.parquet")], lab.config().corpus.format).files[0]
    config = lab.config().corpus
    before = len(object_store.log)
    parts = divide(file, config, 1 << 30)
    read = sum(len(block) for part in parts for block in read_part(part, config))
    assert read == 800
    got = sum(one.sent for one in object_store.log[before:])
    assert got < path.stat().st_size / 8, "the other column stays where it is"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("status", {"times": 3}),
        ("status", {"times": 2, "status": 500, "code": "InternalError"}),
        ("reset", {"times": 2}),
        ("lost", {"times": 2}),
        ("cut", {"times": 3}),
        ("slow", {"times": 2, "seconds": 0.3}),
        ("wait", {"times": None, "seconds": 0.01}),
    ],
)
def test_a_run_goes_through_what_passes(lab: Any, object_store: ObjectStore, kind: str, options: Any) -> None:
    data = lines(200)
    packed = {"a.jsonl": data, "b.jsonl.zst": bytes(pa.Codec("zstd").compress(data))}
    for name, content in packed.items():
        (lab.folder / name).write_bytes(content)
        object_store.put(f"in/{name}", content)
    object_store.fail(kind, method="GET", key="jsonl", **options)
    lab.run([lab.folder / "a.jsonl", lab.folder / "b.jsonl.zst"], "local")
    lab.run(object_store.url("in"), "remote")
    assert lab.tree("remote") == lab.tree("local")


REFUSALS = {
    "forbidden": (
        "status",
        {"status": 403, "code": "AccessDenied"},
        StorageError,
        "403 AccessDenied.*check the credentials",
    ),
    "expired": (
        "status",
        {"status": 400, "code": "ExpiredToken"},
        StorageError,
        "the credentials have expired: renew them",
    ),
    "never well": ("status", {"status": 503}, StorageError, "503 SlowDown 5 times.*check the store"),
    "cut for ever": ("cut", {}, StorageError, "5 times.*check the store"),
    "reset for ever": ("reset", {}, StorageError, "5 times.*check the store"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_pass_ends_the_run_and_names_the_object(lab: Any, object_store: ObjectStore, name: str) -> None:
    kind, options, error, told = REFUSALS[name]
    object_store.put("in/a.jsonl", lines(50))
    object_store.put("in/b.jsonl.gz", gzip.compress(lines(50)))
    for key in ("a.jsonl", "b.jsonl.gz"):
        with object_store.failing(kind, None, method="GET", key=key, **options):
            with pytest.raises(error, match=rf"s3://{object_store.bucket}/in/{key}: .*{told}") as raised:
                lab.run(object_store.url("in"), "out", jobs=1)
            assert SECRET_KEY not in str(raised.value)
        assert len(object_store.requests("GET", key)) <= 10
    lab.run(object_store.url("in"), "out")


@pytest.mark.slow
@pytest.mark.parametrize("change", ["other content", "another size", "deleted"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.parquet", "a.arrow"])
def test_an_object_that_changed_since_it_was_listed_is_refused_by_name(
    lab: Any, object_store: ObjectStore, name: str, change: str
) -> None:
    data, other = (written(name, lines(40, seed)) for seed in (0, 1))
    object_store.put(f"in/{name}", data)

    def changed(_: Inputs) -> None:
        if change == "deleted":
            object_store.delete(f"in/{name}")
        else:
            object_store.put(f"in/{name}", other if change == "other content" else data + data)

    url = f"s3://{object_store.bucket}/in/{name}"
    expected = (
        (ConfigError, f"{url}: no such object") if change == "deleted" else (StorageError, f"{url}: it changed while")
    )
    with pytest.raises(expected[0], match=expected[1]):
        preshard(object_store.url("in"), lab.folder / "out", lab.config(), jobs=1, on_inputs=changed)


def written(name: str, data: bytes) -> bytes:
    """Return lines as a file of some kind."""
    if name.endswith(".zst"):
        return bytes(pa.Codec("zstd").compress(data))
    if name.endswith((".gz", ".bz2")):
        return gzip.compress(data) if name.endswith(".gz") else bz2.compress(data)
    if name.endswith(".jsonl"):
        return data
    table = pa.table({"text": [json.loads(line)["text"] for line in data.splitlines()]})
    sink = pa.BufferOutputStream()
    if name.endswith(".parquet"):
        pa.parquet.write_table(table, sink, write_page_checksum=True)
    else:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.slow
def test_a_flipped_bit_is_noticed_by_what_checks_itself_and_later_by_the_digest(
    lab: Any, object_store: ObjectStore
) -> None:
    """A plain range of an object has no checksum of the store's: TLS guards the way, and formats what they hold."""
    for name in ("a.jsonl.gz", "a.jsonl.bz2", "a.parquet"):
        data = written(name, lines(60))
        object_store.put(name, data)
        object_store.fail("flip", 1, method="GET", key=name)
        with pytest.raises(CorpusError, match=rf"{name}: not "):
            lab.run(object_store.url(name), "out", jobs=1)
        object_store.faults.clear()
    object_store.put("plain.jsonl", lines(60))
    with object_store.failing("flip", None, method="GET", key="plain.jsonl"):
        lab.run(object_store.url("plain.jsonl"), "plain", jobs=1)
    found = verify_source(lab.folder / "plain", [object_store.url("plain.jsonl")])
    assert [finding.path for finding in found] == [object_store.url("plain.jsonl")]


def test_prefixes_and_patterns_are_listed_as_folders_are(tmp_path: Path, object_store: ObjectStore) -> None:
    state = json.dumps({"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]}).encode()
    table = written("a.arrow", lines(3))
    tree = {
        "b.txt": b"b\n", "a/c.txt": b"c\n", "a/z.jsonl": lines(1), "a.txt": b"a\n", "_SUCCESS": b"", ".hidden.txt": b"h\n",
        "_temporary/0/x.txt": b"x\n", "a/part.txt.incomplete": b"x\n", "a/notes.md": b"x\n", "\u00e9/d.txt": b"d\n", "saved/a.arrow": table,
        "saved/b.arrow": table, "saved/state.json": state, "saved/dataset_info.json": b"{}", "saved/cache-1.arrow": table,
        "d[1].txt": b"q\n",
    }  # fmt: skip
    for name, data in tree.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
        object_store.put(f"in/{quote(name)}", data)
    root, url = f"{tmp_path}/in", object_store.url("in")
    for pattern in ("", "/*.txt", "/**/*.txt", "/a*", "/_*/**/*.txt", "/*/c.txt", "/saved", "/d[1].txt", "/**", "/.h*"):
        here, there = (find_inputs([base + pattern], Format.AUTO) for base in (root, url))
        assert [file.name for file in here.files] == [file.name for file in there.files], pattern
        assert [file.path.removeprefix(root) for file in here.files] == [
            file.path.removeprefix(url) for file in there.files
        ], pattern
        assert here.passed_over == there.passed_over, pattern
    for wrong, told in (
        ("none", "no such object, and none below it"),
        ("*.tsv", "no object matches"),
        ("a/notes.md/", "no such object, and none below it"),
    ):
        with pytest.raises(ConfigError, match=told):
            find_inputs([f"{url}/{wrong}"], Format.AUTO)
    with pytest.raises(ConfigError, match="named twice"):
        find_inputs([url, f"{url}/a.txt"], Format.AUTO)
    with pytest.raises(ConfigError, match="a pattern in the name of a bucket"):
        find_inputs(["s3://b*/x"], Format.AUTO)
    with pytest.raises(ConfigError, match="no such object, and none below"):
        find_inputs(["s3://no-such-bucket-of-ours/x"], Format.AUTO)


@pytest.mark.slow
def test_tasks_are_run_from_the_plan_alone_without_another_listing(lab: Any, object_store: ObjectStore) -> None:
    names = ("a.jsonl", "b.jsonl.zst", "c.parquet")
    for name in names:
        object_store.put(f"in/{name}", written(name, lines(100)))
        (lab.folder / name).write_bytes(written(name, lines(100)))
    lab.run([lab.folder / name for name in names], "local")
    plan(object_store.url("in"), lab.folder / "out", lab.config())
    planned = read_plan(lab.folder / "out")
    before = len(object_store.log)
    for task in reversed(planned.tasks):
        run_unit(planned, task.number)
    finalize(lab.folder / "out")
    assert lab.tree("out") == lab.tree("local")
    assert {(one.method, one.key) for one in object_store.log[before:]} == {("GET", f"in/{name}") for name in names}


def test_an_object_below_the_prefix_that_is_written_is_no_input(lab: Any, object_store: ObjectStore) -> None:
    object_store.put("in/a.jsonl", lines(3))
    preshard(object_store.url("in"), object_store.url("out"), lab.config(), jobs=1)
    with pytest.raises(ConfigError, match=rf"^{object_store.url('out/manifest.json')}: an input lies in --out s3://"):
        preshard(object_store.url("out/manifest.json"), object_store.url("out"), lab.config(format="jsonl"), jobs=1)


@pytest.mark.slow
def test_the_command_ends_with_the_code_of_what_was_wrong(lab: Any, object_store: ObjectStore) -> None:
    object_store.put("in/a.jsonl", lines(30))
    object_store.put("bad/a.jsonl", b"no json\n")
    cases = [
        (object_store.url("in"), None, 0),
        (object_store.url("none"), None, 2),
        (object_store.url("in"), {"status": 403, "code": "AccessDenied"}, 4),
        (object_store.url("bad"), None, 5),
    ]
    for number, (url, fault, code) in enumerate(cases):
        if fault:
            object_store.fail("status", None, method="GET", key="in/a", **fault)
        found = lab.finish("preshard", url, "--out", lab.folder / f"out{number}", "--seed", 1, "--jobs", 1)
        object_store.faults.clear()
        assert found[0] == code, found
        assert not [secret for secret in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN) if secret in found[1] + found[2]]
        assert "Traceback" not in found[2]


@pytest.mark.slow
@pytest.mark.data
def test_real_text_from_a_store_30_ms_away_is_asked_for_once_and_makes_the_same_dataset(
    lab: Any, object_store: ObjectStore, tell: Callable[[str], None]
) -> None:
    packed = PROSE / "enwiki2018.000.jsonl.zst"
    if not packed.exists():
        pytest.skip(f"{packed} is not there")
    plain = lab.folder / "enwiki.jsonl"
    with pa.OSFile(str(packed)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
        plain.write_bytes(stream.read())
    for path in (packed, plain):
        object_store.put(f"in/{path.name}", path.read_bytes())
    options = {"shard_bytes": 16 << 20, "max_tokens": 512, "jobs": 2}
    lab.run([plain, packed], "local", **options)
    object_store.fail("wait", None, seconds=0.03)
    lab.run([object_store.url(f"in/{path.name}") for path in (plain, packed)], "remote", **options)
    assert lab.tree("remote") == lab.tree("local")
    for path in (plain, packed):
        bounds, size = asked(object_store, path.name), path.stat().st_size
        got = sum(stop - start for start, stop in bounds)
        tell(f"{path.name}: {size:,} bytes, {len(bounds)} requests for {got:,}")
        assert got <= size * 1.02
        assert len(bounds) <= size / objects.PIECE_BYTES + 3 * (size / (16 << 20) + 1)
