"""The files of a task as a run names them."""

from __future__ import annotations

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
    """Return files that are trained on by their names; errors are those of `spanmask.storage.digest`."""
    return tuple(Named(name=Path(path).name, sha256=digest(path)) for path in paths)


def evaluation_files(paths: Paths) -> tuple[Named, ...]:
    """Return files that are scored by their names without suffixes, which are folders' in a run.

    Raises
    ------
    ConfigError
        Two have one name, or one that a folder of a run has; a file is missing.
    StorageError
        A file cannot be read.
    """
    names = [_stem(Path(path).name) for path in paths]
    for name, count in Counter(names).items():
        if count > 1 or name == "model" or name.startswith("lr-"):
            raise ConfigError(f"an evaluation file is named {name!r}, as another or a folder of the run is; rename it")
    return tuple(Named(name=name, sha256=digest(path)) for name, path in zip(names, paths, strict=True))


def _stem(name: str) -> str:
    path = Path(name)
    return _stem(path.stem) if path.suffix in _SUFFIXES and path.stem else name
