"""What a corpus costs so many workers, from the constants that `scale` measured: sums, and where each step breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import markdown
from .protocol import MEGABYTE

TERABYTE = 10**12
#: Corpora and workers of the table.
CASES = ((1, 100), (10, 1_000), (100, 1_000), (100, 10_000))
#: What a shard is made of, a worker's bytes/s of text, and an input's bytes: the first is the default, the others are stated.
SHARD_BYTES, WORKER_RATE, INPUT_BYTES = 32 << 20, 130e6, 100e6
#: Milliseconds of a processor that a unit takes of Dask's scheduler, which is one process, as `engines` measured them.
SCHEDULER_MS = 2.8
#: Bytes that one read by a worker takes of the plan a second, from a file system or object store that others read from as well.
SHARED_RATE = 100e6
#: What FORMAT.md lets a dataset have: bytes of a manifest beside the 8 MiB for its counts, shards, and inputs of an identity.
MANIFEST_BYTES, TABLE_SHARDS, IDENTITIES = 56 << 20, 1 << 22, 1 << 24
#: Bytes of the manifest an input: its record with a name of 30 bytes.
_RECORD_BYTES = 152
#: What a step may take before it is called broken: seconds of one process that all wait for, and bytes of a process.
PATIENCE, MEMORY = 3600.0, 1e9


def constants(found: Mapping[str, Any], scheduler_ms: float = SCHEDULER_MS) -> dict[str, float]:
    """Return what a thing costs, from the largest run of each: seconds and bytes an input, a task, a receipt and a shard."""
    planning, receipts = found["planning"], found["receipts"]
    plan, opening, loading = (found[name][-1] for name in ("plan", "opening", "loading"))
    shards = opening["shards"]
    # What a plan holds of each task, and of each input.
    sizes = np.array([[run["tasks"], run["files"], run["bytes"]] for run in found["plan"]], np.float64)
    task_bytes, input_bytes = np.linalg.lstsq(sizes[:, :2], sizes[:, 2])[0].tolist()
    return {
        "input_seconds": (planning["listing_seconds"] + planning["seconds"]) / planning["files"],
        "plan_bytes": task_bytes,
        "plan_input_bytes": input_bytes,
        "plan_load_seconds": plan["seconds"] / plan["tasks"],
        "scheduler_seconds": scheduler_ms / 1000,
        "receipt_keeping_seconds": receipts["keeping_seconds"],
        "receipt_seconds": (receipts["listing_seconds"] + receipts["seconds"]) / receipts["receipts"],
        "receipt_bytes": receipts["bytes"] / receipts["receipts"],
        "plan_memory": plan["peak_bytes"] / plan["tasks"],
        "table_bytes": opening["table_bytes"] / shards,
        "open_seconds": opening["seconds"] / shards,
        "open_bytes": opening["peak_bytes"] / shards,
        "loader_bytes": loading["peak_bytes"] / shards,
    }


def costs(known: Mapping[str, float]) -> dict[str, Any]:
    """Return the constants, what each case costs, and at how many terabytes, or workers, each step breaks."""
    cases = [{"terabytes": size, "workers": workers, **_case(size, workers, known)} for size, workers in CASES]
    return {"constants": dict(known), "cases": cases, "bounds": _bounds(known)}


def _case(terabytes: float, workers: int, known: Mapping[str, float]) -> dict[str, float]:
    shards = terabytes * TERABYTE / SHARD_BYTES
    work = terabytes * TERABYTE / WORKER_RATE / workers
    # Larger ones where a manifest could not name so many.
    inputs = min(terabytes * TERABYTE / INPUT_BYTES, MANIFEST_BYTES / _RECORD_BYTES)
    plan = shards * known["plan_bytes"] + inputs * known["plan_input_bytes"]
    return {
        "shards": shards,
        "inputs": inputs,
        "work_seconds": work,
        "planning_seconds": inputs * known["input_seconds"],
        "plan_bytes": plan,
        "plan_load_seconds": shards * known["plan_load_seconds"] + plan / SHARED_RATE,
        "scheduler_seconds": shards * known["scheduler_seconds"],
        "finalize_seconds": shards * known["receipt_seconds"],
        "table_bytes": shards * known["table_bytes"],
        "open_seconds": shards * known["open_seconds"],
        "open_bytes": shards * known["open_bytes"],
    }


def _bounds(known: Mapping[str, float]) -> dict[str, float]:
    """Return at how many terabytes each step breaks, inputs and shards being of the sizes stated; of Dask, at how many workers."""
    a_shard, an_input = SHARD_BYTES / TERABYTE, INPUT_BYTES / TERABYTE
    return {
        "inputs in a manifest, TB": MANIFEST_BYTES / _RECORD_BYTES * an_input,
        "inputs in an identity, TB": IDENTITIES * an_input,
        "shards in a table, TB": TABLE_SHARDS * a_shard,
        "planning in an hour, TB": PATIENCE / known["input_seconds"] * an_input,
        "finalize in an hour, TB": PATIENCE / known["receipt_seconds"] * a_shard,
        "opening in a gigabyte, TB": MEMORY / known["open_bytes"] * a_shard,
        "Dask workers that one scheduler feeds": SHARD_BYTES / WORKER_RATE / known["scheduler_seconds"],
    }


_COLUMNS: dict[str, tuple[str, str]] = {
    "shards": ("shards of 32 MiB of text", "count"),
    "inputs": ("inputs, of 100 MB or as large as a manifest asks for", "count"),
    "work_seconds": ("the work itself", "time"),
    "planning_seconds": ("planning, once", "time"),
    "plan_bytes": ("plan.json", "size"),
    "plan_load_seconds": ("each worker's loading of it", "time"),
    "scheduler_seconds": ("Dask's scheduler, {ms:.3g} ms a task", "time"),
    "finalize_seconds": ("`finalize`: receipts", "time"),
    "table_bytes": ("`shards.arrow`", "size"),
    "open_seconds": ("opening the dataset", "time"),
    "open_bytes": ("memory of that, with few inputs", "size"),
}


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown: what was measured, what it comes to, and where each step breaks."""
    model = result["model"]
    head = ["", *(f"{case['terabytes']:,} TB, {case['workers']:,} workers" for case in model["cases"])]
    ms = 1000 * model["constants"]["scheduler_seconds"]
    rows = [
        [name.format(ms=ms), *(_SHOWN[kind](case[key]) for case in model["cases"])]
        for key, (name, kind) in _COLUMNS.items()
    ]
    bounds = [[name, f"{value:,.0f}"] for name, value in sorted(model["bounds"].items(), key=lambda item: item[1])]
    parts = [
        markdown.table(["measured", "seconds", "peak memory", "bytes"], _measured(result)),
        markdown.table(head, rows),
        markdown.table(["a step, and what it is held to", "breaks at"], bounds),
        f"{_limits(result)}\n\n{markdown.measured_on(result)}\n",
    ]
    return "\n\n".join(parts)


def _measured(result: Mapping[str, Any]) -> list[Sequence[str]]:
    planning = result["planning"]
    rows: list[Sequence[str]] = [
        [f"listing {planning['files']:,} files", _time(planning["listing_seconds"]), "", ""],
        ["planning them", _time(planning["seconds"]), _size(planning["peak_bytes"]), ""],
    ]
    for run in result["plan"]:
        name = f"plan of {run['tasks']:,} tasks, {run['files']:,} inputs"
        rows += [
            [f"{name}: writing", _time(run["write_seconds"]), "", _size(run["bytes"])],
            [f"{name}: loading", _time(run["seconds"]), _size(run["peak_bytes"]), ""],
        ]
    run = result["receipts"]
    rows += [
        ["keeping a receipt, on disk when that returns", _time(run["keeping_seconds"]), "", ""],
        [f"{run['receipts']:,} receipts: listing", _time(run["listing_seconds"]), "", _size(run["bytes"])],
        [
            f"{run['receipts']:,} receipts: reading, checking, a manifest of them",
            _time(run["seconds"]),
            _size(run["peak_bytes"]),
            _size(run["manifest_bytes"]),
        ],
    ]
    for run in result["opening"]:
        name = f"{run['shards']:,} shards"
        rows += [
            [f"{name}: writing table and manifest", _time(run["write_seconds"]), "", _size(run["table_bytes"])],
            [f"{name}: opening", _time(run["seconds"]), _size(run["peak_bytes"]), ""],
        ]
    run = result["opening_of_inputs"]
    name = f"{run['shards']:,} shards of {run['inputs']:,} inputs: opening"
    rows.append([name, _time(run["seconds"]), _size(run["peak_bytes"]), _size(run["manifest_bytes"])])
    for run in result["loading"]:
        name = f"{run['rows']:,} rows"
        rows += [
            [f"{name}: a loader's start", _time(run["seconds"]), _size(run["peak_bytes"]), ""],
            [f"{name}: the order of 4,096 samples", _time(run["order_seconds"]), _size(run["order_peak_bytes"]), ""],
        ]
    return rows


def _limits(result: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {'; '.join(markdown.asked(None, limit))}." for name, limit in result["limits"].items())


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:,.3g} ms"
    return f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 3600:,.1f} h"


def _size(size: float) -> str:
    return f"{size / MEGABYTE:,.1f} MB"


_SHOWN = {"count": "{:,.0f}".format, "time": _time, "size": _size}
