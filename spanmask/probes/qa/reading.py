"""Read questions: a file of SQuAD 1.1, SQuAD 2.0 or MRQA flows in, `Questions` flow out.

SQuAD is one JSON object, ``{"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}]}]}``
(https://rajpurkar.github.io/SQuAD-explorer); a question with ``is_impossible`` makes it SQuAD 2.0. MRQA is JSON lines, a header first and
then a passage a line, ``{"context", "qas": [{"qid", "question", "answers", "detected_answers": [{"char_spans"}]}]}``
(https://github.com/mrqa/MRQA-Shared-Task-2019). Either may be compressed. Offsets of both count Unicode code points; the ends of MRQA's
``char_spans`` are inclusive. Of several answers SQuAD's first is the one to learn, and of MRQA the earliest detected occurrence, whatever
its spelling: its text is what stands there, and ``answers`` are what scores are taken against.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from spanmask.config import OnError
from spanmask.corpus.streams import lines
from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.faults import FaultError, Faults, encodable
from spanmask.probes.opening import opened
from spanmask.probes.qa.questions import Fault, Layout, Questions
from spanmask.storage import reporting, require_file

_HEADER = re.compile(rb'\s*\{\s*"header"\s*:')
#: Bytes of a line at most.
_LINE_LIMIT = 1 << 30
_WANTED = 'expected SQuAD\'s JSON, {"data": […]}, or MRQA\'s JSON lines, which begin with {"header": …}'
_NO_SPAN = (-1, -1)
#: Characters of a text that an error shows.
_SHOWN = 60
_KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "an object"}

_T = TypeVar("_T")


class _Asked(NamedTuple):
    """A question as its layout has it. span: code points of the answer to learn."""

    identity: str
    text: str
    span: tuple[int, int]
    answers: tuple[str, ...]
    impossible: bool = False


#: What makes a question of an object and its passage.
_Parse = Callable[[dict[str, Any], str], _Asked]


def read_questions(path: str | PathLike[str], on_error: OnError = OnError.FAIL) -> Questions:
    """Read the questions of a file.

    Parameters
    ----------
    path
        A file of SQuAD 1.1, SQuAD 2.0 or MRQA, known by its contents; gzip, zstd, bz2 or xz by its first bytes.
    on_error
        Whether the first question that is not usable (see `Fault`) ends reading, or all such are left out and counted.

    Raises
    ------
    ConfigError
        There is no such file, it has another layout, or no question is left of it.
    CorpusError
        It is no JSON in UTF-8, its compressed stream is damaged, or a question is not usable.
    StorageError
        It cannot be read.
    """
    name = fspath(path)
    require_file(Path(path))
    with reporting(name, "read"), opened(name) as stream:
        parts = (chunk.data for chunk in lines(stream, 0, _LINE_LIMIT))
        first = next(parts, b"")
        if _HEADER.match(first):
            collected = _Collected(name, Layout.MRQA, _of_mrqa, on_error)
            _read_lines(collected, first, parts)
        else:
            collected = _Collected(name, Layout.SQUAD, _of_squad, on_error)
            _read_object(collected, b"".join([first, *parts]))
    return collected.questions()


class _Collected:
    """What was read of a file so far."""

    def __init__(self, path: str, layout: Layout, parse: _Parse, on_error: OnError) -> None:
        self._path, self._layout, self._parse = path, layout, parse
        self._faults = Faults(path, on_error, "question")
        self._passages: list[str] = []
        self._passage_of: list[int] = []
        self._asked: list[_Asked] = []
        self._ids: set[str] = set()

    def add(self, paragraph: object, line: int | None = None) -> None:
        """Add the questions of a passage. line: where it stands, if that is known."""
        with self._faults.refusing(line):
            context, questions = _passage(paragraph)
            before = len(self._asked)
            for number, question in enumerate(questions):
                with self._faults.refusing(line, f"question {_name(question, number)}: "):
                    self._add(context, question)
            if len(self._asked) > before:
                self._passages.append(context)

    def _add(self, context: str, question: object) -> None:
        if not isinstance(question, dict):
            raise FaultError(Fault.FIELD, f"{_told(question)}, expected an object")
        if not context.strip():
            raise FaultError(Fault.EMPTY_PASSAGE, "its passage is empty or white space only; expected text")
        asked = self._parse(question, context)
        if asked.identity in self._ids:
            raise FaultError(Fault.ID_TWICE, "another question has the same id; expected one of each")
        self._ids.add(asked.identity)
        self._passage_of.append(len(self._passages))
        self._asked.append(asked)

    def wrong(self, message: str, line: int | None = None) -> CorpusError:
        """Return an error of the file."""
        return CorpusError(message, path=self._path, line=line)

    def other_layout(self, found: str) -> ConfigError:
        """Return an error that says what was found instead of a layout that is known."""
        return ConfigError(f"{self._path}: {found}; {_WANTED}")

    def questions(self) -> Questions:
        """Return what was read."""
        self._faults.require(self._asked)
        squad2 = self._layout is Layout.SQUAD and any(asked.impossible for asked in self._asked)
        return Questions(
            layout=Layout.SQUAD2 if squad2 else self._layout,
            passages=pa.array(self._passages, pa.large_string()),
            texts=pa.array([asked.text for asked in self._asked], pa.large_string()),
            ids=tuple(asked.identity for asked in self._asked),
            passage_of=np.array(self._passage_of, np.int64),
            spans=np.array([asked.span for asked in self._asked], np.int64),
            answers=tuple(asked.answers for asked in self._asked),
            left_out=dict(self._faults.left_out),
        )


def _read_object(collected: _Collected, data: bytes) -> None:
    content = _parsed(collected, data)
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list):
        raise collected.other_layout(_told(content) if not isinstance(content, dict) else "an object without 'data'")
    for article in articles:
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            raise collected.other_layout("an article without a list of 'paragraphs'")
        for paragraph in paragraphs:
            collected.add(paragraph)


def _read_lines(collected: _Collected, first: bytes, rest: Iterator[bytes]) -> None:
    pieces = chain.from_iterable(map(io.BytesIO, chain([first], rest)))
    for number, line in enumerate(pieces, 1):
        if number > 1 and line.strip():
            collected.add(_parsed(collected, line, number), number)


def _parsed(collected: _Collected, data: bytes, line: int | None = None) -> object:
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise collected.wrong(
            f"byte {error.start} is no UTF-8 ({error.reason}); expected JSON in UTF-8", line
        ) from None
    except json.JSONDecodeError as error:
        raise collected.wrong(f"malformed JSON: {error.msg} (character {error.pos}); {_WANTED}", line) from None
    except (RecursionError, ValueError) as error:
        raise collected.wrong(f"not readable JSON ({error}); {_WANTED}", line) from None


def _passage(paragraph: object) -> tuple[str, list[Any]]:
    if not isinstance(paragraph, dict):
        raise FaultError(Fault.FIELD, f"{_told(paragraph)} for a passage, expected an object")
    return _text(paragraph, "context"), _field(paragraph, "qas", list)


def _of_squad(question: dict[str, Any], context: str) -> _Asked:
    identity, text = _text(question, "id"), _text(question, "question")
    impossible = "is_impossible" in question and _field(question, "is_impossible", bool)
    answers = [_squad_answer(answer, context) for answer in _field(question, "answers", list)]
    if impossible and answers:
        raise FaultError(Fault.ANSWERED_IMPOSSIBLE, "is_impossible is true and there are answers; expected one of both")
    if not impossible and not answers:
        raise FaultError(Fault.NO_ANSWER, "no answer, and is_impossible is not true; expected one of both")
    texts = tuple(context[start:end] for start, end in answers)
    return _Asked(identity, text, _NO_SPAN if impossible else answers[0], texts, impossible)


def _squad_answer(answer: object, context: str) -> tuple[int, int]:
    if not isinstance(answer, dict):
        raise FaultError(Fault.FIELD, f"{_told(answer)} for an answer, expected an object")
    text, start = _text(answer, "text"), _integer(answer.get("answer_start"), "answer_start")
    end = start + len(text)
    _require_inside(start, end, context, text)
    if context[start:end] != text:
        found = context[start:end][:_SHOWN]
        raise FaultError(Fault.ELSEWHERE, f"the answer {text[:_SHOWN]!r} is not at {start}, where {found!r} stands")
    return start, end


def _of_mrqa(question: dict[str, Any], context: str) -> _Asked:
    identity, text = _text(question, "qid"), _text(question, "question")
    answers = tuple(_require_text(answer, "an answer") for answer in _field(question, "answers", list))
    spans = [
        _mrqa_span(span, context)
        for detected in _field(question, "detected_answers", list)
        for span in _field(_object(detected), "char_spans", list)
    ]
    if not answers or not spans:
        raise FaultError(Fault.NO_ANSWER, "no answer or no detected answer; expected one of each at least")
    return _Asked(identity, text, min(spans), answers)


def _mrqa_span(span: object, context: str) -> tuple[int, int]:
    if not isinstance(span, list) or len(span) != 2:
        raise FaultError(Fault.FIELD, f"{_told(span)} in 'char_spans', expected [start, end]")
    start, end = (_integer(place, "char_spans") for place in span)
    _require_inside(start, end + 1, context, context[max(start, 0) : max(end + 1, 0)])
    return start, end + 1


def _require_inside(start: int, end: int, context: str, text: str) -> None:
    if start < 0 or end > len(context) or end < start:
        raise FaultError(Fault.OUTSIDE, f"an answer at {start} to {end} of a passage of {len(context)} characters")
    if not text.strip():
        raise FaultError(Fault.BLANK_ANSWER, f"the answer at {start} is empty or white space only")


def _text(holder: dict[str, Any], name: str) -> str:
    return _require_text(_field(holder, name, str), repr(name))


def _require_text(text: object, name: str) -> str:
    if not isinstance(text, str):
        raise FaultError(Fault.FIELD, f"{name} is {_told(text)}, expected a string")
    return encodable(text, name, Fault.FIELD)


def _field(holder: dict[str, Any], name: str, kind: type[_T]) -> _T:
    value = holder.get(name)
    if not isinstance(value, kind):
        found = _told(value) if name in holder else "missing"
        raise FaultError(Fault.FIELD, f"{name!r} is {found}, expected {_KINDS[kind]}")
    return value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FaultError(Fault.FIELD, f"{_told(value)} in 'detected_answers', expected an object")
    return value


def _integer(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FaultError(Fault.FIELD, f"{name!r} is {_told(value)}, expected a whole number")
    return value


def _told(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")


def _name(question: object, number: int) -> str:
    """Return what a question is called in an error: its id, or which of its passage it is."""
    identity = (question.get("id") or question.get("qid")) if isinstance(question, dict) else None
    return repr(identity[:_SHOWN]) if isinstance(identity, str) else f"{number + 1} of its passage"
