"""Where files of CoNLL-2012 lie: alone, in folders and tar archives, gzipped or not."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spanmask.errors import ConfigError, CorpusError
from spanmask.storage import refuse_url, reporting

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
#: What the names of files end in that are looked for in folders and archives.
_ENDINGS = ("conll", "conll.gz")


def files(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield each file in bytewise order of names.

    Yields
    ------
    tuple
        Its name below the folder that all of them share, without ``.gz``, ``""`` for a path that is a file; where it lies, for
        messages; its bytes, unpacked.

    Raises
    ------
    ConfigError
        There is no such file, none of that name in a folder or archive, or the path is a URL.
    CorpusError
        A gzipped file or an archive is damaged.
    StorageError
        The file system refused.
    """
    refuse_url(path)
    with _told(path):
        if path.is_dir():
            yield from _in_folder(path)
        elif path.name.endswith(_ARCHIVES):
            yield from _in_archive(path)
        else:
            yield "", str(path), _unpacked(path.name, path.read_bytes())


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the file system refuses, and damage, into errors of ours."""
    with reporting(path, "read"):
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
            reason = str(error).partition("\n")[0].rstrip(":")
            raise CorpusError(f"cannot be unpacked ({reason}); copy it again", path=str(path)) from None


def _in_folder(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    found = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder, onerror=_refuse)
        for name in names
    ]
    for name, below in _wanted(found, folder):
        path = folder / name
        with _told(path):
            data = _unpacked(name, path.read_bytes())
        yield below, str(path), data


def _refuse(error: OSError) -> None:
    raise error


def _in_archive(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield the files of an archive, which is read once from its beginning to its end, in whatever order it has them."""
    held: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() and _is_wanted(member.name) else None
            if file is not None:
                held[member.name] = file.read()
    for name, below in _wanted(held, path):
        yield below, f"{path}: {name}", _unpacked(name, held.pop(name))


def _wanted(names: Iterable[str], owner: Path) -> Iterator[tuple[str, str]]:
    """Yield the names to read, each with what it is below the folder that all of them share, so that a folder equals its archive."""
    found = [*filter(_is_wanted, names)]
    if not found:
        raise ConfigError(
            f"{owner}: no file in it has a name that ends in {' or '.join(_ENDINGS)}; give files of other names themselves"
        )
    shared = os.path.commonpath([os.path.dirname(name) for name in found])
    for name in sorted(found, key=os.fsencode):
        yield name, os.path.relpath(name, shared or ".").removesuffix(".gz")


def _is_wanted(name: str) -> bool:
    return name.endswith(_ENDINGS) and not os.path.basename(name).startswith(".")


def _unpacked(name: str, data: bytes) -> bytes:
    return gzip.decompress(data) if name.endswith(".gz") else data
