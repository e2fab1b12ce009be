"""Writes the tables of ``README.md`` from ``results/*.json``: ``python -m spanmask_bench.tables``."""

from __future__ import annotations

import json
from pathlib import Path

from spanmask.storage import publish_bytes

from . import masking

README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results")
#: What makes each result's table.
TABLES = {"masking": masking.table}


def filled(readme: str) -> str:
    """Return a README with what stands between its markers made from the results anew.

    Raises
    ------
    ValueError
        A marker is missing.
    """
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: made by spanmask_bench.tables -->\n", f"<!-- {name}: end -->"
        before, found_begin, rest = readme.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"README.md lacks the markers of {name}: {begin.strip()} and {end}")
        result = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        readme = f"{before}{begin}\n{table(result)}\n{end}{after}"
    return readme


def write() -> None:
    """Fill the README's tables."""
    publish_bytes(README, filled(README.read_text("utf-8")).encode())


if __name__ == "__main__":
    write()
