"""All questions, one after another, and the tables made from them: ``python -m spanmask_bench.reproduce INPUT…``.

It takes several minutes. The figures that are committed were measured on the English Wikipedia's text of 2018.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from spanmask.storage import publish_bytes

from . import loading, masking, presharding, protocol, tables, tokenizing, training


def main() -> None:
    """Measure on the inputs that the command line names, and rewrite results and tables."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.reproduce", description=__doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="text, as spanmask preshard takes it")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contestant runs (default: 7)")
    parser.add_argument("--megabytes", type=float, help="of text at most (default: as each question's)")
    asked = parser.parse_args()
    for name, measure in questions(asked.inputs, asked.rounds, asked.megabytes).items():
        publish_bytes(tables.RESULTS / f"{name}.json", protocol.as_json(measure()))
    tables.write()


def questions(paths: list[str], rounds: int, megabytes: float | None) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what measures each question, by the name of its result."""
    options: dict[str, Any] = {"paths": paths, "rounds": rounds}
    if megabytes is not None:
        options["megabytes"] = megabytes
    return {
        "masking": partial(masking.measure, rounds=2 * rounds + 1),
        "tokenize": partial(tokenizing.measure, **options),
        "preshard": partial(presharding.measure, **options),
        "loading": partial(loading.measure, **options),
        "train": partial(training.measure, paths=paths, plan=training.PLANS["cpu"], rounds=rounds),
    }


if __name__ == "__main__":
    main()
