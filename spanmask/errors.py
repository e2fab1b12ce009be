"""The errors spanmask raises on purpose. Each says what was found, what was expected, and what to do.

SpanmaskError
├── ConfigError         an option, vocabulary or path that cannot be used
│   └── MissingExtraError  a library that only some of spanmask needs is not installed; an ImportError, too
├── CorpusError         input text that cannot be read (path, line or row)
├── ShardError          a shard or manifest that breaks the format (path, row)
│   └── IncompleteShards   shards or the manifest are missing
├── MismatchError       two fingerprints that must agree do not
└── StorageError        the file system refused: unreadable, read-only, full
"""

from __future__ import annotations


class SpanmaskError(Exception):
    """Every error that spanmask raises on purpose."""


class ConfigError(SpanmaskError):
    """An option, a vocabulary or an input path cannot be used as given.

    Parameters
    ----------
    message
        What was found, what was expected and what to do.
    options
        Names of options in the message that may also be plain words: of each the first one there is the option.
    """

    def __init__(self, message: str, *, options: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.options = options


class MissingExtraError(ConfigError, ImportError):
    """A library that an extra of spanmask brings is not installed."""


class _PlacedError(SpanmaskError):
    """An error of data that stands somewhere.

    Parameters
    ----------
    message
        What was found, what was expected and what to do.
    path
        The input file, or a shard's relative to the dataset, when known.
    line
        1-based line (text, JSONL), when known.
    row
        0-based row (Parquet, Arrow, a shard), when known.
    """

    def __init__(
        self, message: str, *, path: str | None = None, line: int | None = None, row: int | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.line = line
        self.row = row

    def __str__(self) -> str:
        place = self.path or ""
        if self.line is not None:
            place += f":{self.line}"
        if self.row is not None:
            place += f"{' ' * bool(place)}row {self.row}"
        return f"{place}: {self.args[0]}" if place else str(self.args[0])


class CorpusError(_PlacedError):
    """Input text breaks its format."""


class ShardError(_PlacedError):
    """A shard or manifest breaks the format."""


class IncompleteShards(ShardError):
    """Shards, or the manifest that makes a dataset complete, are missing."""


class MismatchError(SpanmaskError):
    """Two fingerprints that must agree do not."""


class StorageError(SpanmaskError):
    """The file system refused: unreadable, read-only or full."""
