"""What one pair of entities is in each layout: a JSON object, or lines of SemEval's own, flow in, a `Pair` flows out.

TACRED (https://nlp.stanford.edu/projects/tacred): ``{"id", "relation", "token": […], "subj_start", "subj_end", "subj_type", "obj_start",
"obj_end", "obj_type"}``; ends are inclusive. OpenNRE (https://github.com/thunlp/OpenNRE): ``{"token": […] or "text", "h": {"pos": [start,
end], "type"}, "t": …, "relation"}``; ends are exclusive, of words or of the text's characters, and types optional. SemEval-2010 task 8:

::

    8001<TAB>"The most common <e1>audits</e1> were about <e2>waste</e2> and recycling."
    Message-Topic(e1,e2)
    Comment: …

Words are joined by spaces. A word that is a bracket as the Penn Treebank writes it, such as ``-LRB-``, is that bracket, as in the paper's
released code.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

from spanmask.probes.faults import FaultError, encodable
from spanmask.probes.relation.relations import Fault
from spanmask.probes.scores.reading import kind
from spanmask.probes.scores.semeval import LABELS

_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_SEMEVAL = re.compile(r'([0-9]+)\s+"(.*)"\s*')
#: What looks like a pair's first line, whole or not: no comment begins so.
_BEGINNING = re.compile(r'[0-9]+(\t|\s+")')
_TAG = re.compile("</?e[12]>")
#: The tags of a sentence, whichever entity comes first.
_ORDERS = (["<e1>", "</e1>", "<e2>", "</e2>"], ["<e2>", "</e2>", "<e1>", "</e1>"])
#: Characters of a text that an error shows.
_SHOWN = 60
_KINDS = {str: "a string", list: "an array", dict: "an object", int: "a whole number"}

_T = TypeVar("_T")

#: [start, end).
Span = tuple[int, int]


class Pair(NamedTuple):
    """A pair as its layout has it. identity: None where the layout has none. spans, types: of subject and object; code points."""

    identity: str | None
    sentence: str
    spans: tuple[Span, Span]
    types: tuple[str, str]
    label: str


def tacred_pair(entry: Any) -> Pair:
    """Return TACRED's pair; raises `FaultError`."""
    content = _object(entry)
    starts = _word_starts(words := _words(content))
    spans = tuple(
        _span_of_words(words, starts, _field(content, f"{role}_start", int), _field(content, f"{role}_end", int) + 1)
        for role in ("subj", "obj")
    )
    return Pair(
        identity=_name(content, "id"),
        sentence=" ".join(words),
        spans=(spans[0], spans[1]),
        types=(_name(content, "subj_type"), _name(content, "obj_type")),
        label=_name(content, "relation"),
    )


def opennre_pair(entry: Any) -> Pair:
    """Return OpenNRE's pair; raises `FaultError`."""
    content = _object(entry)
    roles = [_field(content, role, dict) for role in ("h", "t")]
    places = [_places(role) for role in roles]
    if "token" in content:
        starts = _word_starts(words := _words(content))
        sentence = " ".join(words)
        spans = [_span_of_words(words, starts, *place) for place in places]
    else:
        sentence = _text(content, "text")
        spans = [_span(sentence, *place) for place in places]
    types = [_text(role, "type") if "type" in role else "" for role in roles]
    return Pair(None, sentence, (spans[0], spans[1]), (types[0], types[1]), _name(content, "relation"))


def semeval_pair(line: str, label: str | None) -> Pair:
    """Return SemEval's pair. label: the line behind the sentence's, None where there is none. Raises `FaultError`."""
    told = _SEMEVAL.fullmatch(line)
    if told is None:
        raise FaultError(
            Fault.FIELD, f"{line[:_SHOWN]!r}, expected a number, a tab and a sentence between quotation marks"
        )
    sentence, spans = _untagged(told[2])
    if label not in LABELS:
        found = "nothing" if not label else repr(label[:_SHOWN])
        raise FaultError(
            Fault.LABEL,
            f"{found} behind the sentence, expected Other or a relation such as Cause-Effect(e2,e1); give TEST_FILE_FULL.TXT, "
            "not the test sentences alone",
        )
    return Pair(told[1], sentence, spans, ("", ""), label)


def is_semeval(line: str) -> bool:
    """Tell whether a line begins a pair of SemEval's layout."""
    return _SEMEVAL.fullmatch(line) is not None


def begins_pair(line: str) -> bool:
    """Tell whether a line looks as if it began a pair of SemEval's layout, be it one that cannot be used."""
    return _BEGINNING.match(line) is not None


def _untagged(text: str) -> tuple[str, tuple[Span, Span]]:
    """Return a sentence without its tags, and where e1 and e2 were."""
    parts, tags = _TAG.split(text), _TAG.findall(text)
    if tags not in _ORDERS:
        found = " ".join(tags)[:_SHOWN] or "none"
        raise FaultError(Fault.TAGS, f"its tags are {found}, expected <e1>…</e1> and <e2>…</e2>, once each and apart")
    sentence, ends = "".join(parts), [*accumulate(map(len, parts))]
    first, second = (_span(sentence, ends[place], ends[place + 1]) for place in (0, 2))
    return sentence, (first, second) if tags == _ORDERS[0] else (second, first)


def _words(content: dict[str, Any]) -> list[str]:
    words = [_require_text(word, "a word of 'token'") for word in _field(content, "token", list)]
    return [_BRACKETS.get(word.upper(), word) for word in words]


def _word_starts(words: list[str]) -> list[int]:
    """Return where each word begins in the text of all with a space between, and where one behind them would."""
    return [0, *accumulate(len(word) + 1 for word in words)]


def _span_of_words(words: list[str], starts: list[int], start: int, end: int) -> Span:
    """Return the characters of words [start, end)."""
    if not 0 <= start < end <= len(words):
        raise FaultError(Fault.OUTSIDE, f"an entity of the words {start} to {end} (exclusive) of {len(words)}")
    if not "".join(words[start:end]).strip():
        raise FaultError(Fault.BLANK, f"the entity at word {start} is empty or white space only")
    return starts[start], starts[end] - 1


def _span(sentence: str, start: int, end: int) -> Span:
    """Return characters [start, end) of a sentence once they are known to be some."""
    if not 0 <= start <= end <= len(sentence):
        raise FaultError(Fault.OUTSIDE, f"an entity at {start} to {end} of a sentence of {len(sentence)} characters")
    if not sentence[start:end].strip():
        raise FaultError(Fault.BLANK, f"the entity at {start} is empty or white space only")
    return start, end


def _object(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise FaultError(Fault.FIELD, f"{kind(entry)}, expected an object")
    return entry


def _places(role: dict[str, Any]) -> Span:
    places = _field(role, "pos", list)
    if len(places) != 2 or any(type(place) is not int for place in places):
        raise FaultError(Fault.FIELD, f"'pos' is {places!r:.{_SHOWN}}, expected two whole numbers")
    return places[0], places[1]


def _name(holder: dict[str, Any], key: str) -> str:
    """Return a text that names something."""
    name = _text(holder, key)
    if not name.strip() or "\n" in name:
        raise FaultError(Fault.FIELD, f"{key!r} is {name[:_SHOWN]!r}, expected a name in a line")
    return name


def _text(holder: dict[str, Any], key: str) -> str:
    return _require_text(_field(holder, key, str), repr(key))


def _require_text(text: Any, name: str) -> str:
    if not isinstance(text, str):
        raise FaultError(Fault.FIELD, f"{name} is {kind(text)}, expected a string")
    return encodable(text, name, Fault.FIELD)


def _field(holder: dict[str, Any], key: str, wanted: type[_T]) -> _T:
    value = holder.get(key)
    if not isinstance(value, wanted) or isinstance(value, bool):
        found = kind(value) if key in holder else "missing"
        raise FaultError(Fault.FIELD, f"{key!r} is {found}, expected {_KINDS[wanted]}")
    return value
