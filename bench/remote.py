"""The question: what does an object store cost? ``python -m spanmask_bench.remote INPUT… --json bench/results/remote.json``.

On moto's server, on loopback, once as it is and once with 30 ms put before each answer. In turn, in one process that has eight objects
under way at most: s3fs alone fetching the shards to files; the first epoch of a stream, with an empty cache, in the order that rows are
stored in, and in any, which needs all shards for the first batch; an epoch with all copies there; one from a folder. Then presharding from
and to the store, beside presharding from and to a folder and s3fs moving the same bytes. Shards that are loaded are small, so that there
are many; those that are made have the usual size. The text is several objects: for a range of one, however small, moto copies all of it
(0.14 s where it is 250 MB), as no store does.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from spanmask._lazy import installing
from spanmask.errors import ConfigError

from . import child, markdown, peers, protocol, stores

QUESTION = "What does an object store cost?"
SEED, LATENCY, AT_ONCE, JOBS = 7, 0.03, 8, 2
BUCKET, SHARD_BYTES, TEXTS = "bench", 8 << 20, 8
PLAIN, FIRST, SHUFFLED = "s3fs, shards to files", "first epoch, as stored", "first epoch, any order"
CACHED, LOCAL = "epoch of copies", "epoch of a folder"
MOVED, STORE, FOLDER = "s3fs, text and shards", "preshard, store", "preshard, folder"
#: What is asked of ratios of seconds, at least.
GOALS = {
    f"{place}{name}": least
    for place in ("", "30 ms: ")
    for name, least in (
        (f"{PLAIN} / {FIRST}", 0.9),
        (f"{LOCAL} / {CACHED}", 0.95),
        (f"({FOLDER} + {MOVED}) / {STORE}", 0.9),
    )
}
_KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}


def measure(*, paths: Sequence[str] = (), rounds: int = 5, megabytes: float = 256) -> dict[str, Any]:
    """Measure, in child processes.

    Parameters
    ----------
    paths
        Inputs of any format; by default the stories that ship with spanmask.
    rounds
        How often each contestant runs, after one call to warm up.
    megabytes
        Of text at most.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``places`` (contestants by how far the store is), ``ratios`` and
        ``goals``.

    Raises
    ------
    ConfigError
        The extras ``s3`` or ``servers`` are missing, or there is no text in the inputs.
    """
    if peers.missing(["s3fs", "moto"]):
        raise ConfigError(f"s3fs or moto is not installed: {installing('servers')}")
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder, stores.serving() as port:
        prepared = {"paths": list(paths), "folder": folder, "megabytes": megabytes, "shard_bytes": SHARD_BYTES}
        source = child.call("loading", "prepare", prepared)
        child.call("remote", "upload", {"folder": folder}, _environment(port))
        options = {"folder": folder, "rounds": rounds}
        places = {"": child.call("remote", "run", options, _environment(port))}
        with stores.farther(port, LATENCY) as late:
            places["30 ms: "] = child.call("remote", "run", options, _environment(late))
    ratios = {f"{place}{name}": ratio for place, found in places.items() for name, ratio in found["ratios"].items()}
    medians = {name: ratio["median"] for name, ratio in ratios.items()}
    findings = {"input": source, "places": places, "ratios": ratios, "goals": protocol.goals(medians, GOALS)}
    parameters = {"rounds": rounds, "megabytes": megabytes, "at_once": AT_ONCE, "latency": LATENCY, "seed": SEED}
    return protocol.record(QUESTION, parameters, findings, ["fsspec", "s3fs", "moto"])


def _environment(port: int) -> dict[str, str]:
    # Shards are fetched by threads, and presharding has two processes: nothing is held to one processor.
    return {**_KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


def upload(*, folder: str) -> None:
    """Divide the text of `loading.prepare`, and put that and the shards into the store."""
    fs = _plain()
    fs.mkdir(BUCKET)
    parts, lines = Path(folder, "text"), Path(folder, "text.jsonl").read_bytes().splitlines(keepends=True)
    parts.mkdir()
    for number in range(TEXTS):
        (parts / f"{number}.jsonl").write_bytes(b"".join(lines[number::TEXTS]))
        fs.put_file(str(parts / f"{number}.jsonl"), f"{BUCKET}/text/{number}.jsonl")
    for path in sorted(Path(folder, "shards").rglob("*")):
        if path.is_file():
            fs.put_file(str(path), f"{BUCKET}/shards/{path.relative_to(Path(folder, 'shards'))}")


def run(*, folder: str, rounds: int) -> dict[str, Any]:
    """Measure everything at one distance; see `measure`.

    Returns
    -------
    dict
        ``contestants``: ``seconds`` and ``processor_seconds`` of this process and its workers, one a round, and the ``bytes`` that are
        moved or read; ``ratios``: of seconds.
    """
    import spanmask.shard.cache

    local = {name: Path(folder, name) for name in ("shards", "copies", "files", "out")}
    sizes = [path.stat().st_size for path in local["shards"].rglob("*") if path.is_file()]
    shards, text = sum(sizes), Path(folder, "text.jsonl").stat().st_size
    store, opened = f"s3://{BUCKET}/shards", list[Any]()
    calls: dict[str, tuple[int, Callable[[], object], Callable[[], object]]] = {
        PLAIN: (shards, partial(_fetch, local["files"]), partial(_clear, local["files"])),
        FIRST: (shards, partial(_epoch, opened, "none"), partial(_open, opened, store, local["copies"])),
        SHUFFLED: (shards, partial(_epoch, opened, "global"), partial(_open, opened, store, local["copies"])),
        CACHED: (shards, partial(_epoch, opened, "global"), partial(_open, opened, store)),
        LOCAL: (shards, partial(_epoch, opened, "global"), partial(_open, opened, str(local["shards"]))),
        # First of these: what it wrote is what s3fs puts.
        FOLDER: (
            shards + text,
            partial(_preshard, f"{folder}/text", local["out"]),
            partial(_clear, local["out"]),
        ),
        MOVED: (shards + text, partial(_move, local), partial(_clear, local["files"])),
        STORE: (shards + text, partial(_preshard, f"s3://{BUCKET}/text", f"s3://{BUCKET}/out"), _remove_out),
    }
    spent: dict[str, list[float]] = {name: [] for name in calls}
    with mock.patch.object(spanmask.shard.cache, "user_cache_folder", return_value=local["copies"]):
        contestants = {name: partial(_counting, call, spent[name]) for name, (_, call, _) in calls.items()}
        taken = protocol.interleave(contestants, rounds, {name: before for name, (_, _, before) in calls.items()})
    for name, found in taken.items():
        found |= {"processor_seconds": spent[name][1:], "bytes": calls[name][0]}
    seconds = {name: found["seconds"] for name, found in taken.items()}
    both = [first + second for first, second in zip(seconds[FOLDER], seconds[MOVED], strict=True)]
    ratios = {
        f"{PLAIN} / {FIRST}": protocol.ratio(seconds[PLAIN], seconds[FIRST]),
        f"{PLAIN} / {SHUFFLED}": protocol.ratio(seconds[PLAIN], seconds[SHUFFLED]),
        # The most that a first epoch can be of s3fs, which makes no batches, is what an epoch without a store is of it.
        f"{PLAIN} / {LOCAL}": protocol.ratio(seconds[PLAIN], seconds[LOCAL]),
        f"{LOCAL} / {FIRST}": protocol.ratio(seconds[LOCAL], seconds[FIRST]),
        f"{LOCAL} / {CACHED}": protocol.ratio(seconds[LOCAL], seconds[CACHED]),
        f"({FOLDER} + {MOVED}) / {STORE}": protocol.ratio(both, seconds[STORE]),
    }
    return {"contestants": taken, "ratios": ratios}


def _counting(call: Callable[[], object], spent: list[float]) -> None:
    before = _processor_seconds()
    call()
    spent.append(_processor_seconds() - before)


def _processor_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _plain() -> Any:
    import fsspec

    return fsspec.filesystem("s3", use_listings_cache=False)


def _fetch(folder: Path) -> None:
    """Fetch the shards to files, so many at once."""
    fs = _plain()
    folder.mkdir()
    names = [name for name in fs.find(f"{BUCKET}/shards") if name.endswith(".arrow")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: fs.get_file(name, str(folder / name.replace("/", "-"))), names))


def _open(opened: list[Any], place: str, emptied: Path | None = None) -> None:
    """Open a dataset anew, for the epoch that comes; emptied: the cache folder whose copies are removed before."""
    import spanmask

    if emptied is not None:
        _clear(emptied / "shards")
    opened[:] = [spanmask.open(place)]


def _epoch(opened: list[Any], order: str) -> None:
    from spanmask.loading import LoadConfig, Position, Stream

    for _ in Stream(opened, LoadConfig.of(batch_size=256, order=order)).batches(Position()):
        pass


def _move(local: Mapping[str, Path]) -> None:
    """Fetch the text, and put the shards, as many at once as presharding has processes."""
    fs = _plain()
    local["files"].mkdir()
    paths = [path for path in local["out"].rglob("*") if path.is_file()]
    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(lambda name: fs.get_file(name, str(local["files"] / Path(name).name)), fs.find(f"{BUCKET}/text")))
        list(pool.map(lambda path: fs.put_file(str(path), f"{BUCKET}/moved/{path.name}"), paths))


def _preshard(source: str, out: str | Path) -> None:
    import spanmask

    spanmask.preshard(source, out, spanmask.PreshardConfig.of(seed=SEED), jobs=JOBS)


def _remove_out() -> None:
    fs = _plain()
    if fs.exists(f"{BUCKET}/out"):
        fs.rm(f"{BUCKET}/out", recursive=True)


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = [
        [f"{place}{name}", *_figures(found)]
        for place, at in result["places"].items()
        for name, found in at["contestants"].items()
    ]
    head = ["contestant", "MB/s: median", "min", "max", "processor s/GB"]
    ratios = [markdown.comparison(name, ratio, result["goals"].get(name)) for name, ratio in result["ratios"].items()]
    parameters = result["parameters"]
    footer = (
        f"Shards of {result['input']['shard_bytes'] / protocol.MEGABYTE:,.0f} MB; MB are of what is moved or read; "
        f"{parameters['at_once']} objects at once, {JOBS} processes to preshard; {parameters['rounds']} rounds.\n"
        f"{markdown.measured_on(result)}"
    )
    return "\n\n".join([markdown.table(head, rows), "\n".join(ratios), f"{footer}\n"])


def _figures(found: Mapping[str, Any]) -> list[str]:
    rate = protocol.spread(protocol.rates(found["bytes"], found["seconds"]))
    processor = protocol.spread([spent / found["bytes"] * 1e9 for spent in found["processor_seconds"]])
    return [*markdown.megabytes(rate), f"{processor['median']:.2f}"]


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.remote", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="INPUT", help="text, as spanmask preshard takes it")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant runs (default: 5)")
    parser.add_argument("--megabytes", type=float, default=256, help="of text at most (default: 256)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    result = measure(paths=asked.paths, rounds=asked.rounds, megabytes=asked.megabytes)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
