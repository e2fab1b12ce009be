"""Runs one function of this package in a fresh process whose libraries are held to one thread.

Thread counts are read when NumPy and numba are imported, so they cannot be set in a process that is already running.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from spanmask import errors

_COUNTS = (
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def threads(count: int) -> dict[str, str]:
    """Return the environment that holds libraries to so many threads."""
    return {**dict.fromkeys(_COUNTS, str(count)), "TOKENIZERS_PARALLELISM": "false"}


ONE_THREAD = threads(1)


def call(
    module: str, function: str, parameters: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Any:
    """Return what ``function`` of ``spanmask_bench.module`` returns for keyword ``parameters``, both as JSON allows.

    Raises
    ------
    SpanmaskError
        The function raised one of these: the same, with its message.
    RuntimeError
        The child failed otherwise; its traceback went to standard error.
    """
    request = json.dumps({"module": module, "function": function, "parameters": parameters})
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=request.encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, **ONE_THREAD, **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring {module}.{function} failed with exit code {done.returncode}; see above")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return answer["found"]


def _answer() -> None:
    request = json.load(sys.stdin)
    function = getattr(importlib.import_module(f".{request['module']}", __package__), request["function"])
    try:
        answer = {"found": function(**request["parameters"])}
    except errors.SpanmaskError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _answer()
