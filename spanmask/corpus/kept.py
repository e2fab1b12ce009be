"""Fields to keep: which types they have in a whole corpus. Files flow in, the same files flow out, told of those types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from spanmask.config import CorpusConfig
from spanmask.corpus.columnar import kept_in_columns, names_in_columns
from spanmask.corpus.columns import kept_types
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.jsonl_schema import kept_in_lines, names_in_lines
from spanmask.errors import ConfigError, CorpusError


def with_kept(files: Sequence[InputFile], config: CorpusConfig) -> tuple[InputFile, ...]:
    """Return files that know the types of the fields to keep; where a document has none of one, or null, it is null.

    A type is that of a field's first value in the corpus, looked for in the first MiB of files of JSON lines, and in the schema of others.

    Raises
    ------
    ConfigError
        A field has two types, or one that cannot be kept.
    CorpusError
        A field is nowhere: its name is likely wrong.
    """
    if not config.carried:
        return tuple(files)
    found: dict[str, tuple[pa.DataType, str]] = {}
    for file in files:
        for name, kind in _kept_in(file, config, found).items():
            known, path = found.get(name, (pa.null(), file.path))
            if pa.null() not in (known, kind) and known != kind:
                raise ConfigError(
                    f"field {name!r} is {known} in {path}, and {kind} in {file.path}: a kept field has one type in all inputs"
                )
            found[name] = (kind, file.path) if known == pa.null() else (known, path)
    for name in config.carried:
        if name not in found:
            there = ", ".join(map(repr, _names_in(files[0], config)[:20])) or "none"
            others = f" (nor does one of the {len(files) - 1} other files show it)" if len(files) > 1 else ""
            raise CorpusError(
                f"no field {name!r}; fields of the first document: {there}{others}; name one that is there",
                path=files[0].path,
            )
    # Null in all that was looked at: any type does.
    kept = pa.schema(
        [(name, pa.string() if found[name][0] == pa.null() else found[name][0]) for name in config.carried]
    )
    return tuple(replace(file, kept=kept) for file in files)


def _header(file: InputFile, config: CorpusConfig) -> pa.Schema:
    # Imported where there is such a file: it loads Arrow's own reader.
    from spanmask.corpus.delimited import records_schema

    return records_schema(file, config)


def _names_in(file: InputFile, config: CorpusConfig) -> list[str]:
    if file.is_delimited:
        return list(_header(file, config).names)
    return names_in_columns(file, config) if file.is_columnar else names_in_lines(file)


def _kept_in(
    file: InputFile, config: CorpusConfig, found: dict[str, tuple[pa.DataType, str]]
) -> dict[str, pa.DataType]:
    if file.is_delimited:
        return kept_types(_header(file, config), config)
    if file.is_columnar:
        return kept_in_columns(file, config)
    # Lines are read for what is not known yet: those of another type are told where they stand.
    wanted = [name for name in config.carried if found.get(name, (pa.null(), ""))[0] == pa.null()]
    return kept_in_lines(file, wanted, config.max_document_bytes) if wanted else {}
