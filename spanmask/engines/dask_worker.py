"""What a Dask worker does with a unit."""

from __future__ import annotations

import platform
import threading
import traceback
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

from spanmask.engines.workers import Work
from spanmask.errors import SpanmaskError

#: Packages whose version decides bytes.
PACKAGES = ("spanmask", "pyarrow", "tokenizers")

Versions = dict[str, str | None]


class _Prepared(threading.local):
    """The last work that this thread was given, and what it made ready: two threads never share a pipeline."""

    work: Work | None = None
    run: Callable[..., Any]


_prepared = _Prepared()


@cache
def own_versions() -> Versions:
    """Return the versions here of what decides bytes."""
    return versions_of({"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}})


def versions_of(found: dict[str, str | None]) -> Versions:
    """Return those versions that decide bytes, of many: of Python without its third number."""
    python = ".".join((found.get("python") or "").split(".")[:2])
    return {"python": python, **{name: found.get(name) for name in PACKAGES}}


def run_unit(work: Work, unit: Any, wanted: Versions) -> tuple[Any, ...]:
    """Run a unit, whatever comes of it, as a message: Dask would try an error of ours again, or change it on the way.

    Parameters
    ----------
    work
        Small, since it travels with every unit; what it prepares is kept for the next unit of an equal one.
    wanted
        Versions of who asks: another one's bytes would be others.

    Returns
    -------
    tuple
        ``"done"``, the result and the sums of what was reported; ``"error"`` and an error of ours; ``"versions"`` and those here.
    """
    if own_versions() != wanted:
        return "versions", own_versions()
    sums: list[int] = []

    def report(*counts: int) -> None:
        sums[:] = map(sum, zip(sums, counts, strict=True)) if sums else counts

    try:
        if _prepared.work != work:
            _prepared.run, _prepared.work = work.prepare(), work
        return "done", _prepared.run(unit, report), sums
    except SpanmaskError as error:
        return "error", error
    except Exception:
        return "error", SpanmaskError(f"a worker met an error that was not foreseen\n{traceback.format_exc()}")
