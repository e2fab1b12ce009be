"""Find input files: paths, folders and globs flow in; `InputFile` in the order given flows out."""

from __future__ import annotations

import codecs
import os
import stat
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from spanmask.asking import in_order
from spanmask.collector import held_off
from spanmask.config import Format
from spanmask.corpus.compressed import open_decompressed
from spanmask.corpus.listing import Met, expand
from spanmask.corpus.object_listing import expand_url
from spanmask.corpus.sources import Watch
from spanmask.errors import ConfigError, CorpusError
from spanmask.remote import is_url, url_of
from spanmask.storage import reporting

if TYPE_CHECKING:
    import pyarrow as pa

#: Bits of a document's identity that count input files, and places in one.
INDEX_LIMIT = 1 << 24
PLACE_BITS = 40
PLACE_LIMIT = 1 << PLACE_BITS

#: Formats by the ends of names.
FORMATS = {
    ".txt": Format.TEXT,
    ".text": Format.TEXT,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
}
#: Of a file named .json, how much is looked at.
_HEAD_BYTES = 1 << 10
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exclusion:
    """A list of values of a field. path: of its file. stated: the option as manifests have it. values: in UTF-8."""

    field: str
    path: str
    stated: str
    values: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of the corpus.

    index: its place in the order given. path: absolute, or the URL of an object. name: its path below the folder or prefix that was given,
    else its base name; several may have one. size: bytes on disk. mtime_ns: nanoseconds; 0 of an object, which has a pin: text that changes
    with its content. format: never ``auto``. compression: ``gzip``, ``zstd``, ``bz2``, ``xz`` or None. kept: the fields to keep, with the
    types they have in the whole corpus; None until those are known. encoding: of its text, None: UTF-8.
    exclusions: by which documents of it are left out. watch: told of what is read of it.
    """

    index: int
    path: str
    name: str
    size: int
    mtime_ns: int
    format: Format
    compression: str | None
    kept: pa.Schema | None = None
    encoding: str | None = None
    exclusions: tuple[Exclusion, ...] = ()
    pin: str | None = None
    watch: Watch | None = field(default=None, compare=False, repr=False)

    @property
    def has_lines(self) -> bool:
        """Whether it is read line by line, and documents are named by bytes."""
        return self.format in (Format.TEXT, Format.JSONL)

    @property
    def is_delimited(self) -> bool:
        """Whether its records are fields between marks, under a header."""
        return self.format in (Format.CSV, Format.TSV)

    @property
    def is_columnar(self) -> bool:
        """Whether it holds columns with their types."""
        return self.format in (Format.PARQUET, Format.ARROW)

    @property
    def is_sequential(self) -> bool:
        """Whether it can only be read from its start on."""
        in_order = self.is_delimited or self.format is Format.JSON
        return in_order or self.compression is not None or self.encoding is not None

    @property
    def is_line_stream(self) -> bool:
        """Whether its lines can only be read from its start on."""
        return self.has_lines and self.is_sequential


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
    """The files of the corpus in order, and what folders and globs hold besides.

    ignored: paths passed over; a hidden folder is one. passed_over: how many of them there are by suffix, or by what else they are.
    """

    files: tuple[InputFile, ...]
    ignored: tuple[str, ...]
    passed_over: dict[str, int]

    @property
    def kinds(self) -> dict[str, int]:
        """How many files are read by suffix, the most frequent first."""
        return dict(Counter(_suffix(os.path.basename(file.path)) or file.format for file in self.files).most_common())


@held_off()
def find_inputs(
    paths: Sequence[str | os.PathLike[str]],
    format: Format,  # noqa: A002
    encoding: str = "utf-8",
) -> Inputs:
    """Find the files that paths, folders and globs stand for.

    Parameters
    ----------
    paths
        Files; folders, read recursively in bytewise path order without hidden entries (names that begin with ``.`` or ``_``);
        globs (``**`` too), in bytewise order, hidden ones only where the pattern says ``.`` or ``_``; folders that Hugging Face datasets
        saved, in their own order. A path that exists is never a glob.
    format
        How every file is read; ``auto`` goes by the name, and by how it begins where JSON is an array.
    encoding
        Of text, JSON and CSV.

    Raises
    ------
    ConfigError
        A path is missing, named twice, of unknown format or no regular file; or nothing is left to read.
    CorpusError
        More than 2^24 files, or a dataset folder that names files outside itself.
    StorageError
        A folder cannot be listed.
    """
    found: list[tuple[Met, str]] = []
    ignored: dict[str, str] = {}
    for given in [os.fspath(path) for path in paths]:
        # What names are below: a file named by itself has its base name.
        base = url_of(given) if is_url(given) else given if os.path.isdir(given) else ""
        for met in expand_url(given) if is_url(given) else expand(given):
            aside = None if met.explicit else met.aside or _unreadable(met, format)
            if aside is None:
                found.append((met, _name(met, base)))
            else:
                ignored[met.path] = aside
    _refuse_unusable([met.path for met, _ in found])
    known = None if encoding == "utf-8" else encoding
    described = [
        replace(_describe(index, met, name, format), encoding=known) for index, (met, name) in enumerate(found)
    ]
    files = tuple(
        in_order(
            lambda file: _with_content(file, format),
            described,
            lambda file: file.pin is not None and _is_open(file, format),
        )
    )
    if not files:
        raise ConfigError(_nothing_found(paths, list(ignored)))
    return Inputs(files=files, ignored=tuple(ignored), passed_over=dict(Counter(ignored.values()).most_common()))


def _name(met: Met, base: str) -> str:
    """Return the name of a file: its path below the folder or prefix that was given, if one was."""
    if met.pin is None:
        return os.path.relpath(met.path, base) if base else os.path.basename(met.path)
    return met.path.removeprefix(f"{base}/") if met.path.startswith(f"{base}/") else os.path.basename(met.path)


def _nothing_found(paths: Sequence[str | os.PathLike[str]], ignored: list[str]) -> str:
    named = ", ".join(os.fspath(path) for path in paths) or "no path given"
    seen = (
        f"; passed over {len(ignored)} hidden or of unknown kind, such as {ignored[0]}: name it, or give --format"
        if ignored
        else ""
    )
    return f"no input file found ({named}){seen}; expected files such as .txt, .jsonl, .csv, .parquet or .arrow"


def _refuse_unusable(found: list[str]) -> None:
    if len(found) > INDEX_LIMIT:
        raise CorpusError(
            f"{len(found)} input files: an identity holds at most {INDEX_LIMIT}; join small files together"
        )
    seen: set[str] = set()
    # Of a hundred thousand files each folder is looked up once, component by component, and of each file itself no more than it.
    real_folder = cache(os.path.realpath)
    for path in found:
        if is_url(path):
            real = path
        else:
            folder, name = os.path.split(path)
            real = os.path.realpath(path) if os.path.islink(path) else os.path.join(real_folder(folder), name)
        if real in seen:
            raise ConfigError(f"{path}: named twice; name every input file once, or its documents would count double")
        seen.add(real)


def _kind(name: str, format: Format) -> tuple[Format | None, str | None]:  # noqa: A002
    """Return the format and compression that a name tells, the format given taking precedence."""
    suffix, outer = suffixes(name)
    return (FORMATS.get(suffix) if format is Format.AUTO else format), _COMPRESSIONS.get(outer)


def suffixes(name: str) -> tuple[str, str]:
    """Return the end of a name that tells its kind, and the one of what it is compressed by, both empty where there is none."""
    stem, suffix = os.path.splitext(name.lower())
    return (os.path.splitext(stem)[1], suffix) if suffix in _COMPRESSIONS else (suffix, "")


def _unreadable(met: Met, format: Format) -> str | None:  # noqa: A002
    """Return as what a file that was met is passed over: its suffix where no reader goes by it; None for one to read."""
    name = os.path.basename(met.path).lower()
    if _kind(name, format)[0] is None:
        return _suffix(name) or "without a suffix"
    is_other = met.pin is None and not os.path.isfile(met.path) and os.path.exists(met.path)
    return "no regular file" if is_other else None


def _suffix(name: str) -> str:
    """Return the end of a name that tells its kind, with that of what it is compressed by."""
    return "".join(suffixes(name))


def _describe(index: int, met: Met, name: str, format: Format) -> InputFile:  # noqa: A002
    path = met.path
    kind, compression = _kind(os.path.basename(path), format)
    size, mode, mtime_ns = met.size, stat.S_IFREG, 0
    if met.pin is None:
        with reporting(path, "read"):
            status = os.stat(path)
        size, mode, mtime_ns = status.st_size, status.st_mode, status.st_mtime_ns
    return InputFile(
        index=index,
        path=path,
        name=name,
        size=size,
        mtime_ns=mtime_ns,
        format=_usable(path, mode, kind, compression),
        compression=compression,
        pin=met.pin,
    )


def _with_content(file: InputFile, format: Format) -> InputFile:  # noqa: A002
    """Return a file as what its first bytes say where its name leaves that open, and without an encoding where it has its own."""
    if file.is_columnar:
        return replace(file, encoding=None)
    return replace(file, format=Format.JSON) if _is_open(file, format) and _begins_array(file) else file


def _is_open(file: InputFile, format: Format) -> bool:  # noqa: A002
    """Tell whether a file's name leaves open what it is."""
    return format is Format.AUTO and _suffix(os.path.basename(file.path)).split(".")[1:2] == ["json"]


def _begins_array(file: InputFile) -> bool:
    """Tell whether the first character opens an array; what cannot be read is left to its reader."""
    with suppress(CorpusError, UnicodeError):
        with open_decompressed(file, stop=_HEAD_BYTES) as stream:
            head = stream.read(_HEAD_BYTES)
        text = codecs.getincrementaldecoder(file.encoding or "utf-8")("replace").decode(head)
        return text.removeprefix("\ufeff").lstrip(" \t\r\n").startswith("[")
    return False


def _usable(path: str, mode: int, kind: Format | None, compression: str | None) -> Format:
    """Return the format, or refuse the file."""
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path}: not a regular file; pass a pipe or device through standard input, as '-'")
    if kind is None:
        raise ConfigError(
            f"{path}: no reader goes by this name; give --format {', '.join(list(Format)[1:-1])} or {list(Format)[-1]}"
            f" (compressed: {', '.join(_COMPRESSIONS)})"
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
