"""Where a dataset's inputs lie on this machine: kept per user, never in the dataset, and free to be lost."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from spanmask.config import canonical_json
from spanmask.corpus.exclusion import read_exclusions
from spanmask.corpus.hashing import input_digest
from spanmask.corpus.inputs import Exclusion, InputFile
from spanmask.errors import ConfigError, StorageError
from spanmask.kernels.user_cache import user_cache_folder
from spanmask.shard.manifest import Manifest
from spanmask.storage import publish_bytes, reporting
from spanmask.urls import AFRESH


def _record_path(manifest: Manifest) -> Path:
    return user_cache_folder() / "inputs" / f"{manifest.digest}.json"


def remember_inputs(manifest: Manifest, files: Sequence[InputFile]) -> None:
    """Write down where a dataset's inputs were; failing to is no failure."""
    known = [{"path": file.path, "size": file.size, "state": _state(file)} for file in files]
    path = _record_path(manifest)
    with suppress(OSError, StorageError, ConfigError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        publish_bytes(path, canonical_json(known))


def _state(file: InputFile) -> int | str:
    """Return what tells a file from what it was before: its time, or an object's pin."""
    return file.mtime_ns if file.pin is None else file.pin


def remember_lists(manifest: Manifest, files: Sequence[InputFile]) -> None:
    """Write down where a dataset's lists of excluded documents were, if it has some; failing to is no failure."""
    paths = [one.path for one in files[0].exclusions]
    with suppress(OSError, StorageError, ConfigError):
        if paths:
            publish_bytes(_record_path(manifest).with_suffix(".lists.json"), canonical_json(paths))


def recalled_exclusions(manifest: Manifest) -> tuple[Exclusion, ...]:
    """Read the lists of documents that a dataset was made without: where they were, or in the working directory where that is not known.

    Raises
    ------
    ConfigError
        One is not there, or is not what it was.
    """
    stated = manifest.config.corpus.exclude
    paths = [one.partition("=")[2].rpartition("#")[0] for one in stated]
    with suppress(OSError, ValueError, TypeError, RecursionError):
        known = [str(path) for path in json.loads(_record_path(manifest).with_suffix(".lists.json").read_bytes())]
        paths = known if len(known) == len(stated) else paths
    given = tuple(f"{one.partition('=')[0]}={path}" for one, path in zip(stated, paths, strict=True))
    found = read_exclusions(replace(manifest.config.corpus, exclude=given))
    for one, wanted in zip(found, stated, strict=True):
        if one.stated.rpartition("#")[2] != wanted.rpartition("#")[2]:
            raise ConfigError(f"{one.path}: not the list that the dataset was made without ({wanted}); restore it")
    return found


def recalled_inputs(manifest: Manifest) -> list[dict[str, Any]] | None:
    """Return path and state of a dataset's inputs, where this user presharded it."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        known = json.loads(_record_path(manifest).read_bytes())
        # Earlier releases knew files alone, and their times.
        return [{"path": str(item["path"]), "state": item.get("state", item.get("mtime_ns"))} for item in known]
    return None


def unchanged(manifest: Manifest, files: Sequence[InputFile], *, rehash: bool) -> bool:
    """Say whether files are the inputs of a dataset: by size and modification time where those are known, else by their content."""
    # By base names: the same files may be given as a folder or one by one.
    told = [(Path(item.name).name, item.size) for item in manifest.inputs]
    if told != [(Path(file.path).name, file.size) for file in files]:
        return False
    known = recalled_inputs(manifest) or []
    states = {item["path"]: item["state"] for item in known}
    return all(
        (not rehash and states.get(file.path) == _state(file)) or input_digest(file, item.range_bytes) == item.sha256
        for file, item in zip(files, manifest.inputs, strict=True)
    )


def check_unchanged_since(files: Sequence[InputFile]) -> None:
    """Refuse files that changed while they were read; of objects each request said which it meant.

    Raises
    ------
    StorageError
        A file's size or modification time is not what it was.
    """
    for file in (file for file in files if file.pin is None):
        with reporting(file.path, "read"):
            state = os.stat(file.path)
        if (state.st_size, state.st_mtime_ns) != (file.size, file.mtime_ns):
            raise StorageError(f"{file.path}: it changed while it was read; run again when it is at rest, {AFRESH}")
