"""docs/cluster.md word for word: an array of processes, a Dask scheduler and workers that are processes, and an S3 server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import EXCEPTIONS, ROOT, steps
from test_pages import run_page, write_texts

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PAGE = ROOT / "docs" / "cluster.md"
#: Stands in for Slurm's, which is not installed: it runs the tasks of the array one after another, with the variables that Slurm sets.
_SBATCH = """#!/bin/bash
set -euo pipefail
for option in "$@"; do case $option in --array=*) range=${option#--array=};; esac; done
body=${!#}
first=${range%-*} last=${range#*-}
for ((id = first; id <= last; id++)); do
    SLURM_ARRAY_TASK_ID=$id SLURM_ARRAY_TASK_MIN=$first SLURM_ARRAY_TASK_MAX=$last \\
        SLURM_ARRAY_TASK_COUNT=$((last - first + 1)) SLURM_ARRAY_TASK_STEP=1 bash -c "$body"
done
"""


@pytest.fixture
def cluster(object_store: Any) -> Iterator[str]:
    """The address of a Dask scheduler with two workers, all processes, with the store in their environment."""
    pytest.importorskip("distributed", reason="distributed is in the extra dask")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    commands = [[*dask, "scheduler", "--host", address, "--no-dashboard"]]
    commands += [[*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]] * 2
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
    try:
        yield address
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def test_the_page_of_clusters_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str, object_store: Any
) -> None:
    write_texts(tmp_path)
    for path in sorted((tmp_path / "YOUR-TEXTS").iterdir()):
        object_store.put(f"texts/{path.name}", path.read_bytes())
    stand_in = tmp_path / "bin" / "sbatch"
    stand_in.parent.mkdir()
    stand_in.write_text(_SBATCH)
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SPANMASK_SHARD_CACHE_BYTES", "100MB")
    for step in steps(PAGE):
        if step.kind == "command" and step.text not in EXCEPTIONS:
            line = step.text.replace("tcp://SCHEDULER:8786", cluster).replace("s3://BUCKET", object_store.url())
            monkeypatch.setitem(EXCEPTIONS, step.text, ("other addresses", line))
    # Of a few stories, too, several tasks.
    page = tmp_path / "cluster.md"
    page.write_text(PAGE.read_text("utf-8").replace("\nseed = 7\n", '\nseed = 7\nshard_bytes = "16KiB"\n'), "utf-8")
    run_page(page, tmp_path, {})
    written = {path.relative_to(tmp_path / "laptop").as_posix() for path in (tmp_path / "laptop").rglob("*.*")}
    for name in ("slurm", "dask"):
        shutil.rmtree(tmp_path / name / ".spanmask", ignore_errors=True)
        assert _tree(tmp_path / name) == _tree(tmp_path / "laptop")
    assert object_store.tree("shards") == _tree(tmp_path / "laptop")
    assert sum(name.startswith("train/") for name in written) > 3


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
