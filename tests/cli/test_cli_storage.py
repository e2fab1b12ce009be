"""Storage that refuses: exit 4, one line, nothing half-written under a final name, and the same command goes on later."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import plant

from spanmask import PreshardConfig, preshard, storage, verify
from spanmask.errors import StorageError

pytestmark = pytest.mark.faults

OPTIONS = ["--seed", "1", "--jobs", "1", "--shard-bytes", "16KiB", "--max-tokens", "32"]
TEXT = "\n\n".join(f"document {i} tells of {i * 7919} unbelievable things and then it ends" for i in range(900))

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount, and to give up reading everything")


def _in_mounts(script: str, *arguments: object) -> list[str]:
    """Return a prefix that runs a script of mounts in a namespace of its own, then the command."""
    prefix = ["unshare", "-m", "sh", "-ec", f'{script}\nshift {len(arguments)}\nexec "$@"', "sh", *map(str, arguments)]
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"cannot mount here: {probe.stderr.decode().strip()}")
    return prefix


@pytest.mark.slow
@as_root
def test_an_input_that_may_not_be_read_ends_with_4(shell: Any, one_line: Callable[[str], str]) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    path = shell.write("a.txt")
    path.chmod(0)
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    result = shell.process("preshard", path, "--out", "out", *OPTIONS, prefix=prefix)
    assert (result.returncode, result.stdout) == (4, "")
    assert "a.txt: could not read (Permission denied); check the permissions" in one_line(result.stderr)


@as_root
@pytest.mark.slow
def test_a_read_only_output_ends_with_4(shell: Any, one_line: Callable[[str], str]) -> None:
    path = shell.write("a.txt")
    (shell.folder / "place").mkdir()
    prefix = _in_mounts('mount -t tmpfs -o ro tmpfs "$1"', shell.folder / "place")
    result = shell.process("preshard", path, "--out", "place/out", *OPTIONS, prefix=prefix)
    assert (result.returncode, result.stdout) == (4, "")
    assert "Read-only file system" in one_line(result.stderr)


@as_root
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_a_full_output_ends_with_4_and_the_same_command_goes_on(
    shell: Any, one_line: Callable[[str], str], share: float
) -> None:
    """The folder is a file system with room for a share of the dataset; then a large one, to which what was written is carried over."""
    path = shell.write("a.txt", TEXT)
    assert shell("preshard", path, "--out", "reference", *OPTIONS).code == 0
    size = int(sum(map(len, _tree(shell.folder / "reference").values())) * share) >> 10
    for name in ("place", "saved"):
        (shell.folder / name).mkdir()
    script = 'mount -t tmpfs -o size="$1"k tmpfs place\ntrap "cp -a place/. saved" EXIT\nshift\nset +e\n"$@"\nexit $?'
    prefix = ["unshare", "-m", "sh", "-ec", script, "sh", str(size)]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    result = shell.process("preshard", path, "--out", "place/out", *OPTIONS, prefix=prefix)
    assert (result.returncode, result.stdout) == (4, "")
    # A tenth of the room is known beforehand not to do, and some more to do perhaps.
    *warned, told = result.stderr.splitlines(keepends=True)
    wanted = ("make room,", "are free there;") if share < 0.2 else ("free some space", "No space left on device")
    assert all(part in one_line(told) for part in (*wanted, "run the same command again"))
    assert all("it may not fit" in line for line in warned)
    _assert_whole_shards(shell.folder / "saved" / "out", shell.folder / "reference")
    (shell.folder / "place").rmdir()
    (shell.folder / "saved").rename(shell.folder / "place")
    again = shell("preshard", path, "--out", "place/out", *OPTIONS)
    assert (again.code, again.error) == (0, "")
    assert _tree(shell.folder / "place" / "out") == _tree(shell.folder / "reference")


@pytest.mark.slow
def test_a_file_that_may_not_grow_ends_with_4_and_the_same_command_goes_on(
    shell: Any, one_line: Callable[[str], str]
) -> None:
    path = shell.write("a.txt", TEXT)
    assert shell("preshard", path, "--out", "reference", *OPTIONS).code == 0

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    result = shell.process("preshard", path, "--out", "out", *OPTIONS, preexec_fn=limit)
    assert (result.returncode, result.stdout) == (4, "")
    assert "File too large" in one_line(result.stderr)
    _assert_whole_shards(shell.folder / "out", shell.folder / "reference")
    assert shell("preshard", path, "--out", "out", *OPTIONS).code == 0
    assert _tree(shell.folder / "out") == _tree(shell.folder / "reference")
    assert verify(shell.folder / "out").ok


def test_an_output_below_a_file_ends_with_4(shell: Any, one_line: Callable[[str], str]) -> None:
    result = shell.preshard(shell.write("a.txt"), out="a.txt/out")
    assert result.code == 4
    assert "Not a directory" in one_line(result.error)


def test_a_refusal_that_nobody_takes_for_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: what the file system refuses is no error of ours. The command has another behind it."""
    path = tmp_path / "a.txt"
    path.write_text(TEXT)

    def written_below_a_file() -> None:
        preshard(path, path / "out", PreshardConfig.of(seed=1), jobs=1)

    with pytest.raises(StorageError, match="Not a directory"):
        written_below_a_file()
    plant(monkeypatch, storage, "except OSError as error:", "except ZeroDivisionError as error:")
    with pytest.raises(NotADirectoryError):
        written_below_a_file()


def test_a_folder_where_a_shard_should_be_is_told_by_verify(shell: Any) -> None:
    shell.preshard(shell.write("a.txt"))
    shard = next((shell.folder / "out" / "train").iterdir())
    shard.unlink()
    shard.mkdir()
    result = shell("verify", "out")
    assert result.code == 1
    assert "Traceback" not in result.error


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _assert_whole_shards(out: Path, reference: Path) -> None:
    """Whatever stands under a final name is what it will be."""
    if not out.exists():
        return
    assert not (out / "manifest.json").exists()
    for path in out.glob("train/shard-*"):
        assert path.read_bytes() == (reference / "train" / path.name).read_bytes()
    assert not list(out.rglob(".tmp-*"))
