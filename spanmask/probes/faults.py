"""What is wrong with some of a file's entries: it ends reading, or they are left out and counted."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError

#: Half of a surrogate pair, which JSON may hold and which is no text.
_HALF = re.compile("[\ud800-\udfff]")


class FaultError(Exception):
    """An entry that cannot be used. fault: of which kind it is."""

    def __init__(self, fault: StrEnum, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Faults:
    """The faults of a file.

    Parameters
    ----------
    path
        The file.
    on_error
        Whether the first one ends reading.
    noun
        What an entry is, such as ``question``.

    Attributes
    ----------
    left_out
        How many entries were left out, by fault.
    """

    def __init__(self, path: str, on_error: OnError, noun: str) -> None:
        self._path, self._on_error, self._noun = path, on_error, noun
        self.left_out = Counter[Any]()

    @contextlib.contextmanager
    def refusing(self, line: int | None, place: str = "") -> Iterator[None]:
        """Take an entry's fault for an error of the file, or count it. line, place: where it stands, for errors.

        Raises
        ------
        CorpusError
            The entry is not usable, and none may be left out.
        """
        try:
            yield
        except FaultError as error:
            self.found(error.fault, f"{place}{error}", line)

    def found(self, fault: StrEnum, message: str, line: int | None) -> None:
        """Raise the error of a fault, or count it, as `refusing` does."""
        if self._on_error is OnError.FAIL:
            advice = f"mend the file, or leave such {self._noun}s out with --on-error skip"
            raise CorpusError(f"{message} ({fault}); {advice}", path=self._path, line=line) from None
        self.left_out[fault] += 1

    def require(self, kept: Sized) -> None:
        """Refuse a file of which nothing is left.

        Raises
        ------
        ConfigError
            So it is.
        """
        if not kept:
            left = ", ".join(f"{fault}: {count}" for fault, count in self.left_out.items()) or "it has none"
            raise ConfigError(f"{self._path}: no {self._noun} is left of it ({left}); give another file")


def encodable(text: str, name: str, fault: StrEnum) -> str:
    """Return a text that UTF-8 can hold. name: what it is called. fault: what it is if it is none, for `FaultError`."""
    if not text.isascii() and _HALF.search(text):
        raise FaultError(fault, f"{name} holds half of a surrogate pair, expected text")
    return text


class Read(Protocol):
    """What was read of a file."""

    @property
    def left_out(self) -> Mapping[Any, int]:
        """How many entries were left out, by fault."""


def by_file(paths: Iterable[str | PathLike[str]], read: Iterable[Read]) -> dict[str, Mapping[Any, int]]:
    """Return how often something was left out, by file and fault: nothing of files that were read whole. read: of each path."""
    return {f"{path}": one.left_out for path, one in zip(paths, read, strict=True)}


def by_name(left_out: Mapping[str, Mapping[Any, int]]) -> dict[str, dict[str, int]]:
    """Return how often something was left out, by file and fault, as a protocol has it: by the files' names alone, as plain texts.

    left_out: of all files, those that have nothing left out among them: where several have one name, their numbers tell them apart.
    """
    names = [Path(path).name for path in left_out]
    files = Counter(names)
    told = [f"{name} (file {number})" if files[name] > 1 else name for number, name in enumerate(names, 1)]
    return {
        name: {str(fault): count for fault, count in held.items()}
        for name, held in zip(told, left_out.values(), strict=True)
        if held
    }
