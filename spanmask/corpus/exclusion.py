"""Documents left out by a field: lists of values flow in, read once; which rows hold one flows out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from spanmask.config import CorpusConfig
from spanmask.corpus.inputs import Exclusion, InputFile
from spanmask.errors import ConfigError, CorpusError
from spanmask.records import Flags
from spanmask.storage import refuse_url, reporting

#: What stands between a list's name and its digest.
_DIGEST = "#sha256:"


def read_exclusions(config: CorpusConfig) -> tuple[Exclusion, ...]:
    """Read the lists of a configuration: one value a line, in UTF-8, white space around it and blank lines aside.

    Raises
    ------
    ConfigError
        A file is missing, or holds no value.
    CorpusError
        It is not UTF-8.
    """
    return tuple(_read(*given.split("=", 1)) for given in config.exclude)


def _read(field: str, path: str) -> Exclusion:
    refuse_url(path, "exclude")
    if not os.path.exists(path):
        raise ConfigError(
            f"exclude is {f'{field}={path}'!r}: there is no such file; give FIELD=FILE, and one value a line in it",
            options=("exclude",),
        )
    with reporting(path, "read"):
        data = Path(path).read_bytes()
    try:
        lines = {line.strip() for line in data.decode("utf-8-sig").split("\n")} - {""}
    except UnicodeDecodeError as error:
        raise CorpusError(f"not UTF-8 ({error}); expected one value a line", path=path) from None
    if not lines:
        raise ConfigError(
            f"exclude is {f'{field}={path}'!r}: no value to exclude stands there; give one a line", options=("exclude",)
        )
    digest = hashlib.sha256(data).hexdigest()
    return Exclusion(
        field=field,
        path=os.path.abspath(path),
        stated=f"{field}={os.path.basename(path)}{_DIGEST}{digest}",
        values=frozenset(line.encode() for line in lines),
    )


def with_exclusions(files: Sequence[InputFile], exclusions: Sequence[Exclusion]) -> tuple[InputFile, ...]:
    """Return files that know what is left out of them."""
    return tuple(replace(file, exclusions=tuple(exclusions)) for file in files)


def excluded(batch: pa.RecordBatch, exclusions: Sequence[Exclusion]) -> Flags:
    """Return (D,) which rows hold an excluded value; numbers count as their digits."""
    found: Flags = np.zeros(len(batch), np.bool_)
    for one in exclusions:
        # As bytes: a text that is not UTF-8 is told elsewhere.
        values = batch.column(one.field).cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
        found |= np.fromiter((value in one.values for value in values), np.bool_, len(values))
    return found
