"""Files to score: read whole, and told by file and place where they are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from warnings import warn

from spanmask.errors import ConfigError, CorpusError
from spanmask.storage import reporting, require_file

_T = TypeVar("_T")


def read_text(path: str | Path) -> str:
    """Return a file's text, without a byte order mark.

    Raises
    ------
    ConfigError
        There is no such file.
    CorpusError
        It is not UTF-8.
    StorageError
        The file system refused.
    """
    require_file(Path(path))
    with reporting(path, "read"):
        data = Path(path).read_bytes()
    return decoded(data, path)


def decoded(data: bytes, path: str | Path) -> str:
    """Return bytes as text, without a byte order mark; path: the file they come from.

    Raises
    ------
    CorpusError
        They are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"no UTF-8 at byte {error.start:,}; write it as UTF-8", path=str(path), line=line) from None


def lines_of(text: str) -> list[str]:
    """Return a text's lines, cut at line feeds alone, without carriage returns at their ends."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def parse_json(
    text: str | bytes, path: str | Path, line: int | None = None, *, pairs: Callable[[Any], Any] | None = None
) -> Any:
    """Return what a JSON text says. line: where it stands, if it is one line of many. pairs: what becomes of an object.

    Raises
    ------
    CorpusError
        It is no JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        message = f"no JSON at column {error.colno:,} ({error.msg}); write it anew"
        raise CorpusError(message, path=str(path), line=line or error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"no JSON that can be read ({error}); write it anew", path=str(path), line=line) from None


def read_json(path: str | Path) -> Any:
    """Return what a JSON file says; errors as of `read_text` and `parse_json`."""
    return parse_json(read_text(path), path)


def read_object(path: str | Path, expected: str) -> dict[str, Any]:
    """Return a JSON object none of whose names stands twice; expected: what it should be, for errors.

    Raises
    ------
    ConfigError
        It is no object.
    CorpusError
        A name stands twice; and errors of `read_text` and `parse_json`.
    """
    content = parse_json(read_text(path), path, pairs=partial(by_name, path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {kind(content)}, expected {expected}")
    return content


def by_name(path: str | Path, pairs: Sequence[tuple[str, _T]]) -> dict[str, _T]:
    """Return pairs by their names; one that stands twice is a `CorpusError`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CorpusError(f"{twice([name for name, _ in pairs])}; leave one", path=str(path))
    return found


def twice(names: list[str]) -> str:
    """Return words that name the first one to come again."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return f"{name!r} stands twice"
        seen.add(name)
    raise ValueError("each stands once")


def kind(value: Any) -> str:
    """Return what a JSON value is, in JSON's own words."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def refuse(path: str | Path, place: str, found: Any, expected: str) -> NoReturn:
    """Raise the error of a value that is not what it should be: `CorpusError`."""
    raise CorpusError(f"{place} is {kind(found)}, expected {expected}", path=str(path))


def tell_unmatched(gold: Collection[str], predicted: Collection[str], path: str | Path, *, counted: str = "") -> None:
    """Warn of ids without a prediction, and of predictions for no id. path: the predictions'. counted: what becomes of the former."""
    wanted, found = set(gold), set(predicted)
    if missing := [name for name in gold if name not in found]:
        warn(
            f"{path}: {len(missing):,} of {len(wanted):,} have no prediction: {counted} (the first: {missing[0]!r})",
            stacklevel=3,
        )
    if unknown := [name for name in predicted if name not in wanted]:
        warn(
            f"{path}: {len(unknown):,} of {len(found):,} predictions are for ids that the gold file has not: left out "
            f"(the first: {unknown[0]!r})",
            stacklevel=3,
        )
