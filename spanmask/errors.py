"""The errors spanmask raises on purpose. Each says what was found, what was expected, and what to do.

SpanmaskError
├── ConfigError         an option, vocabulary or path that cannot be used
├── CorpusError         input text that cannot be read (path, line or row)
├── ShardError          a shard or manifest that breaks the format (path, column, row)
│   └── IncompleteShards   shards or the manifest are missing
├── MismatchError       two fingerprints that must agree do not
└── StorageError        the file system refused: unreadable, read-only, full
"""

from __future__ import annotations


class SpanmaskError(Exception):
    """Every error that spanmask raises on purpose."""


class ConfigError(SpanmaskError):
    """An option, a vocabulary or an input path cannot be used as given."""


class CorpusError(SpanmaskError):
    """Input text breaks its format.

    Parameters
    ----------
    message
        What was found and what to do.
    path
        The input file, when known.
    line
        1-based line (text, JSONL), when known.
    row
        0-based row (Parquet, Arrow), when known.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.line = line
        self.row = row

    def __str__(self) -> str:
        place = "" if self.path is None else self.path
        if self.line is not None:
            place += f":{self.line}"
        if self.row is not None:
            place += f" row {self.row}"
        return f"{place}: {self.args[0]}" if place else str(self.args[0])


class ShardError(SpanmaskError):
    """A shard or manifest breaks the format.

    Parameters
    ----------
    message
        What was found and what was expected.
    path
        The file, relative to the dataset, when known.
    column
        The column, when known.
    row
        0-based row in the shard, when known.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        column: str | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.column = column
        self.row = row

    def __str__(self) -> str:
        place = [] if self.path is None else [self.path]
        if self.column is not None:
            place.append(f"column {self.column}")
        if self.row is not None:
            place.append(f"row {self.row}")
        return f"{' '.join(place)}: {self.args[0]}" if place else str(self.args[0])


class IncompleteShards(ShardError):
    """Shards, or the manifest that makes a dataset complete, are missing."""


class MismatchError(SpanmaskError):
    """Two fingerprints that must agree do not."""


class StorageError(SpanmaskError):
    """The file system refused: unreadable, read-only or full."""
