"""Fields inside of others: ``a.b`` is field b of object a where no field is literally named so. Schemas and batches flow in and out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa


def looked_up(values: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    """Tell whether an object of JSON has a field, and its value."""
    if name in values:
        return True, values[name]
    outer, _, inner = name.partition(".")
    while inner:
        if isinstance(values.get(outer), dict):
            found = looked_up(values[outer], inner)
            if found[0]:
                return found
        more, _, inner = inner.partition(".")
        outer = f"{outer}.{more}"
    return False, None


def all_names(values: Mapping[str, Any]) -> list[str]:
    """Return the fields of an object of JSON, those of objects in it by their paths."""
    inner = {name: all_names(value) if isinstance(value, dict) else [] for name, value in values.items()}
    return [path for name, paths in inner.items() for path in ([f"{name}.{path}" for path in paths] or [name])]


def column_paths(schema: pa.Schema) -> list[str]:
    """Return the columns of a schema, those inside of structs by their paths; each once, though `with_inner` put one beside its struct."""
    return list(dict.fromkeys(path for field in schema for path in _paths_of(field)))


def _paths_of(field: pa.Field) -> list[str]:
    inner = list(field.type) if pa.types.is_struct(field.type) else []
    return [f"{field.name}.{path}" for part in inner for path in _paths_of(part)] or [field.name]


def with_objects(schema: pa.Schema) -> pa.Schema:
    """Return a schema with, beside fields of dotted names, the objects that they may be in."""
    tree: dict[str, Any] = {}
    for field in schema:
        *outer, last = field.name.split(".")
        if outer and outer[0] not in schema.names:
            branch: Any = tree
            for part in outer:
                branch = branch.setdefault(part, {}) if isinstance(branch, dict) else branch
            if isinstance(branch, dict):
                branch.setdefault(last, field.type)
    return pa.schema([*schema, *_fields(tree)])


def _fields(tree: Mapping[str, Any]) -> list[pa.Field]:
    return [pa.field(name, pa.struct(_fields(part)) if isinstance(part, dict) else part) for name, part in tree.items()]


def from_objects(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """Return the named columns of a table as `with_objects` has it: of each row the field literally so named, else that in the objects."""
    import pyarrow.compute as pc

    columns = {}
    for name in names:
        outer, *path = name.split(".")
        column = table.column(name)
        if path and outer in table.schema.names and _type_at(table.schema.field(outer).type, path) == column.type:
            column = pc.coalesce(column, pc.struct_field(table.column(outer), path))
        columns[name] = column
    return pa.table(columns)


def _type_at(kind: pa.DataType, path: list[str]) -> pa.DataType | None:
    for name in path:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def with_inner(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Return a schema of columns with, at its end, the columns inside of structs that some names mean."""
    for name in names:
        outer, *path = name.split(".")
        if path and name not in schema.names and len(schema.get_all_field_indices(outer)) == 1:
            kind = _type_at(schema.field(outer).type, path)
            schema = schema if kind is None else schema.append(pa.field(name, kind))
    return schema


def pulled(batch: pa.RecordBatch, names: Iterable[str]) -> pa.RecordBatch:
    """Return the named columns of a batch, those inside of structs by their paths, null where a struct is; the structs are checked."""
    import pyarrow.compute as pc

    columns = {}
    for name in names:
        outer, *path = name.split(".")
        if name in batch.schema.names:
            columns[name] = batch.column(name)
        elif path and outer in batch.schema.names:
            batch.column(outer).validate()
            columns[name] = pc.struct_field(batch.column(outer), path)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
