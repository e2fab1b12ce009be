"""Find and remove what killed processes left in folders: files under temporary names, claimed folders, locks that nobody holds.

Nothing that has a final name is touched, nor anything that a process of this host is at. Of a process of another host it is not known here
whether it lives: what it left goes by age alone.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from spanmask import remote
from spanmask.errors import ConfigError, MismatchError, StorageError
from spanmask.folders import LOCK, claimed, sole_writer
from spanmask.kernels.user_cache import user_cache_folder
from spanmask.places import RemotePlace
from spanmask.presharding.state import FOLDER, RunState, locked
from spanmask.shard.manifest import MANIFEST
from spanmask.storage import TEMPORARY, owner_of, remove

#: Temporary names that do not say whose they are: of releases before they did, and of the cache of kernels.
_UNSIGNED = re.compile(r"\.tmp-[0-9a-f]{16}-.*|.*\.nbc\.tmp-[0-9a-f]{16}", re.DOTALL)
#: What a claimed folder holds, beside what is being written.
_STATE_NAMES = frozenset((LOCK, "new", "old"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What may have been left. path: of a file or a folder. bytes: of it and all in it. why: whose it is, for people."""

    path: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What `collect` removed, or would remove, and what it found and kept."""

    removed: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]


def collect(
    folders: Sequence[str | os.PathLike[str]], *, older_than: float | None = None, dry_run: bool = False
) -> Collected:
    """Remove what killed processes left in folders and all below them, and in this user's cache.

    Parameters
    ----------
    folders
        Datasets, runs, or what holds some. Links are not followed. Of an object store: URLs of datasets.
    older_than
        Seconds: what no process of this host owns, and was last written to longer ago than that, goes too.
    dry_run
        Whether it is only looked.

    Raises
    ------
    ConfigError
        A folder does not exist.
    StorageError
        The file system refused.
    """
    urls = [remote.url_of(folder) for folder in folders if remote.is_url(folder)]
    roots = [Path(folder) for folder in folders if not remote.is_url(folder)]
    for root in roots:
        if not root.is_dir():
            raise ConfigError(f"{root}: no such folder; give a dataset, a run, or what holds some")
    found = list(_collect_here(roots, older_than, dry_run=dry_run))
    for url in urls:
        found += _collect_objects(url, older_than, dry_run=dry_run)
    removed, kept = (tuple(left for goes, left in found if goes == wanted) for wanted in (True, False))
    return Collected(removed=removed, kept=kept)


def _collect_here(roots: Sequence[Path], older_than: float | None, *, dry_run: bool) -> Iterator[tuple[bool, Leftover]]:
    """Yield what was found on this machine, and whether it goes."""
    for path in _candidates([*roots, user_cache_folder()]):
        with suppress(FileNotFoundError):
            try:
                size, (goes, why) = _size(path), _judged(path, older_than)
                gone = goes and (dry_run or _remove(path))
            except StorageError as error:
                gone, why = False, str(error)
            if why:
                yield gone, Leftover(path=str(path), bytes=size, why=why)


def _collect_objects(url: str, older_than: float | None, *, dry_run: bool) -> Iterator[tuple[bool, Leftover]]:
    """Yield what was found below a dataset's prefix, and whether it goes: the state of a run that ended, uploads in parts."""
    place = RemotePlace(url)
    state = place.sizes(FOLDER)
    if state:
        finished = place.size(MANIFEST) is not None
        why = "the state of a run that ended" if finished else "a run that the same preshard command goes on with"
        if finished and not dry_run:
            place.remove(*state)
        yield finished, Leftover(path=f"{place}/{FOLDER}", bytes=sum(state.values()), why=why)
    for upload in remote.uploads(url):
        age = time.time() - upload.begun
        goes, why = older_than is not None and age > older_than, f"an upload in parts, begun {told_age(age)} ago"
        if goes and not dry_run:
            remote.abort_uploads(url, [upload])
        why += "" if goes or older_than is not None else "; --older-than removes it"
        yield goes, Leftover(path=f"{url.partition('://')[0]}://{upload.path}", bytes=0, why=why)


def _candidates(roots: Sequence[Path]) -> Iterator[Path]:
    """Yield what has a temporary name, or is the state of a run; nothing twice, and nothing below such."""
    seen = set[Path]()
    for root in roots:
        for place, folders, files in os.walk(root):
            found = [Path(place, name) for name in (*folders, *files) if _is_named(name)]
            folders[:] = [name for name in folders if name == FOLDER or not _is_named(name)]
            yield from (path for path in found if path not in seen and not path.is_symlink())
            seen.update(found)


def _is_named(name: str) -> bool:
    return name == FOLDER or name.startswith(TEMPORARY) or _UNSIGNED.fullmatch(name) is not None


def _judged(path: Path, older_than: float | None) -> tuple[bool, str]:
    """Return whether what may have been left goes, and why, or why not; no reason where it is none of ours."""
    if path.name == FOLDER:
        return _judged_state(path)
    if path.is_dir() and (path / LOCK).exists():
        return _judged_claim(path)
    owner = owner_of(path)
    if owner is not None and owner.lives is not None:
        told = f"process {owner.pid} of this host"
        return (False, f"{told} is writing it") if owner.lives else (True, f"{told} is gone")
    if owner is None and not _UNSIGNED.fullmatch(path.name):
        return False, ""
    of = "nobody's by its name" if owner is None else f"of process {owner.pid} of {owner.host}"
    age = time.time() - _last_written(path)
    if older_than is None:
        return False, f"{of}, last written {told_age(age)} ago; --older-than removes it"
    return age > older_than, f"{of}, last written {told_age(age)} ago"


def _judged_state(path: Path) -> tuple[bool, str]:
    if RunState(path.parent).is_under_way:
        return False, "a run that the same preshard command goes on with"
    return _unclaimed(path.parent, path, "the state of a run that ended")


def _judged_claim(path: Path) -> tuple[bool, str]:
    out = path.with_name(path.name.removeprefix(TEMPORARY))
    if not set(os.listdir(path)) <= {*_STATE_NAMES, out.name}:
        return False, ""
    return _unclaimed(out, path, "what a killed writer had claimed")


def _unclaimed(out: Path, folder: Path, what: str) -> tuple[bool, str]:
    """Return whether nobody holds the lock of a folder."""
    try:
        with sole_writer(out, folder) if (folder / LOCK).exists() else nullcontext():
            return True, f"{what}, and nobody holds its lock"
    except MismatchError:
        return False, f"another process is writing {out}"


def _remove(path: Path) -> bool:
    """Remove what was left; return False where somebody came for it meanwhile."""
    try:
        if path.name == FOLDER:
            with locked(path.parent):
                pass
        elif path.is_dir() and (path / LOCK).exists():
            # As the next writer would: what had the place's name before gets it back, if nothing took it.
            with claimed(path.with_name(path.name.removeprefix(TEMPORARY)), path):
                pass
        else:
            remove(path)
    except MismatchError:
        return False
    return True


def _files(path: Path) -> Iterator[os.stat_result]:
    yield path.lstat()
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                yield Path(place, name).lstat()


def _size(path: Path) -> int:
    return sum(state.st_size for state in _files(path) if not stat.S_ISDIR(state.st_mode))


def _last_written(path: Path) -> float:
    return max(state.st_mtime for state in _files(path))


def told_age(seconds: float) -> str:
    """Return a time in its largest unit."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
