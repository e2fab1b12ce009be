"""The texts of evaluation files: files of any layout flow in, texts flow out."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spanmask.config import Format
from spanmask.corpus.inputs import FORMATS, InputFile, find_inputs, suffixes
from spanmask.corpus.streams import BOM, CHUNK_BYTES, open_stream
from spanmask.errors import ConfigError, CorpusError
from spanmask.report.named import names_of

#: Bytes of an evaluation file, decompressed, at most: each is held whole.
MOST_BYTES = 1 << 30
#: How a document begins in files of the CoNLL tasks, and their columns of words: of many columns, and of few.
_BEGIN = re.compile(r"# ?begin document")
_MANY, _AMONG_MANY, _AMONG_FEW = 10, 3, 1
#: What stands where in the header of a tar archive's first file, of all kinds of them since POSIX.
_TAR, _TAR_AT = b"ustar", 257


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An evaluation file. name: as much of its path as tells it apart. texts: in order; no n-gram goes over the end of one."""

    name: str
    texts: Sequence[str]


def read_evaluations(paths: Sequence[str | os.PathLike[str]], fields: Collection[str] = ()) -> list[Evaluation]:
    """Read the texts of evaluation files: files, folders or globs, compressed or not.

    What a text is goes by the name. JSON, and JSON lines: every text in it, at any depth (so passages, questions and answers of SQuAD's and
    MRQA's layouts); of a list of texts, such as tokens, all together. TSV, CSV: every field of a record. Parquet: every text, as of JSON.
    ``.conll``: the words of a document between ``#begin document`` and the next, or the first column of the whole file. All else: lines
    up to a blank one.

    Parameters
    ----------
    paths
        What is evaluated on.
    fields
        Names of fields of JSON, Parquet and of TSV and CSV with a header: texts in others are left out. Empty: all.

    Raises
    ------
    ConfigError
        A path cannot be used, or nothing has the fields.
    CorpusError
        A file is not what its name says.
    StorageError
        The file system refused.
    """
    files = find_inputs(paths, Format.TEXT).files
    names = names_of([file.path for file in files])
    found = [
        Evaluation(name=name, texts=[*_texts(file, frozenset(fields))]) for name, file in zip(names, files, strict=True)
    ]
    empty = [one.name for one in found if not any(map(str.strip, one.texts))]
    if empty:
        of = f" in fields {', '.join(sorted(fields))}" if fields else ""
        raise ConfigError(f"{empty[0]}: no text{of} in this evaluation file; leave it out, or name other fields")
    return found


def _texts(file: InputFile, fields: frozenset[str]) -> Iterator[str]:
    suffix, _ = suffixes(file.path)
    kind = FORMATS.get(suffix)
    if kind is Format.ARROW:
        raise ConfigError(
            f"{file.path}: Arrow files are not read as evaluation files; write it as Parquet or JSON lines"
        )
    data = _content(file)
    if data[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        raise ConfigError(
            f"{file.path}: a tar archive, and archives are not looked into; unpack it, and give the folder"
        )
    if kind is Format.PARQUET:
        return _strings(_rows(file, data), fields)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(f"not UTF-8 ({error}); expected an evaluation file of text", path=file.path) from None
    if kind is Format.JSONL:
        return _strings(_values(file, text), fields)
    if kind in (Format.TSV, Format.CSV):
        return _strings(_records(file, text, tabbed=kind is Format.TSV, named=bool(fields)), fields)
    if fields:
        raise ConfigError(
            f"{file.path}: fields are named, and only JSON, Parquet, TSV and CSV have some; give this file alone"
        )
    if suffix == ".conll" or _BEGIN.match(text):
        return _conll(text)
    return iter(re.split(r"\n[^\S\n]*\n", text))


def _content(file: InputFile) -> bytes:
    read = bytearray()
    with open_stream(file) as stream:
        while data := stream.read(CHUNK_BYTES):
            read += data
            if len(read) > MOST_BYTES:
                raise ConfigError(
                    f"{file.path}: more than {MOST_BYTES:,} bytes, and an evaluation file is held whole; split it"
                )
    return bytes(read).removeprefix(BOM)


def _values(file: InputFile, text: str) -> Iterator[Any]:
    """Yield the value of JSON that a text is, or those of its lines."""
    try:
        yield json.loads(text)
        return
    except RecursionError:
        raise CorpusError("JSON that is nested too deeply", path=file.path) from None
    except ValueError as error:
        whole = error
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            if line.strip():
                yield json.loads(line)
        except (ValueError, RecursionError) as error:
            # One value over many lines: the place in the whole is the one to look at.
            told = error if number > 1 else whole
            raise CorpusError(
                f"not JSON ({told}); expected one value, or one a line", path=file.path, line=number
            ) from None


def _records(file: InputFile, text: str, *, tabbed: bool, named: bool) -> Iterator[Any]:
    """Yield the records of a table: by their names where those count, else each field on its own."""
    # GLUE's are not quoted, and a single quotation mark would take lines along.
    rows = (line.split("\t") for line in text.splitlines()) if tabbed else iter(_quoted(file, text))
    head = next(rows, []) if named else []
    for row in rows:
        yield dict(zip(head, row, strict=False)) if named else dict(enumerate(row))


def _quoted(file: InputFile, text: str) -> list[list[str]]:
    """Return the rows of CSV, whose fields may be as long as a file."""
    # The limit is the process's: others have theirs.
    before = csv.field_size_limit(MOST_BYTES)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise CorpusError(f"not CSV ({error})", path=file.path) from None
    finally:
        csv.field_size_limit(before)


def _rows(file: InputFile, data: bytes) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(pa.BufferReader(data)).iter_batches():
            yield from batch.to_pylist()
    except (pa.ArrowException, ValueError, OSError) as error:
        raise CorpusError(f"not Parquet ({error})", path=file.path) from None


def _strings(values: Iterator[Any], fields: frozenset[str]) -> Iterator[str]:
    """Yield the texts of values in order, at any depth; with fields, those in one of them."""
    # A stack: JSON may be nested as deeply as Python's own reader can.
    for value in values:
        held: list[tuple[Any, bool]] = [(value, not fields)]
        while held:
            inner, wanted = held.pop()
            if isinstance(inner, str):
                if wanted:
                    yield inner
            elif isinstance(inner, dict):
                held += [(part, wanted or name in fields) for name, part in reversed(inner.items())]
            elif isinstance(inner, list) and inner and all(isinstance(part, str) for part in inner):
                held.append((" ".join(inner), wanted))
            elif isinstance(inner, list):
                held += [(part, wanted) for part in reversed(inner)]


def _conll(text: str) -> Iterator[str]:
    """Yield the words of each document, joined."""
    words: list[str] = []
    begun = False
    for line in text.split("\n"):
        columns = line.split()
        if _BEGIN.match(line):
            yield " ".join(words)
            words, begun = [], True
        elif columns and not line.startswith("#"):
            place = 0 if not begun else _AMONG_MANY if len(columns) >= _MANY else _AMONG_FEW
            words += columns[place : place + 1]
    yield " ".join(words)
