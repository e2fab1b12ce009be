"""Disks of any size, users without a home, any umask and locale: the same bytes, or a refusal after which the same command goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanmask.kernels.cache import user_cache_folder

pytestmark = [pytest.mark.faults, pytest.mark.slow]

TEXT = "\n\n".join(f"document {i} tells of {i * 7919} unbelievable things and then it ends" for i in range(6000))
OPTIONS = ["--seed", "1", "--shard-bytes", "16KiB", "--max-tokens", "32"]

#: Fills disks of 64 KiB to 1.25 MiB, makes each larger, and goes on; prints how each attempt ended, and whether it came to the same.
_DISKS = """
import shutil, subprocess, sys
from pathlib import Path
from spanmask import PreshardConfig, StorageError, preshard

config = PreshardConfig.of(seed=1, shard_bytes=16 << 10, max_tokens=32)
place, reference = Path("place"), Path("reference")
# What is known beforehand not to fit would be refused before anything is written.
real = shutil.disk_usage
shutil.disk_usage = lambda path: real(path)._replace(free=1 << 40)

def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

preshard("a.txt", reference, config, jobs=1)
for kibibytes in range(64, 1281, 64):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", place], check=True)
    try:
        preshard("a.txt", place / "out", config, jobs=1)
        ended = "wrote"
    except StorageError as error:
        ended = "refused" if "No space left on device" in str(error) and "free some space" in str(error) else repr(error)
    left = tree(place)
    whole = all(left.get(Path("out") / path, data) == data for path, data in tree(reference).items())
    subprocess.run(["mount", "-o", "remount,size=16m", place], check=True)
    preshard("a.txt", place / "out", config, jobs=1)
    print(ended, whole, tree(place / "out") == tree(reference))
    subprocess.run(["umount", place], check=True)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount")
def test_a_disk_of_any_size_holds_nothing_half_and_the_run_goes_on_when_it_is_larger(
    shell: Any, count: Callable[[int], None]
) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    shell.write("a.txt", TEXT)
    (shell.folder / "place").mkdir()
    command = ["unshare", "-m", sys.executable, "-c", _DISKS]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=shell.folder).stdout.splitlines()
    assert len(lines) == 20
    count(20)
    assert {line.partition(" ")[2] for line in lines} == {"True True"}
    ended = [line.partition(" ")[0] for line in lines]
    assert ended == sorted(ended)
    assert len({*ended}) == 2


@pytest.mark.parametrize(("mask", "jobs"), [(0o077, 1), (0, 2)])
def test_without_a_home_or_a_place_for_temporary_files_modes_follow_the_umask(shell: Any, mask: int, jobs: int) -> None:
    shell.write("a.txt", TEXT)
    assert shell("preshard", "a.txt", "--out", "reference", *OPTIONS, "--jobs", 1).code == 0
    # Kernels stay where they are: to compile them would take a minute.
    gone = {"HOME": "/dev/null/home", "SPANMASK_CACHE_DIR": str(user_cache_folder()), "TMPDIR": "/dev/null/tmp"}
    gone |= {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "TERM": "dumb"}
    result = shell.process(
        "preshard", "a.txt", "--out", "out", *OPTIONS, "--jobs", jobs,
        environment=gone, preexec_fn=lambda: os.umask(mask), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    found = list((shell.folder / "out").rglob("*"))
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o666 & ~mask}
    assert {path.stat().st_mode & 0o777 for path in (shell.folder / "out", *found) if path.is_dir()} == {0o777 & ~mask}
    assert _tree(shell.folder / "out") == _tree(shell.folder / "reference")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount")
def test_inputs_on_a_read_only_disk_are_read_and_nothing_is_written_there(shell: Any) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    (shell.folder / "source").mkdir()
    shell.write("source/a.txt", TEXT)
    script = 'mount --bind source source && mount -o remount,ro,bind source && exec "$@"'
    result = shell.process(
        "preshard", "source", "--out", "out", *OPTIONS, "--jobs", 1, prefix=["unshare", "-m", "sh", "-c", script, "sh"]
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert [path.name for path in (shell.folder / "source").iterdir()] == ["a.txt"]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
