"""Which fields JSON lines hold, and what is wrong with a line: a line flows in, a schema or a reason flows out."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from spanmask.config import CorpusConfig, OnError
from spanmask.corpus.cutting import document_starts
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.streams import as_array, lines, open_stream
from spanmask.corpus.text import SKIP_ADVICE, invalid_utf8
from spanmask.errors import ConfigError, CorpusError

_POINTS = pa.list_(pa.int64())
_RANGES = pa.list_(_POINTS)
_KEPT = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
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


@functools.lru_cache(maxsize=256)
def schema_of(file: InputFile, config: CorpusConfig) -> pa.Schema:
    """Return the fields to read from a file of JSON lines.

    Kept fields have the types that the file's first line gives them.

    Raises
    ------
    ConfigError
        A kept field is no string, number or boolean.
    CorpusError
        The first line lacks a kept field (when errors are not skipped).
    """
    fields = [(config.text_field, pa.large_string())]
    if config.spans_field is not None:
        fields.append((config.spans_field, _RANGES))
    if config.words_field is not None:
        fields.append((config.words_field, _POINTS))
    return pa.schema([*fields, *(_kept_types(file, config) if config.keep else ())])


def _kept_types(file: InputFile, config: CorpusConfig) -> list[tuple[str, pa.DataType]]:
    for number, line in _filled_lines(file):
        values, reason = _object(line)
        missing = reason or _missing(values, config.keep)
        if missing is None:
            return [(name, _kept_type(file, name, values[name])) for name in config.keep]
        if config.on_error is OnError.FAIL:
            raise CorpusError(f"{missing}; {SKIP_ADVICE}", path=file.path, line=number)
    return [(name, pa.string()) for name in config.keep]


def _filled_lines(file: InputFile) -> Iterator[tuple[int, bytes]]:
    """Yield the filled lines of a file and their 1-based numbers."""
    number = 0
    with open_stream(file) as stream:
        for chunk in lines(stream, 0):
            # Split at newlines alone, as everywhere here: splitlines would end lines at a carriage return, too.
            for line in io.BytesIO(chunk.data):
                number += 1
                if len(document_starts(as_array(line), False, True)[0]):
                    yield number, line


def _kept_type(file: InputFile, name: str, value: object) -> pa.DataType:
    kind = _KEPT.get(type(value))
    if kind is None:
        raise ConfigError(
            f"{file.path}: field {name!r} is {_json_name(value)}; "
            "kept fields are strings, integers, numbers or booleans"
        )
    return kind


def explain(line: bytes, schema: pa.Schema) -> str:
    """Say why a line is not one object with the fields of a schema, asking Python's parser, the more talkative one."""
    values, reason = _object(line)
    reason = reason or _missing(values, schema.names[:1])
    if reason is not None:
        return reason
    for field in schema:
        value = values.get(field.name)
        if value is not None and not _fits(value, field.type):
            return f"field {field.name!r} is {_json_name(value)}, expected {_EXPECTED[field.type]}"
    return (
        "this line cannot be read as one JSON object (a lone surrogate, a name given twice, or a number out of range?)"
    )


def explain_missing(line: bytes, names: Sequence[str]) -> str | None:
    """Say which of the fields that a line must have is missing or null, or return None."""
    return _missing(_object(line)[0], names)


def _object(line: bytes) -> tuple[dict[str, Any], str | None]:
    """Parse a line; return its fields, and what is wrong if it is no object."""
    wrong = invalid_utf8(line)
    if wrong is not None:
        return {}, f"{wrong[1]}, in column {wrong[0] + 1}; expected JSON lines in UTF-8"
    try:
        # Only for lines that the fast readers would not take: it may be slow, and it says most about what is wrong.
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return {}, _malformed(error)
    except (RecursionError, ValueError) as error:
        return {}, f"not readable JSON ({error})"
    if isinstance(value, dict):
        return value, None
    return {}, f"{_json_name(value)} instead of a JSON object; expected one object a line"


def _malformed(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return f"more than one JSON value on the line (column {error.colno}); expected one object a line"
    return f"malformed JSON: {error.msg} (column {error.colno}); expected one object a line"


def _missing(values: dict[str, Any], names: Sequence[str]) -> str | None:
    for name in names:
        if name not in values:
            there = ", ".join(repr(other) for other in list(values)[:20]) or "none"
            return f"no field {name!r}; fields of this line: {there}"
        if values[name] is None:
            return f"field {name!r} is null, expected a value"
    return None


def _fits(value: object, kind: pa.DataType) -> bool:
    """Tell whether a JSON value has the type of a field."""
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(item is None or _fits(item, kind.value_type) for item in value)
    if pa.types.is_int64(kind):
        # Not isinstance: true and false are ints to Python, and no integers to JSON.
        return type(value) is int and -(1 << 63) <= value < 1 << 63
    if pa.types.is_float64(kind):
        return type(value) in (int, float)
    return type(value) is (bool if pa.types.is_boolean(kind) else str)


def _json_name(value: object) -> str:
    name = "null" if value is None else _JSON_NAMES[type(value)]
    return name if value is None else f"{'an' if name[0] in 'aio' else 'a'} {name}"
