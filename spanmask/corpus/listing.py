"""List what folders and globs hold: a path flows in, paths in order flow out, those set aside marked so.

Set aside is what other programs write beside data: hidden names, work that never ended, and what Hugging Face datasets says about data.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from spanmask.errors import ConfigError, CorpusError
from spanmask.storage import refuse_url, reporting

#: First characters of names that Spark, Hadoop and file systems set aside: markers, checksums, work that never ended.
_HIDDEN = (".", "_")
#: What Hugging Face datasets writes about data, and, in a folder where it did, beside them.
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json")
_BESIDE = re.compile(r"state\.json|cache-.*\.arrow")
_UNFINISHED = ".incomplete"
#: What it says of a dataset that it saved: the data files in order, or which splits there are.
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"


class Met(NamedTuple):
    """A path that was named, or met in a folder or by a glob.

    aside: as what it is set aside, if it is. explicit: whether it was named. size, pin: of an object of a store.
    """

    path: str
    aside: str | None = None
    explicit: bool = False
    size: int = 0
    pin: str | None = None


def expand(path: str) -> list[Met]:
    """Return what a folder or a glob stands for, in bytewise order of the paths; a saved dataset keeps its own.

    Raises
    ------
    ConfigError
        There is nothing of that name, it is a URL, or several splits of a saved dataset.
    CorpusError
        A saved dataset names files outside itself.
    StorageError
        A folder cannot be listed.
    """
    refuse_url(path)
    if os.path.isdir(path):
        return _walk(path)
    if os.path.lexists(path):
        return [Met(os.path.abspath(path), explicit=True)]
    if not glob.has_magic(path):
        raise ConfigError(
            f"{path or repr(path)}: no such file or directory; give files, folders or patterns that are there"
        )
    return _glob(path)


def _glob(pattern: str) -> list[Met]:
    pattern = re.sub(f"{os.sep}+", os.sep, pattern)
    matches = glob.glob(pattern, recursive=True)
    if not matches:
        raise ConfigError(f"{pattern}: no file matches this pattern")
    found: dict[str, Met] = {}
    for match in matches:
        met = _met(pattern, match)
        if met.aside is None and os.path.isdir(met.path):
            found.update((inner.path, inner) for inner in _walk(met.path))
        else:
            found[met.path] = met
    return [found[path] for path in sorted(found, key=os.fsencode)]


def _met(pattern: str, match: str) -> Met:
    """Return what a glob met, or what it lies in that is set aside, unless the pattern asks for such names."""
    wanted, parts = pattern.split(os.sep), match.split(os.sep)
    first = next(number for number, part in enumerate(wanted) if glob.has_magic(part))
    asked = {part[:1] for part in wanted[first:]}
    for number in range(first, len(parts)):
        aside = None if parts[number][:1] in asked else name_aside(parts[number])
        if aside is not None:
            return Met(os.path.abspath(os.sep.join(parts[: number + 1])), aside)
    path = os.path.abspath(match)
    return Met(path, description(path))


def name_aside(name: str) -> str | None:
    """Return as what a file or folder of a name is set aside, or None."""
    if name.startswith(_HIDDEN):
        return "hidden"
    return _UNFINISHED if name.endswith(_UNFINISHED) else None


def _walk(folder: str) -> list[Met]:
    """List what is in a folder, in bytewise order of the paths."""
    groups = list(_visit(os.path.abspath(folder), frozenset()))
    return [met for _, group in sorted(groups) for met in group]


def _visit(folder: str, above: frozenset[str]) -> Iterator[tuple[bytes, list[Met]]]:
    """Yield paths, each with the key it sorts by; a saved dataset keeps its own order."""
    saved = _saved_dataset(folder)
    if saved is not None:
        yield os.fsencode(folder), [Met(path) for path in saved]
        return
    real = os.path.realpath(folder)
    if real in above:
        return
    with reporting(folder, "list the folder"), os.scandir(folder) as found:
        # Which are folders is known from the listing: a look at each file would double what a million of them take.
        entries = [(entry.name, _is_folder(entry)) for entry in found]
    for name, is_folder in entries:
        path = os.path.join(folder, name)
        aside = name_aside(name)
        if aside is None and is_folder:
            yield from _visit(path, above | {real})
        else:
            yield os.fsencode(path), [Met(path, aside or description(path))]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # What cannot be looked at is none, and refused where it is read.
    with suppress(OSError):
        return entry.is_dir()
    return False


def description(path: str, exists: Callable[[str], bool] = os.path.exists) -> str | None:
    """Return the name of a file that Hugging Face datasets wrote about data rather than as data; None for any other."""
    folder, name = os.path.split(path)
    if name in _DESCRIPTIONS:
        return name
    described = _BESIDE.fullmatch(name) and any(exists(f"{folder}/{other}") for other in _DESCRIPTIONS)
    return re.sub("-.*\\.", "-*.", name) if described else None


def _saved_dataset(folder: str) -> list[str] | None:
    """List the data files of a folder that Hugging Face ``datasets`` saved, or return None for another folder."""
    if os.path.isfile(os.path.join(folder, SAVED_SPLITS)):
        raise several_splits(folder)
    state = Path(folder, SAVED)
    if not state.is_file():
        return None
    with reporting(state, "read"):
        names = saved_names(folder, state.read_bytes())
    return None if names is None else [os.path.join(folder, name) for name in names]


def several_splits(folder: str) -> ConfigError:
    """Return the refusal of a folder with several splits of a saved dataset."""
    return ConfigError(
        f"{folder}: holds several splits of a saved dataset; name the folder of one, such as {folder}/train"
    )


def saved_names(folder: str, state: bytes) -> list[str] | None:
    """Return the names of a saved dataset's data files from its `SAVED`, in order; None where that says no such thing.

    Raises
    ------
    CorpusError
        It names files outside the folder.
    """
    try:
        content = json.loads(state)
    except ValueError:
        return None
    entries = content.get("_data_files") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        return None
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries]
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or name != os.path.basename(name) or "\0" in name:
            raise CorpusError(f"{SAVED} names the data file {name!r}: expected a file of this folder", path=folder)
    return [name for name in names if name is not None]
