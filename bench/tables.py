"""Writes the tables of both READMEs, and of pages of ``docs/``, from ``results/*.json``.

By ``python -m spanmask_bench.tables``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spanmask.storage import publish_bytes

from . import (
    answering,
    boundaries,
    engines,
    faults,
    finetuning,
    grids,
    loading_table,
    masking,
    performance,
    presharding,
    pretraining,
    probes,
    remote,
    revisions,
    scale,
    scoring,
    tokenizing_table,
    training_table,
    windows,
)

README = Path(__file__).with_name("README.md")
PACKAGE_README = Path(__file__).resolve().parent.parent / "README.md"
DOCS = PACKAGE_README.with_name("docs")
RELIABILITY, SCALING, EVALUATING, REPRODUCING = (
    DOCS / f"{name}.md" for name in ("reliability", "scaling", "evaluating", "reproducing")
)
RESULTS = Path(__file__).with_name("results")

Results = Mapping[str, Mapping[str, Any]]


def _training(results: Results, name: str, device: str) -> str:
    return training_table.table(results[name]) if name in results else training_table.empty(device)


def _pretraining(results: Results) -> str:
    names = {"`tiny`": "pretraining", "ModernBERT-like": "pretraining-modernbert"}
    return pretraining.table({told: results[name] for told, name in names.items() if name in results})


def _measured(name: str, question: Any, empty: str = "Not measured yet.\n") -> Callable[[Results], str]:
    """Return what makes a question's table, or says that there is no result of it yet."""
    return lambda results: question.table(results[name]) if name in results else empty


#: What each page's tables are, by the name in their markers.
TABLES: dict[Path, dict[str, Callable[[Results], str]]] = {
    README: {
        "masking": lambda results: masking.table(results["masking"]),
        "tokenize": lambda results: tokenizing_table.table(results["tokenize"]),
        "preshard": lambda results: presharding.table(results["preshard"]),
        "load": lambda results: loading_table.table(results["loading"]),
        "train": lambda results: _training(results, "train", "cpu"),
        "revisions": lambda results: revisions.table(results["revisions"]),
        "revisions, training": lambda results: revisions.table(results["revisions-training"]),
        "pretraining": _pretraining,
        "scoring": _measured("scoring", scoring),
        "finetuning": _measured("finetuning", finetuning),
        "answering": _measured("answering", answering),
        "boundaries": _measured("boundaries", boundaries),
        "windows": _measured("windows", windows),
        "engines": _measured("engines", engines),
        "remote": _measured("remote", remote),
        "train ModernBERT": _measured("train-modernbert", training_table),
        "train on a GPU": lambda results: _training(results, "train-cuda", "cuda"),
    },
    PACKAGE_README: {"performance": performance.table},
    RELIABILITY: {"faults": _measured("faults", faults, "No run is recorded yet.\n")},
    SCALING: {"scale": _measured("scale", scale)},
    EVALUATING: {"probes": _measured("probes", probes)},
    REPRODUCING: {"spans": _measured("spans", grids, "Not run yet.\n")},
}


def results() -> dict[str, dict[str, Any]]:
    """Return the committed results by name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def filled(readme: str, tables: Mapping[str, Callable[[Results], str]], found: Results) -> str:
    """Return a README with what stands between its markers made from results anew.

    Raises
    ------
    ValueError
        A marker is missing.
    """
    for name, table in tables.items():
        begin, end = f"<!-- {name}: made by spanmask_bench.tables -->\n", f"<!-- {name}: end -->"
        before, found_begin, rest = readme.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"The page lacks the markers of {name}: {begin.strip()} and {end}")
        readme = f"{before}{begin}\n{table(found)}\n{end}{after}"
    return readme


def write() -> None:
    """Fill the tables of all."""
    for path, tables in TABLES.items():
        publish_bytes(path, filled(path.read_text("utf-8"), tables, results()).encode())


if __name__ == "__main__":
    write()
