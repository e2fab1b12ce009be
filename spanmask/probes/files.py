"""The files of a task as a run names them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from spanmask.errors import ConfigError
from spanmask.probes.results import Named
from spanmask.storage import digest

Paths = Sequence[str | PathLike[str]]
#: Endings that say how a file is written, and not what it is.
_SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".json", ".jsonl", ".tsv", ".txt", ".conll", ".tar", ".tgz")


def training_files(paths: Paths) -> tuple[Named, ...]:
    """Return files, or folders, that are trained on by their names; errors are those of `spanmask.storage.digest`."""
    return tuple(Named(name=_name(path), sha256=_digest(path)) for path in paths)


def evaluation_files(paths: Paths) -> tuple[Named, ...]:
    """Return files, or folders, that are scored by their names without suffixes, which are folders' in a run.

    Raises
    ------
    ConfigError
        Two have one name, or one that a folder of a run has; a file is missing.
    StorageError
        A file cannot be read.
    """
    names = [_stem(_name(path)) for path in paths]
    for name, count in Counter(names).items():
        if count > 1 or name == "model" or name.startswith("lr-"):
            raise ConfigError(f"an evaluation file is named {name!r}, as another or a folder of the run is; rename it")
    return tuple(Named(name=name, sha256=_digest(path)) for name, path in zip(names, paths, strict=True))


def _digest(path: str | PathLike[str]) -> str:
    """Return a file's SHA-256; of a folder, that of the names and digests of all files in it."""
    folder = Path(path)
    if not folder.is_dir():
        return digest(path)
    held = sorted(os.fsencode(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    lines = [b"%s %s\n" % (digest(folder / os.fsdecode(name)).encode(), name) for name in held]
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _name(path: str | PathLike[str]) -> str:
    """Return a file's name, or that of the folder that a path such as ``..`` leads to."""
    return os.path.basename(os.path.abspath(path))


def _stem(name: str) -> str:
    path = Path(name)
    return _stem(path.stem) if path.suffix.lower() in _SUFFIXES and path.stem else name
