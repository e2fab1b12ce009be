"""Read relations: a file of TACRED, OpenNRE or SemEval-2010 task 8 flows in, `Relations` flow out.

TACRED's files are a JSON array; OpenNRE's are JSON lines, as wiki80 and tokenized copies of SemEval-2010 are; TACRED's objects a line each
are read too. Which of them a file is, its first object says, or its first line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby, pairwise
from os import PathLike, fspath
from typing import Any

import numpy as np

from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.probes.faults import FaultError, Faults
from spanmask.probes.opening import text_of
from spanmask.probes.relation.parsing import (
    Pair,
    begins_pair,
    is_semeval,
    opennre_pair,
    semeval_pair,
    tacred_pair,
)
from spanmask.probes.relation.relations import Fault, Layout, Relations
from spanmask.probes.scores.reading import lines_of, parse_json

#: Characters of a text that an error shows.
_SHOWN = 60
_WANTED = (
    'expected TACRED\'s JSON, [{"token", "subj_start", …}, …], OpenNRE\'s JSON lines, {"token", "h", "t", "relation"}, '
    'or SemEval-2010\'s text, a number, a tab and "a sentence with <e1>…</e1> and <e2>…</e2>"'
)


def read_relations(path: str | PathLike[str], on_error: OnError = OnError.FAIL) -> Relations:
    """Read the pairs of entities of a file.

    Parameters
    ----------
    path
        A file of one of the three layouts, known by its contents; gzip, zstd, bz2 or xz by its first bytes.
    on_error
        Whether the first pair that is not usable (see `Fault`) ends reading, or all such are left out and counted.

    Raises
    ------
    ConfigError
        There is no such file, it has another layout, or no pair is left of it.
    CorpusError
        It is no UTF-8, no JSON where it begins as such, its compressed stream is damaged, or a pair is not usable.
    StorageError
        It cannot be read.
    """
    name = fspath(path)
    text = text_of(name)
    head = text.lstrip()[:1]
    if head in ("[", "{"):
        entries = _array(text, name) if head == "[" else _objects(text, name)
        layout = _layout(name, entries)
        parse = tacred_pair if layout is Layout.TACRED else opennre_pair
        collected = _Collected(name, layout, on_error)
        for number, (line, entry) in enumerate(entries):
            collected.add(partial(parse, entry), line, _place(entry, number, line), f"{number + 1}")
    else:
        collected = _Collected(name, Layout.SEMEVAL, on_error)
        for line, sentence, label in _blocks(text, name):
            collected.add(partial(semeval_pair, sentence, label), line, "", "")
    return collected.relations()


#: Lines of the file, where they are known, with what stands there.
_Entries = list[tuple[int | None, Any]]


def _array(text: str, name: str) -> _Entries:
    return [(None, entry) for entry in parse_json(text, name)]


def _objects(text: str, name: str) -> _Entries:
    return [(line, parse_json(told, name, line)) for line, told in enumerate(lines_of(text), 1) if told.strip()]


def _layout(name: str, entries: _Entries) -> Layout:
    first = entries[0][1] if entries else None
    if isinstance(first, dict) and "subj_start" in first:
        return Layout.TACRED
    if isinstance(first, dict) and isinstance(first.get("h"), dict):
        return Layout.OPENNRE
    raise ConfigError(f"{name}: it begins with {json.dumps(first)[:_SHOWN] if entries else 'nothing'}; {_WANTED}")


def _place(entry: Any, number: int, line: int | None) -> str:
    """Return what an entry is called in an error: its id, or its number; nothing where its line is known."""
    identity = entry.get("id") if isinstance(entry, dict) else None
    if isinstance(identity, str):
        return f"{identity[:_SHOWN]!r}: "
    return "" if line else f"[{number}]: "


def _blocks(text: str, name: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield the pairs of SemEval's layout: the line each begins at, its sentence, and the line behind that.

    One begins behind an empty line, and where a line looks as if one did, so that none is lost where empty lines are missing.
    """
    told = lines_of(text)
    first = next((line for line in told if line.strip()), "")
    if not is_semeval(first):
        raise ConfigError(f"{name}: it begins with {first[:_SHOWN]!r}; {_WANTED}")
    for _, block in groupby(enumerate(told, 1), key=lambda one: bool(one[1].strip())):
        lines_told = [(line, text.strip()) for line, text in block if text.strip()]
        starts = [place for place, (_, text) in enumerate(lines_told) if not place or begins_pair(text)]
        for start, end in pairwise([*starts, len(lines_told)]):
            line, sentence = lines_told[start]
            yield line, sentence, lines_told[start + 1][1] if end > start + 1 else None


class _Collected:
    """What was read of a file so far."""

    def __init__(self, path: str, layout: Layout, on_error: OnError) -> None:
        self._faults, self._layout = Faults(path, on_error, "pair"), layout
        self._pairs: list[Pair] = []
        self._ids: dict[str, None] = {}

    def add(self, make: Callable[[], Pair], line: int | None, place: str, number: str) -> None:
        """Add a pair. line, place: where it stands, for errors. number: what it is called where its layout has no ids."""
        with self._faults.refusing(line, place):
            pair = make()
            identity = number if pair.identity is None else pair.identity
            if identity in self._ids:
                raise FaultError(Fault.ID_TWICE, "another pair has the same id; expected one of each")
            self._ids[identity] = None
            self._pairs.append(pair)

    def relations(self) -> Relations:
        """Return what was read."""
        self._faults.require(self._pairs)
        return Relations(
            layout=self._layout,
            sentences=tuple(pair.sentence for pair in self._pairs),
            spans=np.array([pair.spans for pair in self._pairs], np.int64),
            types=tuple(pair.types for pair in self._pairs),
            labels=tuple(pair.label for pair in self._pairs),
            ids=tuple(self._ids),
            left_out=dict(self._faults.left_out),
        )
