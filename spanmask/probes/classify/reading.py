"""Read a user's labelled texts: a TSV or a file of JSON lines flows in, `LabelledTexts` flow out.

A TSV begins with a header, and its rows are cut at tabs and line feeds alone: a quotation mark is a character like others, and nothing is
escaped. JSON lines are one object a line, ``{"text": "…", "label": "…"}``; a label may be a string, a whole number, true or false, and a
number any one. Which of the two a file is, its first character tells, whatever it is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from os import PathLike, fspath
from typing import Any, NamedTuple

from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.probes.classify.config import ClassifyConfig
from spanmask.probes.faults import FaultError, encodable
from spanmask.probes.labelled import Collected, Fault, LabelledTexts
from spanmask.probes.opening import text_of
from spanmask.probes.scores.glue import fits
from spanmask.probes.scores.reading import kind, lines_of

_TEXTS, _SECOND = ("text", "sentence"), "text_b"
_SHOWN = 60
#: Of a number, whose square a model computes in single precision.
_LARGEST = 1e15

#: A row by its columns or fields.
_Record = dict[str, Any]


class Columns(NamedTuple):
    """The columns or fields that are read. texts: one or two."""

    texts: tuple[str, ...]
    label: str


def find_columns(path: str | PathLike[str], config: ClassifyConfig) -> Columns:
    """Return which columns are asked for, or stand in a file's header or first object under the usual names.

    Raises
    ------
    ConfigError
        There is no such file, or it has no such columns.
    CorpusError
        It is not UTF-8.
    StorageError
        It cannot be read.
    """
    names = _Lines(fspath(path)).names
    first = config.text_field or next((name for name in _TEXTS if name in names), _TEXTS[0])
    second = config.second_field or (_SECOND if _SECOND in names else None)
    columns = Columns((first,) if second is None else (first, second), config.label_field)
    _require(fspath(path), columns, names)
    return columns


def read_labelled(
    path: str | PathLike[str],
    columns: Columns,
    *,
    labels: Collection[str] | None = None,
    numbers: bool = False,
    on_error: OnError = OnError.FAIL,
) -> LabelledTexts:
    """Read a file of labelled texts; rows are named by their numbers from 0.

    Parameters
    ----------
    path
        A TSV or JSON lines.
    columns
        What is read of it.
    labels
        Those that there may be; None: any.
    numbers
        Whether labels are numbers.
    on_error
        Whether the first row that is not usable (see `Fault`) ends reading, or all such are left out and counted.

    Raises
    ------
    ConfigError
        There is no such file, it has other columns, or no row is left of it.
    CorpusError
        It is not UTF-8, or a row is not usable.
    StorageError
        It cannot be read.
    """
    lines = _Lines(fspath(path))
    _require(lines.path, columns, lines.names)
    collected = Collected(lines.path, on_error, labelled=True)
    for number, (line, text) in enumerate(lines.rows):
        with collected.refusing(line):
            record = lines.parse(text)
            texts = tuple(_text(record, name) for name in columns.texts)
            collected.add(str(number), texts, _label(record.get(columns.label), labels, numbers=numbers))
    return collected.labelled_texts()


class _Lines:
    """A file's rows, as they stand in it. names: of its columns, or its first object's. rows: each with its line, from 1."""

    def __init__(self, path: str) -> None:
        self.path = path
        lines = list(enumerate(lines_of(text_of(path)), 1))
        self.parse: Callable[[str], _Record] = _parsed
        if lines and lines[0][1].lstrip().startswith("{"):
            self.rows = [(number, text) for number, text in lines if text.strip()]
            self.names: Collection[str] = _first_names(self.rows[0][1])
            return
        names = lines[0][1].split("\t") if lines else []
        self.rows, self.names = lines[1:], names
        self.parse = lambda text: _by_column(text, names)


def _first_names(text: str) -> Collection[str]:
    try:
        return _parsed(text).keys()
    except FaultError:
        return ()


def _require(path: str, columns: Columns, names: Collection[str]) -> None:
    lacking = [name for name in (*columns.texts, columns.label) if name not in names]
    if lacking:
        raise ConfigError(
            f"{path}: the first line has {list(names)!s:.80}, expected a header or an object with {', '.join(map(repr, lacking))}; name"
            " others with --text-field, --second-field and --label-field",
        )


def _by_column(text: str, names: list[str]) -> _Record:
    row = text.split("\t")
    if len(row) != len(names):
        raise FaultError(Fault.COLUMNS, f"{len(row)} columns, expected {len(names)} as the header has")
    return dict(zip(names, row, strict=True))


def _parsed(text: str) -> _Record:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FaultError(Fault.JSON, f"no JSON that can be read ({error!s:.80}), expected an object") from None
    if not isinstance(record, dict):
        raise FaultError(Fault.JSON, f"{kind(record)}, expected an object")
    return record


def _text(record: _Record, name: str) -> str:
    text = record.get(name)
    if not isinstance(text, str):
        found = kind(text) if name in record else "missing"
        raise FaultError(Fault.FIELD, f"{name!r} is {found}, expected a string")
    if not text.strip():
        raise FaultError(Fault.EMPTY_TEXT, f"{name!r} is empty or white space only, expected text")
    return encodable(text, repr(name), Fault.FIELD)


def _label(value: object, labels: Collection[str] | None, *, numbers: bool) -> str:
    """Return a label as a text that predictions have."""
    if isinstance(value, bool | int) or (numbers and isinstance(value, float)):
        value = json.dumps(value)
    if not isinstance(value, str):
        raise FaultError(Fault.LABEL, f"the label is {kind(value)}, expected a string or a whole number")
    if numbers and not (fits(value, ()) and abs(float(value)) <= _LARGEST):
        raise FaultError(
            Fault.LABEL, f"the label is {value[:_SHOWN]!r}, expected a number, at most {_LARGEST:g} in size"
        )
    if not value.strip() or re.search("[\t\r\n]", value):
        raise FaultError(Fault.LABEL, f"the label is {value[:_SHOWN]!r}, expected a text of one line without tabs")
    if labels is not None and value not in labels:
        raise FaultError(Fault.UNKNOWN_LABEL, f"the label is {value[:_SHOWN]!r}, which no training row has")
    return encodable(value, "'label'", Fault.FIELD)
