"""Damaged input files: samples of every kind and compression, changed at random, and read as a run reads them."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import polars
import pyarrow as pa
import pyarrow.parquet as pq
from memory import with_peak

from spanmask.config import CorpusConfig, Format, OnError
from spanmask.corpus.inputs import find_inputs
from spanmask.corpus.kept import with_kept
from spanmask.corpus.reading import divide, parse_block, read_part, stream_blocks
from spanmask.errors import ConfigError, CorpusError

#: What one file may take: seconds, and bytes beyond what was held before. A page of Parquet is decompressed whole, to 2 GiB at most.
SECONDS, BYTES, PARQUET_BYTES = 10, 1 << 28, 5 << 29
LIMIT = 1 << 20

WAYS = [
    "cut off",
    "cut off in front",
    "flipped",
    "random",
    "even",
    "left out",
    "repeated",
    "spliced",
    "joined",
    "number",
]
TEXTS = [
    "",
    "one",
    "zwei\n\nlines",
    "drei äöü",
    "\U0001f600\0",
    "the same " * 9,
    "the same " * 9,
    "a\u3000b",
    "x" * 700,
] * 9
ROWS = {
    "text": TEXTS,
    "n": [number if number % 7 else None for number in range(len(TEXTS))],
    "k": [text[:5] for text in TEXTS],
    "s": [[[0, 1]] if text else [] for text in TEXTS],
}
JSON = "".join(
    json.dumps(dict(zip(ROWS, row, strict=True)), ensure_ascii=False) + "\n" for row in zip(*ROWS.values(), strict=True)
)
ODD_JSON = '{"text": "a", "x": "\\ud800"}\n{"text": "b\\u00e9", "x": 1e999}\n \n{"text": 1}\n[1]\n'


def samples() -> dict[str, bytes]:
    """Return whole files by name; the part of a name before the first dot says what is special."""
    found = {"plain.txt": "\n\n".join(TEXTS).encode(), "plain.jsonl": (JSON + ODD_JSON).encode()}
    for name, data in list(found.items()):
        found |= {f"{name}.gz": gzip.compress(data, mtime=0), f"{name}.zst": bytes(pa.Codec("zstd").compress(data))}
    table = pa.table(ROWS)
    for codec in ("none", "snappy", "gzip", "zstd"):
        found[f"{codec}.parquet"] = _parquet(table, compression=codec, row_group_size=30)
    delta = dict.fromkeys(("text", "k"), "DELTA_BYTE_ARRAY")
    found["delta.parquet"] = _parquet(
        table.select(["text", "n", "k", "s"]), use_dictionary=False, column_encoding=delta
    )
    found["checked.parquet"] = _parquet(table, write_page_checksum=True, data_page_version="2.0")
    for codec in (None, "lz4", "zstd"):
        for opener, kind in ((pa.ipc.new_file, "file"), (pa.ipc.new_stream, "stream")):
            for views in (False, True):
                found[f"{codec}-{kind}-{views}.arrow"] = _arrow(_with_views(table) if views else table, opener, codec)
    frame = polars.DataFrame(ROWS).with_columns(polars.col("text", "k").cast(polars.Categorical))
    sink = io.BytesIO()
    frame.write_ipc(sink)
    return found | {"polars.arrow": sink.getvalue()}


def _parquet(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())


def _with_views(table: pa.Table) -> pa.Table:
    return table.set_column(0, "text", table["text"].cast(pa.string_view())).set_column(
        2, "k", table["k"].dictionary_encode()
    )


def _arrow(table: pa.Table, opener: object, codec: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    with opener(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:  # type: ignore[operator]
        writer.write_table(table, max_chunksize=30)
    return bytes(sink.getvalue().to_pybytes())


def damaged(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return data changed in one to three ways."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(data))
        end = min(at + rng.choice([1, 2, 4, 8, 100, 5000]), len(data))
        head, body, tail, other = data[:at], data[at:end], data[end:], rng.choice(others)
        number = rng.choice([1 << 31, -1, 1 << 62, 1 << 20]).to_bytes(8, "little", signed=True)
        data = {
            "cut off": head,
            "cut off in front": tail,
            "flipped": head + bytes(byte ^ 1 << rng.randrange(8) for byte in body) + tail,
            "random": head + rng.randbytes(len(body)) + tail,
            "even": head + rng.choice([b"\0", b"\xff", b"\x7f"]) * len(body) + tail,
            "left out": head + tail,
            "repeated": head + body * rng.choice([2, 300]) + tail,
            "spliced": head + other[rng.randint(0, len(other)) :],
            "joined": data + other,
            "number": head + number + data[at + 8 :],
        }[rng.choice(WAYS)]
    return data


def case(number: int, seed: int, whole: dict[str, bytes]) -> tuple[str, bytes]:
    """Return the name and content of one damaged file. What is compressed is damaged before, after, or both."""
    rng = random.Random(f"{seed} {number}")
    kind = rng.choice(sorted({name[name.index(".") :] for name in whole}))
    name = rng.choice(sorted(name for name in whole if name[name.index(".") :] == kind))
    inner, compressed = whole.get(name[: name.rfind(".")], b""), name.endswith((".gz", ".zst"))
    data, others = whole[name], list(whole.values())
    if compressed and rng.random() < 0.5:
        inner = damaged(inner, others, rng)
        data = gzip.compress(inner, 1, mtime=0) if name.endswith(".gz") else bytes(pa.Codec("zstd").compress(inner))
        if rng.random() < 0.7:
            return name, data
    return name, damaged(data, others, rng)


def outcome(path: Path, config: CorpusConfig) -> str:
    """Read a file; return whether it was ``read``, read but for documents ``skipped``, or ``refused`` with an error of ours."""
    try:
        file = with_kept(find_inputs([path], Format.AUTO).files, config)[0]
        if file.compression is not None:
            blocks = (block for raw in stream_blocks(file, config, 1 << 12) for block in parse_block(file, raw, config))
        else:
            blocks = (block for part in divide(file, config, 1 << 12) for block in read_part(part, config))
        skipped, last = 0, -1
        for block in blocks:
            bytes(block.text).decode()
            ids = block.document_ids.tolist()
            assert ids == sorted(set(ids))
            assert not ids or ids[0] > last
            last = ids[-1] if ids else last
            assert len(block.skipped_documents) <= block.skipped
            skipped += block.skipped
    except (CorpusError, ConfigError) as error:
        if str(path) not in str(error):
            raise
        return "refused"
    return "skipped" if skipped else "read"


OPTIONS: list[dict[str, object]] = [
    {},
    {"on_error": OnError.SKIP},
    {"on_error": OnError.SKIP, "keep": ("k", "n"), "spans_field": "s"},
    {"layout": "documents", "on_error": OnError.SKIP},
]


def fuzz(folder: Path, seed: int, cases: int, first: int = 0) -> Counter[str]:
    """Read damaged files and count what came of them, by kind of file; an error that is not ours, time or memory without bound raise."""
    whole, counts = samples(), Counter[str]()
    for name, data in whole.items():
        (folder / name).write_bytes(data)
        assert outcome(folder / name, CorpusConfig(on_error=OnError.SKIP)) != "refused", name
    for number in range(first, first + cases):
        name, data = case(number, seed, whole)
        options = dict(random.Random(number).choice(OPTIONS))
        if name.startswith("plain.txt"):
            options |= {"keep": (), "spans_field": None}
        path, config = folder / name, CorpusConfig(**options, max_document_bytes=LIMIT)  # type: ignore[arg-type]
        path.write_bytes(data)
        start = time.monotonic()
        try:
            found, peak = with_peak(lambda: outcome(path, config))  # noqa: B023
        except BaseException as error:
            error.add_note(f"seed {seed}, case {number}: {name} of {len(data)} bytes, {options}")
            raise
        took = time.monotonic() - start
        assert took < SECONDS, (seed, number, name, took)
        assert peak < (PARQUET_BYTES if name.endswith(".parquet") else BYTES), (seed, number, name, peak)
        # A text is never refused as a whole but for its compression.
        is_text = name.endswith((".txt", ".jsonl"))
        assert not (is_text and found == "refused" and config.on_error is OnError.SKIP and not config.keep), (
            seed,
            number,
        )
        counts[f"{name[name.index('.') + 1 :]} {found}"] += 1
    return counts


if __name__ == "__main__":
    folder, seed, cases = sys.argv[1:]
    print(json.dumps(fuzz(Path(folder), int(seed), int(cases))))
