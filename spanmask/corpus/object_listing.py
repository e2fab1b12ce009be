"""List what URLs stand for: one object, all below a prefix, or those that a pattern matches, by one listing of the store.

Names are set aside as in folders of files (`corpus/listing.py`).
"""

from __future__ import annotations

import glob
from collections.abc import Container, Sequence
from fnmatch import fnmatchcase

from spanmask.corpus.listing import SAVED, SAVED_SPLITS, Met, description, name_aside, saved_names, several_splits
from spanmask.errors import ConfigError, MissingExtraError
from spanmask.remote import Entry, describe, listing, read, url_of
from spanmask.urls import shown

#: Bytes of a file that may say which files a saved dataset has; a larger one of its name is another, and text as others are.
_SAVED_LIMIT = 64 << 20


def expand_url(given: str) -> list[Met]:
    """Return what a URL stands for, in bytewise order; a saved dataset keeps its own.

    Raises
    ------
    ConfigError
        There is nothing of that name, several splits of a saved dataset, or no driver.
    CorpusError
        A saved dataset names files outside itself.
    StorageError
        The store refused.
    """
    url = url_of(given)
    if glob.has_magic(url.split("/")[2]):
        raise ConfigError(f"{shown(url)}: a pattern in the name of a bucket; name one bucket")
    found = None if given.endswith("/") or "/" not in url.partition("://")[2] else _object(url)
    if found is not None:
        return [found]
    if glob.has_magic(url):
        return _glob(url)
    entries = listing(url)
    if not entries:
        raise ConfigError(
            f"{shown(url)}: no such object, and none below it; give objects, prefixes or patterns that are there"
        )
    return _walk(url, entries)


def _object(url: str) -> Met | None:
    try:
        found = describe(url)
    except MissingExtraError:
        raise
    except ConfigError:
        return None
    return Met(url, explicit=True, size=found.size, pin=found.pin)


def _glob(url: str) -> list[Met]:
    parts = url.split("/")
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base, wanted = "/".join(parts[:first]), parts[first:]
    asked = {part[:1] for part in wanted}
    found: dict[str, Met] = {}
    folders: dict[str, list[Entry]] = {}
    entries = listing(base)
    known = {entry.url for entry in entries}
    for entry in entries:
        names = entry.url[len(base) + 1 :].split("/")
        looked_at = ["" if name[:1] in asked else name for name in names]
        for depth in (k for k in range(len(names) + 1) if _matches(names[:k], wanted)):
            met = _aside(base, looked_at[:depth], names)
            if met is None and depth < len(names):
                folders.setdefault("/".join([base, *names[:depth]]), []).append(entry)
            else:
                met = met or _met(entry, known)
                found[met.path] = met
    for folder, inner in folders.items():
        found.update((met.path, met) for met in _walk(folder, inner))
    if not found:
        raise ConfigError(f"{shown(url)}: no object matches this pattern")
    return [found[path] for path in sorted(found, key=str.encode)]


def _matches(names: Sequence[str], wanted: Sequence[str]) -> bool:
    """Tell whether names match the parts of a pattern; as a shell has it, a wildcard stands for no name that begins with a dot."""
    if not wanted:
        return not names
    if wanted[0] == "**" and _matches(names, wanted[1:]):
        return True
    if not names or (names[0].startswith(".") and not wanted[0].startswith(".")):
        return False
    if wanted[0] == "**":
        return _matches(names[1:], wanted)
    return fnmatchcase(names[0], wanted[0]) and _matches(names[1:], wanted[1:])


def _aside(base: str, looked_at: Sequence[str], names: Sequence[str]) -> Met | None:
    """Return what is set aside of a path, where one of the names that are looked at is."""
    for number, name in enumerate(looked_at):
        aside = name_aside(name)
        if aside is not None:
            return Met("/".join([base, *names[: number + 1]]), aside)
    return None


def _met(entry: Entry, urls: Container[str]) -> Met:
    return Met(entry.url, description(entry.url, lambda url: url in urls), size=entry.size, pin=entry.pin)


def _walk(base: str, entries: Sequence[Entry]) -> list[Met]:
    """Return what lies below a prefix, in bytewise order."""
    known = {entry.url: entry for entry in entries}
    groups: dict[str, list[Met]] = {}
    inside: list[str] = []
    for folder, saved in _saved_datasets(base, known).items():
        if not any(folder.startswith(f"{outer}/") for outer in inside):
            inside.append(folder)
            groups[folder] = saved
    for entry in entries:
        if any(entry.url.startswith(f"{folder}/") for folder in inside):
            continue
        names = entry.url[len(base) + 1 :].split("/")
        met = _aside(base, names, names) or _met(entry, known)
        groups[met.path] = [met]
    return [met for path in sorted(groups, key=str.encode) for met in groups[path]]


def _saved_datasets(base: str, known: dict[str, Entry]) -> dict[str, list[Met]]:
    """Return the folders that Hugging Face ``datasets`` saved, the outer ones first, with their data files in order."""
    saved: dict[str, list[Met]] = {}
    for url in sorted(known, key=lambda url: url.count("/")):
        folder, _, name = url.rpartition("/")
        names = folder[len(base) + 1 :].split("/") if len(folder) > len(base) else []
        if name not in (SAVED, SAVED_SPLITS) or _aside(base, names, names) is not None:
            continue
        if name == SAVED_SPLITS:
            raise several_splits(shown(folder))
        if known[url].size > _SAVED_LIMIT:
            continue
        files = saved_names(folder, read(url, pin=known[url].pin))
        if files is None:
            continue
        missing = next((file for file in files if f"{folder}/{file}" not in known), None)
        if missing is not None:
            raise ConfigError(f"{shown(folder)}/{missing}: no such object, and {SAVED} names it; check the folder")
        saved[folder] = [_named(known[f"{folder}/{file}"]) for file in files]
    return saved


def _named(entry: Entry) -> Met:
    return Met(entry.url, size=entry.size, pin=entry.pin)
