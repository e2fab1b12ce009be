"""The cache of compiled kernels: never stale, never trusted beyond its owner, never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import COMMAND
from planted import Wrong, build, plant, planted

import spanmask
from spanmask.kernels import cache, siphash
from spanmask.kernels._jit import inlined, kernel

PACKAGE = Path(spanmask.__file__).parent


def _doubled(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = 2 * x[i]


def _tripled(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = 3 * x[i]


class Kernels:
    """Runs kernels as new processes would: each with a new dispatcher, the compiled code from the cache or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, function: Any = _doubled, dtype: Any = np.int64) -> int:
        """Run a kernel, check its result, and return how many times it was found in the cache."""
        compiled: Any = kernel(function)
        x = np.arange(5).astype(dtype)
        out = np.zeros_like(x)
        compiled(x, out)
        assert out.tolist() == [(2 if function is _doubled else 3) * i for i in range(5)]
        return sum(compiled.stats.cache_hits.values())

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "kernels").rglob("*.nb*"))


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernels]:
    monkeypatch.setenv("SPANMASK_CACHE_DIR", str(tmp_path / "cache"))
    cache.kernel_cache_folder.cache_clear()
    cache._warn_once.cache_clear()
    yield Kernels(tmp_path / "cache")
    monkeypatch.undo()
    cache.kernel_cache_folder.cache_clear()
    cache._warn_once.cache_clear()


def test_a_kernel_is_compiled_once_for_each_signature(kernels: Kernels) -> None:
    assert [kernels.run(), kernels.run(), kernels.run(dtype=np.uint16), kernels.run(dtype=np.uint16)] == [0, 1, 0, 1]
    assert len(kernels.files) == 2
    assert kernels.run() == 1


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("literal", [0, -1, 7, True])
def test_what_takes_a_literal_is_compiled_for_its_type_once(literal: int) -> None:
    given = type(literal)(1)

    @inlined
    def chosen(x: int) -> int:
        return x

    @kernel
    def last_of(count: int) -> int:
        found = literal
        for _ in range(count):
            found = chosen(found)
        return chosen(literal) if count > 0 else chosen(given)

    assert [last_of(0), last_of(3)] == [given, literal]
    told: Any = chosen
    assert len(told.signatures) == 1


def test_the_folder_is_the_users_own(kernels: Kernels) -> None:
    kernels.run()
    assert kernels.files[0].parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped head", "flipped tail", "garbage"])
def test_a_damaged_file_heals(kernels: Kernels, damage: str) -> None:
    kernels.run()
    (path,) = kernels.files
    data = bytearray(path.read_bytes())
    if damage == "flipped head":
        data[3] ^= 1
    if damage == "flipped tail":
        data[-1000] ^= 64
    kinds = {"empty": b"", "truncated": bytes(data[: len(data) // 2]), "garbage": b"\x80\x05garbage" * 99}
    path.write_bytes(kinds.get(damage, bytes(data)))
    assert [kernels.run(), kernels.run()] == [0, 1]


def test_no_flipped_bit_is_ever_run(kernels: Kernels) -> None:
    kernels.run()
    (path,) = kernels.files
    files = cache._Files(str(path.parent), "x")
    files.save("key", "content" * 30)
    (path,) = path.parent.glob("x.*")
    sound = path.read_bytes()
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert files.load("key") is None
    path.write_bytes(sound)
    assert files.load("key") == "content" * 30


def test_a_cache_that_compares_no_digest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: what was changed on disk is loaded."""

    def changed() -> Any:
        files = cache._Files(str(tmp_path), "x")
        files.save("key", "content")
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes().replace(b"content", b"another"))
        return files.load("key")

    assert changed() is None
    plant(monkeypatch, cache, "if hashlib.sha256(data[32:]).digest() != data[:32]:", "if not data:")
    assert changed() == "another"


def test_a_folder_that_others_can_write_is_refused_with_one_warning(kernels: Kernels) -> None:
    kernels.run()
    (path,) = kernels.files
    path.parent.chmod(0o770)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert kernels.run() == 0
        assert kernels.run(_tripled) == 0
    assert [str(warning.message) for warning in caught] == [
        f"compiled kernels cannot be kept in {path.parent} (others can write there), and every run compiles them again; "
        "set SPANMASK_CACHE_DIR to a folder of your own"
    ]
    assert kernels.files == [path]


def test_a_cache_that_cannot_be_written_is_done_without_after_one_warning(kernels: Kernels) -> None:
    kernels.folder.write_text("a file stands where the folder should")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [kernels.run(), kernels.run(), kernels.run(_tripled)] == [0, 0, 0]
    assert len(caught) == 1
    assert "Not a directory" in str(caught[0].message)


def test_the_folder_is_named_by_every_kernel_source(tmp_path: Path) -> None:
    code = "from spanmask.kernels.cache import kernel_cache_folder; print(kernel_cache_folder().name)"

    def name(package: Path) -> str:
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(package)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    shutil.copytree(PACKAGE, tmp_path / "copy" / "spanmask")
    same = name(tmp_path / "copy")
    with (tmp_path / "copy" / "spanmask" / "kernels" / "philox.py").open("a") as file:
        file.write("# another line\n")
    assert name(tmp_path / "copy") != same == cache.kernel_cache_folder().name + "\n"


# --- Processes


def _run(
    code: str, package: Path, folder: Path, prefix: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with a package and a cache folder."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(package), "SPANMASK_CACHE_DIR": str(folder), **environment},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def _hash(package: Path, folder: Path, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Hash one document in a process of its own, and print the hash and how many kernels came from the cache."""
    code = """
import numpy as np
from spanmask.kernels.siphash import hash_documents
out = np.zeros(1, np.uint64)
hash_documents(np.frombuffer(b"abc", np.uint8), np.array([0, 3]), np.uint64(1), np.uint64(2), out)
print(out[0], sum(hash_documents.stats.cache_hits.values()))
"""
    return _run(code, package, folder, prefix)


#: Lines of siphash.py, and what they are edited into.
ROUND = ("v1 = _rotated(v1, 13)", "v1 = _rotated(v1, 14)")
ROTATION = ("return (x << np.uint64(bits))", "return (x << np.uint64(bits + 2))")


@pytest.mark.parametrize("edit", [ROUND, ROTATION], ids=["round", "rotation"])
def test_the_lines_that_are_edited_below_are_there_and_compile(edit: tuple[str, str]) -> None:
    wrong = build(Wrong(module=siphash, kernel="hash_documents", old=edit[0], new=edit[1]))
    found = np.zeros(2, np.uint64)
    for place, hash_documents in enumerate((siphash.hash_documents, wrong)):
        hash_documents(
            np.frombuffer(b"abc", np.uint8), np.array([0, 3]), np.uint64(1), np.uint64(2), found[place : place + 1]
        )
    assert found[0] != found[1]


@pytest.mark.slow
def test_an_edited_inner_kernel_is_never_served_stale(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "copy" / "spanmask")
    first, second = (_hash(tmp_path / "copy", tmp_path / "cache").stdout.split() for _ in range(2))
    assert (first[0], first[1], second[1]) == (second[0], "0", "1")
    inner = tmp_path / "copy" / "spanmask" / "kernels" / "siphash.py"
    inner.write_text(planted(inner.read_text(), *ROUND))
    edited, again = (_hash(tmp_path / "copy", tmp_path / "cache").stdout.split() for _ in range(2))
    assert (edited[0], edited[1], again[1]) == (again[0], "0", "1")
    assert edited[0] != first[0]


_OUTER = """
from spanmask.kernels._jit import inlined, kernel
from spanmask.kernels.siphash import _rotated

@kernel
def turn_all(x, out):
    for i in range(len(x)):
        out[i] = _rotated(x[i], 1)
"""

_TURN = """
import numpy as np
from spanmask.kernels.outer import turn_all
out = np.zeros(2, np.uint64)
turn_all(np.array([1, 4], np.uint64), out)
print(*out, sum(turn_all.stats.cache_hits.values()))
"""

_READ_OUTSIDE = """
import numpy as np
from spanmask.kernels._jit import inlined, kernel

@kernel
def read(x, place):
    return x[place]

read(np.arange(4), 3)
print(sum(read.stats.cache_hits.values()))
read(np.arange(9)[:4], 5)
"""


@pytest.mark.slow
def test_an_edited_inner_kernel_of_another_file_is_never_served_stale(tmp_path: Path) -> None:
    """numba's own stamp of a cached kernel is that of the outer one's file, which stays as it was."""
    kernels = tmp_path / "copy" / "spanmask" / "kernels"
    shutil.copytree(PACKAGE, kernels.parent)
    (kernels / "outer.py").write_text(_OUTER)
    found = [_run(_TURN, tmp_path / "copy", tmp_path / "cache").stdout for _ in range(2)]
    assert found == ["2 8 0\n", "2 8 1\n"]
    inner = kernels / "siphash.py"
    stamp = (kernels / "outer.py").stat().st_mtime_ns
    inner.write_text(planted(inner.read_text(), *ROTATION))
    found = [_run(_TURN, tmp_path / "copy", tmp_path / "cache").stdout for _ in range(2)]
    assert found == ["8 32 0\n", "8 32 1\n"]
    assert (kernels / "outer.py").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_code_that_checks_no_bounds_is_never_served_to_a_run_that_wants_them_checked(tmp_path: Path) -> None:
    script = tmp_path / "read.py"
    script.write_text(_READ_OUTSIDE)
    code = f"import runpy; runpy.run_path({str(script)!r})"
    unchecked = [_run(code, PACKAGE.parent, tmp_path / "cache") for _ in range(2)]
    assert [(result.returncode, result.stdout) for result in unchecked] == [(0, "0\n"), (0, "1\n")]
    checked = [_run(code, PACKAGE.parent, tmp_path / "cache", NUMBA_BOUNDSCHECK="1") for _ in range(2)]
    assert [result.stdout for result in checked] == ["0\n", "1\n"]
    assert all("IndexError" in result.stderr for result in checked)


@pytest.mark.slow
def test_wide_loads_and_their_plain_twins_are_kept_apart(tmp_path: Path) -> None:
    def name(**environment: str) -> str:
        code = "from spanmask.kernels.cache import kernel_cache_folder; print(kernel_cache_folder().name)"
        return _run(code, PACKAGE.parent, tmp_path / "cache", **environment).stdout

    names = [name(), name(SPANMASK_PLAIN_LOADS="1"), name(NUMBA_BOUNDSCHECK="1")]
    assert len({*names}) == 3
    assert name() == names[0]


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount")
def test_a_read_only_cache_is_done_without_after_one_warning(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o ro tmpfs "{tmp_path}/cache" && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    result = _hash(PACKAGE.parent, tmp_path / "cache", mount)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[1] == "0"
    assert result.stderr.count("compiled kernels cannot be kept") == 1
    assert "Read-only file system" in result.stderr


@pytest.mark.slow
def test_cold_processes_at_once_all_succeed(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and stayed there\n\n" * 20)
    environment = {**os.environ, "SPANMASK_CACHE_DIR": str(tmp_path / "cache")}

    def start(out: str) -> subprocess.Popen[str]:
        options = ["preshard", str(text), "--out", str(tmp_path / out), "--seed", "1", "--jobs", "1"]
        return subprocess.Popen(
            COMMAND + options, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    processes = [start(name) for name in ("one", "two")]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0), ("", 0)]
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "two" / "manifest.json").read_bytes()
    assert not list((tmp_path / "cache").rglob("*.tmp-*"))


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_interpreted_and_bounds_checked_kernels_write_the_same_dataset(tmp_path: Path, switch: str) -> None:
    text = tmp_path / "text.jsonl"
    row = (
        '{"text": "the cat sat on the mat, and nobody told %d of the unbelievable cats", "spans": [[4, 7], [8, 20]]}\n'
    )
    text.write_text("".join(row % i for i in range(40)))
    for scheme in (["--scheme", "annotated", "--spans-field", "spans"], ["--sampler", "reference", "--holdout", "0.3"]):
        manifests = []
        for value in ("0", "1"):
            out = tmp_path / f"{scheme[1]}-{value}"
            options = ["--out", str(out), "--seed", "1", "--jobs", "1", "--max-tokens", "24", *scheme]
            subprocess.run(
                [*COMMAND, "preshard", str(text), *options],
                env={**os.environ, switch: value},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            manifests.append((out / "manifest.json").read_bytes())
        assert manifests[0] == manifests[1]
