"""Find input files: paths, folders and globs flow in; `InputFile` in the order given flows out."""

from __future__ import annotations

import glob
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spanmask.config import Format
from spanmask.errors import ConfigError, CorpusError
from spanmask.storage import reporting

if TYPE_CHECKING:
    import pyarrow as pa

#: Bits of a document's identity that count input files, and places in one.
INDEX_LIMIT = 1 << 24
PLACE_BITS = 40
PLACE_LIMIT = 1 << PLACE_BITS

_FORMATS = {
    ".txt": Format.TEXT,
    ".text": Format.TEXT,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of the corpus.

    index: its place in the order given. path: absolute. name: its path below the folder that was given, else its base name; several may
    have one. size: bytes on disk. mtime_ns: nanoseconds.
    format: never ``auto``. compression: ``gzip``, ``zstd`` or None. kept: the fields to keep, with the types they have in the whole
    corpus; None until those are known.
    """

    index: int
    path: str
    name: str
    size: int
    mtime_ns: int
    format: Format
    compression: str | None
    kept: pa.Schema | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some documents of one file.

    start, stop: of an uncompressed text or JSONL file, bytes (the part owns the documents that start there);
    of Parquet and Arrow, rows.
    """

    file: InputFile
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The files of the corpus in order, and the paths in folders passed over because no reader knows them."""

    files: tuple[InputFile, ...]
    ignored: tuple[str, ...]


def find_inputs(paths: Sequence[str | os.PathLike[str]], format: Format) -> Inputs:  # noqa: A002
    """Find the files that paths, folders and globs stand for.

    Parameters
    ----------
    paths
        Files; folders, read recursively in bytewise path order without hidden entries; globs (``**`` too), in bytewise
        order; folders that Hugging Face datasets saved, in their own order. A path that exists is never a glob.
    format
        How every file is read; ``auto`` goes by the name.

    Raises
    ------
    ConfigError
        A path is missing, named twice, of unknown format or no regular file; or nothing is left to read.
    CorpusError
        More than 2^24 files, or a dataset folder that names files outside itself.
    StorageError
        A folder cannot be listed.
    """
    found: list[tuple[str, str]] = []
    ignored: list[str] = []
    for given in paths:
        folder = os.fspath(given) if os.path.isdir(given) else None
        for path, explicit in _expand(os.fspath(given)):
            if explicit or _is_readable(path, format):
                found.append((path, os.path.basename(path) if folder is None else os.path.relpath(path, folder)))
            else:
                ignored.append(path)
    _refuse_unusable([path for path, _ in found])
    files = tuple(_describe(index, path, name, format) for index, (path, name) in enumerate(found))
    if not files:
        raise ConfigError(_nothing_found(paths, ignored))
    return Inputs(files=files, ignored=tuple(ignored))


def _nothing_found(paths: Sequence[str | os.PathLike[str]], ignored: list[str]) -> str:
    named = ", ".join(os.fspath(path) for path in paths) or "no path given"
    seen = f"; passed over {len(ignored)} files of unknown kind, such as {ignored[0]}: give --format" if ignored else ""
    return f"no input file found ({named}){seen}; expected files such as .txt, .jsonl, .parquet or .arrow"


def _refuse_unusable(found: list[str]) -> None:
    if len(found) > INDEX_LIMIT:
        raise CorpusError(
            f"{len(found)} input files: an identity holds at most {INDEX_LIMIT}; join small files together"
        )
    seen: set[str] = set()
    for path in found:
        real = os.path.realpath(path)
        if real in seen:
            raise ConfigError(f"{path}: named twice; name every input file once, or its documents would count double")
        seen.add(real)


def _expand(path: str) -> Iterator[tuple[str, bool]]:
    """Yield the absolute files a path stands for, and whether each must be read (named itself)."""
    if os.path.isdir(path):
        yield from ((name, False) for name in _walk(path))
    elif os.path.lexists(path):
        yield os.path.abspath(path), True
    elif glob.has_magic(path):
        yield from ((name, False) for name in _glob(path))
    else:
        raise ConfigError(f"{path or repr(path)}: no such file or directory")


def _glob(pattern: str) -> list[str]:
    matches = glob.glob(pattern, recursive=True)
    if not matches:
        raise ConfigError(f"{pattern}: no file matches this pattern")
    files: set[str] = set()
    for match in matches:
        files.update(_walk(match) if os.path.isdir(match) else [os.path.abspath(match)])
    return sorted(files, key=os.fsencode)


def _walk(folder: str) -> list[str]:
    """List a folder's files, hidden ones aside, in bytewise order of their paths."""
    groups = list(_visit(os.path.abspath(folder), frozenset()))
    return [name for _, names in sorted(groups) for name in names]


def _visit(folder: str, above: frozenset[str]) -> Iterator[tuple[bytes, list[str]]]:
    """Yield files, each with the key it sorts by; a saved dataset keeps its own order."""
    saved = _saved_dataset(folder)
    if saved is not None:
        yield os.fsencode(folder), saved
        return
    real = os.path.realpath(folder)
    if real in above:
        return
    with reporting(folder, "list the folder"):
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from _visit(path, above | {real})
        else:
            yield os.fsencode(path), [path]


def _saved_dataset(folder: str) -> list[str] | None:
    """List the data files of a folder that Hugging Face ``datasets`` saved, or return None for another folder."""
    if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
        raise ConfigError(
            f"{folder}: holds several splits of a saved dataset; name the folder of one, such as {folder}/train"
        )
    entries = _data_files(Path(folder, "state.json"))
    if entries is None:
        return None
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries]
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or name != os.path.basename(name) or "\0" in name:
            raise CorpusError(f"state.json names the data file {name!r}: expected a file of this folder", path=folder)
    return [os.path.join(folder, name) for name in names if name is not None]


def _data_files(state: Path) -> list[object] | None:
    if not state.is_file():
        return None
    try:
        with reporting(state, "read"):
            content = json.loads(state.read_bytes())
    except ValueError:
        return None
    entries = content.get("_data_files") if isinstance(content, dict) else None
    return entries if isinstance(entries, list) else None


def _kind(name: str, format: Format) -> tuple[Format | None, str | None]:  # noqa: A002
    """Return the format and compression that a name tells, the format given taking precedence."""
    stem, suffix = os.path.splitext(name.lower())
    compression = _COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = os.path.splitext(stem)[1]
    return (_FORMATS.get(suffix) if format is Format.AUTO else format), compression


def _is_readable(path: str, format: Format) -> bool:  # noqa: A002
    """Tell whether a file met in a folder is one to read: of known format, and no pipe or device."""
    known = _kind(os.path.basename(path), format)[0] is not None
    return known and (not os.path.exists(path) or os.path.isfile(path))


def _describe(index: int, path: str, name: str, format: Format) -> InputFile:  # noqa: A002
    kind, compression = _kind(os.path.basename(path), format)
    with reporting(path, "read"):
        status = os.stat(path)
    return InputFile(
        index=index,
        path=path,
        name=name,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        format=_usable(path, status.st_mode, kind, compression),
        compression=compression,
    )


def _usable(path: str, mode: int, kind: Format | None, compression: str | None) -> Format:
    """Return the format, or refuse the file."""
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path}: not a regular file; pass a pipe or device through standard input, as '-'")
    if kind is None:
        raise ConfigError(
            f"{path}: no reader goes by this name; give --format text, jsonl, parquet or arrow"
            " (compressed: .gz or .zst)"
        )
    if compression is not None and kind in (Format.PARQUET, Format.ARROW):
        raise ConfigError(
            f"{path}: {kind} inside {compression} cannot be read; decompress it (the format compresses itself)"
        )
    if not path.isascii():
        _require_unicode(path)
    return kind


def _require_unicode(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{path!r}: the name is not valid UTF-8, and a manifest records names; rename the file"
        ) from None
