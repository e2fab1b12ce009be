"""Columns of Parquet and Arrow files: schemas and batches flow in, batches as `rows.documents` takes them flow out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from spanmask.config import CorpusConfig
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.nested import column_paths
from spanmask.corpus.ranges import is_points_type, is_ranges_type
from spanmask.corpus.strings import is_plain, is_text, lengths, plain
from spanmask.errors import ConfigError, CorpusError
from spanmask.records import Offsets


def column_names(config: CorpusConfig) -> list[str]:
    """Return the columns to read."""
    return [config.text_field, *filter(None, (config.spans_field, config.words_field)), *config.carried]


def require_columns(file: InputFile, schema: pa.Schema, config: CorpusConfig) -> None:
    """Refuse a file that lacks a column, or has one of another type.

    Raises
    ------
    CorpusError
        A column is missing or there twice; text is no string; ranges or word starts are no lists of integers.
    ConfigError
        A kept column is no string, number or boolean.
    """
    for name in column_names(config):
        advice = "; name another with --text-field" if name == config.text_field else ""
        _require_one(file, schema, name, advice, optional=name in config.carried)
    _require_type(file, schema, config.text_field, is_text, "strings; name another with --text-field")
    if config.spans_field is not None:
        _require_type(file, schema, config.spans_field, is_ranges_type, "lists of pairs [start, end] of integers")
    if config.words_field is not None:
        _require_type(file, schema, config.words_field, is_points_type, "lists of integers")
    for name, kind in kept_types(schema, config).items():
        if not is_kept_type(kind):
            raise ConfigError(
                f"{file.path}: column {name!r} is {kind}; kept columns are booleans, integers, floats or strings"
            )


def kept_types(schema: pa.Schema, config: CorpusConfig) -> dict[str, pa.DataType]:
    """Return the types as which the columns to keep that are there are kept."""
    types = {name: schema.field(name).type for name in config.carried if name in schema.names}
    return {name: pa.string() if is_text(kind) else kind for name, kind in types.items()}


def _require_one(file: InputFile, schema: pa.Schema, name: str, advice: str, *, optional: bool) -> None:
    count = len(schema.get_all_field_indices(name))
    if count == 0 and not optional:
        there = ", ".join(map(repr, column_paths(schema)[:50])) or "none"
        raise CorpusError(f"no column {name!r}; columns of this file: {there}{advice}", path=file.path)
    if count > 1:
        raise CorpusError(f"column {name!r} is there {count} times; expected once", path=file.path)


def _require_type(
    file: InputFile, schema: pa.Schema, name: str, fits: Callable[[pa.DataType], bool], expected: str
) -> None:
    kind = schema.field(name).type
    if not fits(kind):
        raise CorpusError(f"column {name!r} is {kind}, expected {expected}", path=file.path)


def is_kept_type(kind: pa.DataType) -> bool:
    """Tell whether a column can be passed through."""
    known = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, is_text, pa.types.is_null)
    return any(fits(kind) for fits in known)


def row_bytes(batch: pa.RecordBatch, config: CorpusConfig) -> Offsets:
    """Return the (D,) bytes that the strings of each row take once they are decoded."""
    columns = [batch.column(name) for name in (config.text_field, *config.carried) if name in batch.schema.names]
    sizes: Offsets = np.sum([lengths(column) for column in columns if is_text(column.type)], axis=0)
    return sizes


def conform(batch: pa.RecordBatch, config: CorpusConfig, kept: pa.Schema | None) -> pa.RecordBatch:
    """Return the columns of a configuration, text as string or large_string, kept ones as in their schema, null where there is none."""
    names = column_names(config)
    columns = {name: batch.column(name) if name in batch.schema.names else pa.nulls(len(batch)) for name in names}
    text = columns[config.text_field]
    if not is_plain(text.type):
        columns[config.text_field] = plain(text, pa.large_string())
    for field in kept or ():
        column = columns[field.name]
        if column.type != field.type:
            columns[field.name] = plain(column, field.type) if is_text(column.type) else column.cast(field.type)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
