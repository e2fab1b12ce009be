"""Coreference as files of CoNLL-2012 have it: read from files, folders and archives, and written.

A document stands between ``#begin document NAME`` and ``#end document``. Every line between them that is not blank is a token; its last
column says where mentions of entities begin and end: ``(3`` opens one of entity 3, ``3)`` closes it, ``(3)`` is one of a single token,
``|`` may part them, and ``-``, ``_``, ``*`` or nothing is none. Columns are parted by tabs or blanks, and there may be any number of them
(OntoNotes, LitBank, OntoGUM). Other lines that begin with ``#`` and hold no tab are comments.

Brackets of one line are taken as the official scorer takes them (v8.01, `GetCoreference` of
https://github.com/conll/reference-coreference-scorers): mentions of a single token first, then what opens, then what closes, and a closing
bracket belongs to the newest open one of its entity.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores.conll_files import files
from spanmask.probes.scores.conll_words import Sentences
from spanmask.storage import publish_bytes

#: First and last token of a mention, 0-based in its document, both within.
Mention = tuple[int, int]
Entities = Sequence[Sequence[Mention]]

_MARKER = re.compile(rb"#\s*(?:begin document\b[ \t]*(?P<name>.*)|(?P<end>end document\b))")
_ANY_DOCUMENT = re.compile(rb"(?m)^(?:\xef\xbb\xbf)?#[ \t]*begin document\b")
_CELL = re.compile(rb"(?:\(\d+\)?|\d+\))(?:\|?(?:\(\d+\)?|\d+\)))*")
_BRACKET = re.compile(rb"(\(?)(\d+)(\)?)")
_NO_MENTION = (b"-", b"_", b"*")
_PART = re.compile(r"\((?P<document>.*)\); part (?P<part>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document's entities.

    Parameters
    ----------
    place
        The file it stands in, and the line where it begins, for messages.
    tokens
        How many it has.
    entities
        Mentions by entity, each in the order of the closing brackets; entities in the order of their first opening bracket, where those
        of a line that open and close there come first.
    unpaired
        Brackets without their other half, which were left out.
    sentences
        The words of each sentence; none where they were not asked for. A file without blank lines has one sentence a document.
    """

    place: tuple[str, int]
    tokens: int
    entities: Entities
    unpaired: int = 0
    sentences: Sequence[Sequence[str]] = ()


def read_conll(path: str | os.PathLike[str], *, on_error: str = "fail", words: bool = False) -> dict[str, Document]:
    """Read the documents of a file, of all files of a folder or tar archive whose names end in ``conll``, gzipped (``.gz``) or not.

    Parameters
    ----------
    path
        The file, folder or archive.
    on_error
        What is done about a bracket that has no other half: ``fail``, or ``skip``, which leaves it out and counts it.
    words
        Whether to read the words and the ends of sentences too, for which columns must be those that `conll_words` knows.

    Returns
    -------
    dict
        Documents by what stands behind ``#begin document``, in the order of the files' names. A document without a name is called as its
        file is, below the folder that all files share; in a file that was given itself its name is ``""``.

    Raises
    ------
    ConfigError
        There is no such file, none of that name in a folder or archive, a file without a document, or the path is a URL.
    CorpusError
        A line, a bracket or an archive breaks the format, or a document stands there twice.
    StorageError
        The file system refused.
    """
    found: dict[str, Document] = {}
    for unnamed, place, data in files(Path(path)):
        if not _ANY_DOCUMENT.search(data):
            raise ConfigError(f"{place}: no document, expected lines from '#begin document NAME' to '#end document'")
        for name, document in _documents(data, place, skip=on_error == "skip", words=words):
            other = found.setdefault(name or unnamed, document)
            if other is not document:
                raise CorpusError(
                    f"the document {name or unnamed!r} stands twice, first in {other.place[0]}, line {other.place[1]:,}; leave one out",
                    path=place,
                    line=document.place[1],
                )
    return found


def write_conll(path: Path, documents: Mapping[str, tuple[Sequence[Sequence[str]], Entities]]) -> None:
    """Write what `conll_bytes` returns, as a file that appears whole or not at all.

    Raises
    ------
    ConfigError
        As of `conll_bytes`.
    StorageError
        The file system refused.
    """
    publish_bytes(path, conll_bytes(documents))


def conll_bytes(documents: Mapping[str, tuple[Sequence[Sequence[str]], Entities]]) -> bytes:
    """Return documents as five columns, parted by tabs: document, part, number of the token in its sentence, word, mentions.

    Parameters
    ----------
    documents
        Sentences of words, and mentions by entity, of each document, by what stands behind ``#begin document``, as `read_conll` has it.

    Raises
    ------
    ConfigError
        A word is empty or holds white space, or the format cannot tell the mentions: they cross within one entity, repeat, or lie
        outside the document.
    """
    lines: list[str] = []
    for name, (sentences, entities) in documents.items():
        lines += [f"#begin document {name}".rstrip(), *_lines(name, sentences, entities), "#end document"]
    return "".join(f"{line}\n" for line in lines).encode()


def split_name(name: str) -> tuple[str, int]:
    """Return the document and the part of it that a name is of: ``(a/b); part 002`` is part 2 of ``a/b``."""
    known = _PART.fullmatch(name)
    return (known["document"], int(known["part"])) if known else (name, 0)


def _lines(name: str, sentences: Sequence[Sequence[str]], entities: Entities) -> Iterator[str]:
    cells = _cells(name, sum(map(len, sentences)), entities)
    document, part = split_name(name)
    place = 0
    for sentence in sentences:
        for index, word in enumerate(sentence):
            if word.split() != [word]:
                raise ConfigError(
                    f"document {name!r}: the word {word!r} is empty or holds white space; put another in its place"
                )
            yield f"{document.replace(' ', '_') or '-'}\t{part}\t{index}\t{word}\t{cells[place]}"
            place += 1
        yield ""


def _cells(name: str, tokens: int, entities: Entities) -> list[str]:
    """Return the last column of a document, having read it back."""
    cells: list[list[str]] = [[] for _ in range(tokens)]
    for entity, mentions in enumerate(entities):
        for start, end in mentions:
            if not 0 <= start <= end < tokens:
                raise ConfigError(
                    f"document {name!r}: a mention from token {start} to {end}, and it has {tokens:,} tokens"
                )
            if start == end:
                cells[start].append(f"({entity})")
            else:
                cells[start].append(f"({entity}")
                cells[end].append(f"{entity})")
    told = ["|".join(cell) or "-" for cell in cells]
    brackets = _Brackets()
    for token, cell in enumerate(told):
        if cell != "-":
            brackets.take(cell.encode(), token, token)
    for entity, mentions in enumerate(entities):
        if sorted(brackets.entities.get(b"%d" % entity, [])) != sorted({*map(tuple, mentions)}):
            raise ConfigError(
                f"document {name!r}: entity {entity} has mentions that cross or repeat, which brackets cannot tell; leave one out"
            )
    return told


class _Brackets:
    """The mentions of one document while its lines are read."""

    def __init__(self) -> None:
        self.entities: dict[bytes, list[Mention]] = {}
        self.open: dict[bytes, list[tuple[int, int]]] = {}

    def take(self, cell: bytes, token: int, line: int) -> list[bytes]:
        """Take what a token's last column says; return the entities of closing brackets that nothing opened."""
        unopened = []
        for opens, name, closes in sorted(_BRACKET.findall(cell), key=_turn):
            if opens and closes:
                self.entities.setdefault(name, []).append((token, token))
            elif opens:
                self.entities.setdefault(name, [])
                self.open.setdefault(name, []).append((token, line))
            elif self.open.get(name):
                self.entities[name].append((self.open[name].pop()[0], token))
            else:
                unopened.append(name)
        return unopened

    def unclosed(self) -> list[tuple[int, bytes]]:
        """Return line and entity of the brackets that nothing closed."""
        return sorted((line, name) for name, starts in self.open.items() for _, line in starts)


def _turn(bracket: tuple[bytes, bytes, bytes]) -> int:
    opens, _, closes = bracket
    return 0 if opens and closes else 1 if opens else 2


def _documents(data: bytes, place: str, *, skip: bool, words: bool = False) -> Iterator[tuple[str, Document]]:
    lines = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
    for number, line in lines:
        marker = _MARKER.match(line)
        if marker and not marker["end"]:
            name = marker["name"].rstrip().decode(errors="backslashreplace")
            yield name, _document(lines, (place, number), Sentences(wanted=words), skip=skip)
        elif marker or (line.strip() and not _is_comment(line)):
            shown = line[:40].decode(errors="backslashreplace").strip()
            raise CorpusError(
                f"{shown!r} stands in no document, expected '#begin document NAME' before it", path=place, line=number
            )


def _is_comment(line: bytes) -> bool:
    return line.startswith(b"#") and b"\t" not in line


def _document(
    lines: Iterator[tuple[int, bytes]], place: tuple[str, int], sentences: Sentences, *, skip: bool
) -> Document:
    """Read on to the end of a document."""
    brackets, tokens, unopened = _Brackets(), 0, 0
    for number, line in lines:
        if line[:1] == b"#":
            marker = _MARKER.match(line)
            if marker and marker["end"]:
                break
            if marker:
                raise CorpusError(
                    "a document begins in another, expected '#end document' before it", path=place[0], line=number
                )
            if _is_comment(line):
                continue
        columns = line.rsplit(None, 1)
        if not columns:
            sentences.end()
            continue
        if columns[-1] not in _NO_MENTION and _has_brackets(line, columns[-1], place[0], number):
            for name in brackets.take(columns[-1], tokens, number):
                unopened += _count_unpaired(
                    f"{name.decode()}) closes what nothing opened", (place[0], number), skip=skip
                )
        sentences.add(line, place[0], number)
        tokens += 1
    else:
        raise CorpusError(
            "the document has no '#end document'; the file may be cut off: copy it again", path=place[0], line=place[1]
        )
    unclosed = [
        _count_unpaired(f"({name.decode()} is not closed in its document", (place[0], number), skip=skip)
        for number, name in brackets.unclosed()
    ]
    entities = [mentions for mentions in brackets.entities.values() if mentions]
    return Document(
        place=place,
        tokens=tokens,
        entities=entities,
        unpaired=unopened + len(unclosed),
        sentences=sentences.all(),
    )


def _has_brackets(line: bytes, cell: bytes, path: str, number: int) -> bool:
    if _CELL.fullmatch(cell):
        return True
    if line.rstrip(b"\r").endswith(b"\t"):
        return False
    shown = cell[:40].decode(errors="backslashreplace")
    raise CorpusError(
        f"found {shown!r} in the last column, expected mentions as in (3, 3) and (3), parted by |, or - for none",
        path=path,
        line=number,
    )


def _count_unpaired(message: str, place: tuple[str, int], *, skip: bool) -> int:
    if not skip:
        raise CorpusError(
            f"{message}; mend it, or leave such brackets out (--on-error skip)", path=place[0], line=place[1]
        )
    return 1
