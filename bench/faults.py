"""What breaks it? The fault matrix as one table, each row of real runs: ``python -m spanmask_bench.faults [--lane F|N] [--only A1,B2]``.

A row names tests, and a figure: how many faults they are to try. Tests tell how many they tried, and one that tells nothing tried one.
Lane F is what every commit tries, slow tests too, lane N a long run (SPANMASK_THOROUGH), whose rows are kept one by one: a run that was
killed goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, parse

from spanmask.storage import publish_bytes

from . import markdown, protocol
from .fault_rows import ROWS, Row

#: What a lane adds to the environment.
LANES: dict[str, dict[str, str]] = {"F": {}, "N": {"SPANMASK_THOROUGH": "1"}}
QUESTION = "What breaks it?"
_STDERR = 2


def run(rows: Sequence[Row], lane: str) -> dict[str, dict[str, Any]]:
    """Run the tests of rows in one call of pytest, and return what became of each row, by its id."""
    names = sorted({test for row in rows for test in row.tests})
    with tempfile.TemporaryDirectory(prefix="spanmask-") as folder:
        told = Path(folder) / "told.xml"
        # Of the later family pytest warns that properties are none of its schema, which tests take for an error.
        options = ["-m", "not gpu", "--timeout", "3000", "-o", "junit_family=xunit1", f"--junitxml={told}"]
        # Isolated from this folder, whose `cli` is not that of the tests.
        command = [sys.executable, "-P", "-m", "pytest", "-q", *options, *names]
        # Told as it goes: a lane takes a quarter of an hour and more.
        ended = subprocess.run(
            command, cwd=protocol.ROOT, env={**os.environ, **LANES[lane]}, check=False, stdout=_STDERR
        )
        # pytest itself wrote it, just now.
        cases = list(parse(told).iter("testcase")) if told.exists() else []  # noqa: S314
        if ended.returncode not in (0, 1) or not set(map(_name, cases)) <= set(names) or not cases:
            raise SystemExit(f"pytest ended with {ended.returncode}, and told above why")
    return {row.id: found(row, lane, cases) for row in rows}


def found(row: Row, lane: str, cases: Iterable[Element]) -> dict[str, Any]:
    """Return what became of a row: faults that were tried, tests that failed or were skipped, seconds."""
    own = [case for case in cases if _name(case) in row.tests]
    ended = {kind: [case for case in own if case.find(kind) is not None] for kind in ("failure", "error", "skipped")}
    failed = [_name(case) for case in (*ended["failure"], *ended["error"])]
    tried = sum(_tried(case) for case in own if case not in ended["skipped"])
    asked = row.asked[lane]
    return {
        "asked": asked,
        "tried": tried,
        "tests": len(own),
        "failed": sorted(set(failed)),
        "skipped": len(ended["skipped"]),
        "seconds": round(sum(float(case.get("time", 0)) for case in own), 1),
        "result": "red" if failed else "green" if tried >= asked else "fewer than asked",
    }


def _name(case: Element) -> str:
    """Return the name by which pytest takes a test of all its parameters."""
    return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"


def _tried(case: Element) -> int:
    told = [item.get("value", "1") for item in case.iter("property") if item.get("name") == "tried"]
    return sum(map(int, told)) if told else 1


def measure(lane: str, only: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Run what is not done yet of a lane, or the rows that are named, and return all that is known.

    All rows of lane F are one call of pytest, whose start is most of what many take; of lane N each has its own, and is kept at once.
    """
    unknown = set(only) - {row.id for row in ROWS}
    if unknown:
        raise SystemExit(f"no rows {', '.join(sorted(unknown))}; there are {', '.join(row.id for row in ROWS)}")
    result = _kept(file)
    done = result["lanes"].setdefault(lane, {})
    built = [row for row in ROWS if row.tests and (row.id in only if only else row.id not in done)]
    for rows in [built] if lane == "F" and built else [[row] for row in built]:
        done.update(run(rows, lane))
        if file is not None:
            publish_bytes(file, protocol.as_json(result))
    return result


def _kept(file: Path | None) -> dict[str, Any]:
    """Return what a file has of this commit; of another, nothing."""
    fresh = protocol.record(QUESTION, {}, {"lanes": {}})
    if file is None or not file.exists():
        return fresh
    kept: dict[str, Any] = json.loads(file.read_bytes())
    return kept if kept["commit"] == fresh["commit"] and not fresh["dirty"] else fresh


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    head = ["", "what is done", "what passes", "a commit: tried, of", "", "a long run: tried, of", "", "seconds"]
    rows = [
        [row.id, row.fault, row.passes, *_cells(result, row, "F"), *_cells(result, row, "N"), _seconds(result, row)]
        for row in ROWS
    ]
    return f"{markdown.table(head, rows, texts=3)}\n\n{_footer(result)}\n"


def _cells(result: Mapping[str, Any], row: Row, lane: str) -> list[str]:
    if not row.tests:
        return ["", "not built"]
    known = result["lanes"].get(lane, {}).get(row.id)
    if known is None:
        return [f"{row.asked[lane]:,} asked", "not run"]
    skipped = f", {known['skipped']} skipped" * bool(known["skipped"])
    return [f"{known['tried']:,} of {known['asked']:,}", f"{known['result']}{skipped}"]


def _seconds(result: Mapping[str, Any], row: Row) -> str:
    known = [result["lanes"][lane][row.id]["seconds"] for lane in LANES if row.id in result["lanes"].get(lane, {})]
    return " + ".join(f"{seconds:,.0f}" for seconds in known)


def _footer(result: Mapping[str, Any]) -> str:
    totals = [
        f"lane {lane}: {sum(row['seconds'] for row in rows.values()):,.0f} s of tests"
        for lane, rows in sorted(result["lanes"].items())
    ]
    return f"{'; '.join(totals)}.\n{markdown.measured_on(result)}"


def main() -> None:
    """Run what the command line names, and print the table; exit with 1 where a row of it is not green."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.faults", description=__doc__)
    parser.add_argument("--lane", choices=LANES, default="F", help="F: as every commit; N: a long run (default: F)")
    parser.add_argument(
        "--only", default="", metavar="A1,B2…", help="rows to run, again if they were (default: those left)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the result, row by row, and go on from it")
    asked = parser.parse_args()
    only = [name for name in asked.only.split(",") if name]
    result = measure(asked.lane, only, asked.json)
    sys.stdout.write(table(result))
    sys.exit(any(row["result"] != "green" for row in result["lanes"][asked.lane].values()))


if __name__ == "__main__":
    main()
