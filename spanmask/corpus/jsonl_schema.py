"""Which fields JSON lines hold, and what is wrong with a line: a line flows in, a schema or a reason flows out."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from spanmask.config import CorpusConfig, Format
from spanmask.corpus.cutting import document_starts
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.json_array import elements
from spanmask.corpus.nested import all_names, looked_up
from spanmask.corpus.streams import as_array, lines, open_stream
from spanmask.corpus.text import invalid_utf8
from spanmask.errors import ConfigError
from spanmask.records import SkipReason

#: Digits that Python converts at least, whatever its limit.
_DIGITS = sys.int_info.str_digits_check_threshold
_POINTS = pa.list_(pa.int64())
_RANGES = pa.list_(_POINTS)
#: Of a file, how much is looked at for the types of kept fields.
KEPT_BYTES = 1 << 20
_KEPT = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), type(None): pa.null()}
_JSON_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "list", dict: "object"}
_EXPECTED = {
    pa.large_string(): "a string",
    pa.string(): "a string",
    pa.int64(): "an integer of 64 bits",
    pa.float64(): "a number",
    pa.bool_(): "true or false",
    _POINTS: "a list of integers",
    _RANGES: "a list of pairs [start, end] of integers",
}


class LineFault(NamedTuple):
    """What is wrong with a line."""

    kind: SkipReason
    message: str


def schema_of(file: InputFile, config: CorpusConfig) -> pa.Schema:
    """Return the fields to read from a file of JSON lines; kept ones have the types that the corpus gives them."""
    fields = [(config.text_field, pa.large_string())]
    if config.spans_field is not None:
        fields.append((config.spans_field, _RANGES))
    if config.words_field is not None:
        fields.append((config.words_field, _POINTS))
    return pa.schema([*fields, *(file.kept or ())])


def kept_in_lines(file: InputFile, names: Collection[str], limit: int) -> dict[str, pa.DataType]:
    """Return the types of fields to keep by their first values in the first `KEPT_BYTES` of a file; null: it is there, and always null.

    Lines of more bytes than the limit are passed over.

    Raises
    ------
    ConfigError
        A value is no string, number or boolean.
    """
    found: dict[str, pa.DataType] = {}
    read = 0
    for line in _filled_lines(file, limit):
        values = _object(line)[0]
        for name in names:
            known, value = looked_up(values, name)
            if known and found.get(name, pa.null()) == pa.null():
                found[name] = _kept_type(file, name, value)
        read += len(line)
        if read >= KEPT_BYTES or (len(found) == len(names) and pa.null() not in found.values()):
            break
    return found


def names_in_lines(file: InputFile) -> list[str]:
    """Return the fields of the first line of a file, those inside of objects too."""
    return all_names(next(map(_object, _filled_lines(file, KEPT_BYTES)), ({}, None))[0])


def _filled_lines(file: InputFile, limit: int) -> Iterator[bytes]:
    """Yield the filled lines of a file that are not longer than a limit, up to one that leaves `KEPT_BYTES` behind."""
    if file.format is Format.JSON:
        yield from elements(file, limit)
        return
    with open_stream(file, KEPT_BYTES) as stream:
        for chunk in lines(stream, 0, max(limit, KEPT_BYTES)):
            # Split at newlines alone, as everywhere here: splitlines would end lines at a carriage return, too.
            for line in io.BytesIO(chunk.data):
                if len(line.rstrip(b"\n")) > max(limit, KEPT_BYTES):
                    return
                if len(line.rstrip(b"\n")) <= limit and len(document_starts(as_array(line), False, True)[0]):
                    yield line


def _kept_type(file: InputFile, name: str, value: object) -> pa.DataType:
    kind = _KEPT.get(type(value))
    if kind is None:
        raise ConfigError(
            f"{file.path}: field {name!r} is {_told(value)}; kept fields are strings, integers, numbers or booleans"
        )
    return kind


def explain(line: bytes, schema: pa.Schema) -> LineFault:
    """Say why a line is not one object with the fields of a schema, asking Python's parser, the more talkative one."""
    values, fault = _object(line)
    if fault is not None:
        return fault
    missing = _missing(values, schema.names[0])
    if missing is not None:
        return LineFault(SkipReason.FIELD, missing)
    for field in schema:
        value = looked_up(values, field.name)[1]
        if value is not None and not _fits(value, field.type):
            message = f"field {field.name!r} is {_told(value)}, expected {_expected(field.type)}"
            return LineFault(SkipReason.FIELD, message)
    return LineFault(
        SkipReason.JSON,
        "this line cannot be read as one JSON object (a lone surrogate, a name given twice, or a number out of range?)",
    )


def explain_missing(line: bytes, name: str) -> str | None:
    """Say whether a field that a line must have is missing or null, or return None."""
    return _missing(_object(line)[0], name)


def _object(line: bytes) -> tuple[dict[str, Any], LineFault | None]:
    """Parse a line; return its fields, and what is wrong if it is no object."""
    wrong = invalid_utf8(line)
    if wrong is not None:
        message = f"{wrong[1]}, in column {wrong[0] + 1}; expected JSON lines in UTF-8"
        return {}, LineFault(SkipReason.ENCODING, message)
    try:
        # Only for lines that the fast readers would not take: it may be slow, and it says most about what is wrong.
        value = json.loads(line, parse_int=_integer)
    except json.JSONDecodeError as error:
        return {}, LineFault(SkipReason.JSON, _malformed(error))
    except (RecursionError, ValueError) as error:
        return {}, LineFault(SkipReason.JSON, f"not readable JSON ({error})")
    if isinstance(value, dict):
        return value, None
    message = f"{_json_name(value)} instead of a JSON object; expected one object a line"
    return {}, LineFault(SkipReason.JSON, message)


def _integer(digits: str) -> int | float:
    """Return an integer; one too long for Python as a float, since no field takes it."""
    return int(digits) if len(digits) < _DIGITS else float(digits)


def _malformed(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return f"more than one JSON value on the line (column {error.colno}); expected one object a line"
    return f"malformed JSON: {error.msg} (column {error.colno}); expected one object a line"


def _missing(values: dict[str, Any], name: str) -> str | None:
    known, value = looked_up(values, name)
    if not known:
        there = ", ".join(repr(other) for other in all_names(values)[:20]) or "none"
        return f"no field {name!r}; fields of this line: {there}"
    return f"field {name!r} is null, expected a value" if value is None else None


def _expected(kind: pa.DataType) -> str:
    return _EXPECTED.get(kind) or ("a number" if pa.types.is_floating(kind) else f"an integer ({kind})")


def _fits(value: object, kind: pa.DataType) -> bool:
    """Tell whether a JSON value has the type of a field."""
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(item is None or _fits(item, kind.value_type) for item in value)
    if pa.types.is_integer(kind):
        bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
        # Not isinstance: true and false are ints to Python, and no integers to JSON.
        return type(value) is int and 0 <= value + (1 << bits >> 1) * signed < 1 << bits
    if pa.types.is_floating(kind):
        return type(value) in (int, float)
    return type(value) is (bool if pa.types.is_boolean(kind) else str)


def _json_name(value: object) -> str:
    name = "null" if value is None else _JSON_NAMES[type(value)]
    return name if value is None else f"{'an' if name[0] in 'aio' else 'a'} {name}"


def _told(value: object) -> str:
    """Say what a value is, and of a list what it holds."""
    if not isinstance(value, list):
        return _json_name(value)
    return f"a list of {_held(value)}" if value else "an empty list"


def _held(items: list[Any], depth: int = 2) -> str:
    """Name the types of a list's items, each once and lists last, those with what all of them hold down to a depth."""
    names = dict.fromkeys(_plural(item) for item in items if not isinstance(item, list))
    lists = [item for item in items if isinstance(item, list)]
    inner = [one for item in lists for one in item] if depth else []
    told = [f"lists of {_held(inner, depth - 1)}" if inner else "lists"] if lists else []
    *first, last = [*names, *told]
    return f"{', '.join(first)} and {last}" if first else last


def _plural(item: object) -> str:
    if type(item) is int and not _fits(item, pa.int64()):
        return "integers beyond 64 bits"
    return "nulls" if item is None else f"{_JSON_NAMES[type(item)]}s"
