"""The question: what breaks first at 10 TB and 1,000 workers? ``python -m spanmask_bench.scale --json bench/results/scale.json``.

What grows with the corpus and is nobody's share of the work: listing and planning inputs, the plan as a file, receipts, the table of
shards, opening a dataset, and a loader's start. Each is run at full size, in a process of its own, with nothing but metadata: 300,000
shards of 32 MiB are 10 TB, and a million is tried as well. `scale_model` makes of these constants what each costs, and what breaks first.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from . import child, protocol, scale_model

QUESTION = "What breaks first at 10 TB and 1,000 workers?"
SEED = 7
#: Shards and tasks: 10 TB, and as many as are tried.
SHARDS = (300_000, 1_000_000)
#: Receipts, which are files on disk, as are the inputs that are listed.
RECEIPTS, FILES = 300_000, 100_000
#: What is asked of the figures, less than: seconds by the clock, and megabytes.
LIMITS = {
    "planning 100,000 files, s": 20.0,
    "opening 300,000 shards, s": 1.0,
    "opening 300,000 shards, MB": 50.0,
}
_SHARD_BYTES = 32 << 20
_PUBLISHED = 100
#: Writing 5 here sets a process's peak back to what it holds.
_RESET_PEAK = Path("/proc/self/clear_refs")

T = TypeVar("T")


def measure(
    *, shards: Sequence[int] = SHARDS, receipts: int = RECEIPTS, files: int = FILES, scheduler_ms: float | None = None
) -> dict[str, Any]:
    """Measure, each in a child process of one thread.

    Parameters
    ----------
    shards
        How many, in turn; the first is what the limits are held to.
    receipts
        How many.
    files
        Inputs that are listed, and that the manifest of the first names.
    scheduler_ms
        What a task costs a Dask scheduler, by default as `scale_model` states.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``planning``, ``receipts``, ``opening_of_inputs``, ``model`` and ``limits``,
        and the lists ``plan``, ``opening`` and ``loading`` by number of shards.
    """
    found: dict[str, Any] = {
        "planning": _in_child("planning", files=files),
        "receipts": _in_child("receipts", count=receipts),
        **{name: [_in_child(name, count=count) for count in shards] for name in ("plan", "opening", "loading")},
    }
    found["opening_of_inputs"] = _in_child("opening", count=shards[0], inputs=files)
    opened = found["opening"][0]
    values = {
        "planning 100,000 files, s": found["planning"]["listing_seconds"] + found["planning"]["seconds"],
        "opening 300,000 shards, s": opened["seconds"],
        "opening 300,000 shards, MB": opened["peak_bytes"] / protocol.MEGABYTE,
    }
    parameters = {"shards": list(shards), "receipts": receipts, "files": files, "seed": SEED}
    model = scale_model.costs(scale_model.constants(found, scheduler_ms or scale_model.SCHEDULER_MS))
    return protocol.record(QUESTION, parameters, {**found, "model": model, "limits": protocol.limits(values, LIMITS)})


def _in_child(name: str, **parameters: Any) -> Any:
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        return child.call("scale", name, {**parameters, "folder": folder})


def _taken(function: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Return what a call returns, its seconds, and the most bytes that this process held meanwhile beyond those before (Linux)."""
    _RESET_PEAK.write_text("5", "ascii")
    before, found = _resident("VmRSS"), list[T]()
    spent = protocol.seconds(lambda: found.append(function()))
    return found[0], {"seconds": spent, "peak_bytes": _resident("VmHWM") - before}


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def _config() -> Any:
    from spanmask.config import PreshardConfig

    return PreshardConfig.of(seed=SEED, shard_bytes=_SHARD_BYTES)


def planning(*, files: int, folder: str) -> dict[str, Any]:
    """List and plan files of a line each, a thousand a folder."""
    from spanmask.config import Format
    from spanmask.corpus.inputs import find_inputs

    for number in range(files):
        place = Path(folder, f"{number // 1000:04}")
        if number % 1000 == 0:
            place.mkdir()
        (place / f"{number:07}.txt").write_text(f"The cat sat on mat number {number}.\n", "utf-8")
    found, listed = _taken(lambda: find_inputs([folder], Format.AUTO).files)
    _, planned = _taken(lambda: _plan_of(found))
    return {"files": files, "listing_seconds": listed["seconds"], **planned}


def _plan_of(files: Any) -> Any:
    from spanmask.presharding.planning import make_plan
    from spanmask.vocab import load_vocabulary

    config = _config()
    return make_plan(config, load_vocabulary(config.vocabulary), files)


def plan(*, count: int, folder: str) -> dict[str, Any]:
    """Write and load the plan of so many tasks."""
    from spanmask.config import canonical_json
    from spanmask.presharding.plan_file import plan_to_json

    made, planned = _taken(lambda: _plan_of(_inputs(count)))
    path = Path(folder, "plan.json")
    _, written = _taken(lambda: path.write_bytes(canonical_json(plan_to_json(made))))
    loaded = child.call("scale", "plan_loaded", {"path": str(path)})
    return {
        "tasks": len(made.tasks),
        "files": len(made.files),
        "planning_seconds": planned["seconds"],
        "write_seconds": written["seconds"],
        "bytes": path.stat().st_size,
        **loaded,
    }


def plan_loaded(*, path: str) -> dict[str, Any]:
    """Load a plan, as each worker does."""
    import json

    from spanmask.presharding.plan_file import plan_from_json

    return _taken(lambda: plan_from_json(json.loads(Path(path).read_bytes()), "shards"))[1]


def _inputs(tasks: int) -> list[Any]:
    """Return at most `FILES` inputs that are not there, divided into so many tasks."""
    from spanmask.config import Format
    from spanmask.corpus.inputs import InputFile

    count = min(FILES, tasks)
    return [
        InputFile(
            index=number,
            path=f"/data/crawl/{number // 1000:04}/{number:07}.jsonl",
            name=f"{number // 1000:04}/{number:07}.jsonl",
            size=tasks * _SHARD_BYTES // count,
            mtime_ns=10**18 + number,
            format=Format.JSONL,
            compression=None,
        )
        for number in range(count)
    ]


def receipts(*, count: int, folder: str) -> dict[str, Any]:
    """Keep and list the receipts of so many tasks, each as one of a whole shard, and make a manifest of them all."""
    from dataclasses import replace

    from spanmask.presharding.assembling import assemble
    from spanmask.presharding.digests import Hashed
    from spanmask.presharding.state import RunState, receipt_of, sealed

    made, state = _receipt(Path(folder)), RunState(Path(folder, "out"))
    state.receipts_folder.mkdir(parents=True)
    kept = statistics.median(protocol.seconds(lambda: state.save_receipt(made)) for _ in range(_PUBLISHED))
    whole, (record,), size = _plan_of(_inputs(count)), made.records, 0
    for task in whole.tasks:
        unit, (part,) = f"{task.number:05}-00000", task.parts
        shards = {"train": (replace(record, path=f"train/shard-{unit}.arrow"),)}
        hashed = (Hashed(part.file.index, part.start, part.stop, record.sha256),)
        data = sealed(replace(made, unit=unit, shards=shards, hashed=hashed).to_json())
        (state.receipts_folder / f"{unit}.json").write_bytes(data)
        size += len(data)
    units, listed = _taken(state.units)
    read = (receipt_of((state.receipts_folder / f"{unit}.json").read_bytes(), unit, made.plan) for unit in units)
    (manifest, _), added = _taken(lambda: assemble(whole, filter(None, read)))
    return {
        "receipts": count,
        "bytes": size,
        "keeping_seconds": kept,
        "listing_seconds": listed["seconds"],
        "manifest_bytes": len(manifest.to_bytes()),
        **added,
    }


def _receipt(folder: Path) -> Any:
    """Return the receipt of a unit that makes one shard of a few megabytes of text."""
    from spanmask import presharding

    from . import texts

    path = folder / "text.txt"
    path.write_text("\n\n".join(texts.read([], 4 * protocol.MEGABYTE).documents), "utf-8")
    return presharding.run_unit(presharding.plan(path, folder / "shards", _config()), 0)


def opening(*, count: int, folder: str, inputs: int = 1) -> dict[str, Any]:
    """Write a table of so many shards and its manifest, of so many inputs, and open that in a fresh process."""
    manifest, written = _taken(lambda: _write_metadata(Path(folder), count, inputs))
    opened = child.call("scale", "opened", {"folder": str(manifest.parent)})
    sizes = {
        "table_bytes": manifest.with_name("shards.arrow").stat().st_size,
        "manifest_bytes": manifest.stat().st_size,
    }
    return {"shards": count, "inputs": inputs, "write_seconds": written["seconds"], **sizes, **opened}


def _write_metadata(folder: Path, count: int, inputs: int = 1) -> Path:
    """Write a dataset's manifest and table, and no shard; return the path of the first."""
    import numpy as np

    import spanmask
    from spanmask.shard.listed import describe_file
    from spanmask.shard.manifest import MANIFEST, seal
    from spanmask.shard.table import SHARDS as TABLE
    from spanmask.shard.table import Shards, Split, table_bytes

    (folder / "text.txt").write_text(
        "The cat sat on the mat, and nobody told the cat that it sat on it.\n" * 9, "utf-8"
    )
    made = spanmask.preshard(folder / "text.txt", folder / "shards", _config(), jobs=1)
    columns = {name: np.zeros(count, column.dtype) for name, column in Shards.of("train", []).columns.items()}
    columns["task"][:] = np.arange(count)
    # A block of which the last is short, as most are.
    columns["rows"][:], columns["tokens"][:], columns["bytes"][:] = 27_900, 13_600_000, _SHARD_BYTES
    digests = np.random.default_rng(SEED).integers(0, 256, (2, count, 32), np.uint8)
    columns["sha256"], columns["content_sha256"] = digests.view("S32")[..., 0]
    splits = {"train": Split(name="train", shards=Shards("train", columns))}
    table = table_bytes(splits)
    content = {key: value for key, value in made.content.items() if key not in ("digest", "fingerprint")}
    content |= {"splits": {"train": splits["train"].to_json()}, "files": {TABLE: describe_file(table)}}
    content["inputs"] = [_input_record(file) for file in _inputs(inputs)]
    (folder / "shards" / TABLE).write_bytes(table)
    (folder / "shards" / MANIFEST).write_bytes(seal(content, splits).to_bytes())
    return folder / "shards" / MANIFEST


def _input_record(file: Any) -> dict[str, Any]:
    from spanmask.shard.input_list import InputRecord

    sha256 = hashlib.sha256(file.name.encode()).hexdigest()
    return InputRecord(index=file.index, name=file.name, size=file.size, sha256=sha256).to_json()


def opened(*, folder: str) -> dict[str, Any]:
    """Open a dataset."""
    from spanmask.shard.reader import open_shards

    _, found = _taken(lambda: open_shards(folder))
    return found


def loading(*, count: int, folder: str) -> dict[str, Any]:
    """Make a stream over so many shards, none of which is there, and ask for the order of the samples of the first batches."""
    found: dict[str, Any] = child.call("scale", "started", {"folder": str(_write_metadata(Path(folder), count).parent)})
    return found


def started(*, folder: str) -> dict[str, Any]:
    """Start a loader."""
    import numpy as np

    from spanmask.loading.config import LoadConfig
    from spanmask.loading.order import Order, OrderKind, Source
    from spanmask.loading.stream import Stream
    from spanmask.shard.reader import open_shards

    shards = open_shards(folder)
    _, made = _taken(lambda: Stream([shards], LoadConfig.of(batch_size=256)))
    source, places = Source.of(shards), len(shards) // 2 + np.arange(4096)
    _, ordered = _taken(lambda: Order([source], seed=SEED, kind=OrderKind.BLOCK)(1, places))
    return {"rows": len(shards), **made, "order_seconds": ordered["seconds"], "order_peak_bytes": ordered["peak_bytes"]}


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    return scale_model.table(result)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.scale", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    parser.add_argument("--receipts", type=int, default=RECEIPTS, help=f"how many (default: {RECEIPTS:,})")
    parser.add_argument(
        "--scheduler-ms", type=float, help="what a task costs a Dask scheduler, as spanmask_bench.engines says"
    )
    asked = parser.parse_args()
    result = measure(receipts=asked.receipts, scheduler_ms=asked.scheduler_ms)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
