"""Files that were damaged at random end in a score or in an error of ours, whatever the task."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from scored import lines, squad_layout
from spanmask_cli.score import TASKS

from spanmask.errors import SpanmaskError

_ROW = "{} text he 0 Ada 1 TRUE Eve 2 FALSE url"
_GAP = lines(
    "ID Text Pronoun Pronoun-offset A A-offset A-coref B B-offset B-coref URL", _ROW.format("a"), _ROW.format("b")
)
_ASKED, _SAID = squad_layout({"a": ["the sea", "sea"], "b": ["sky"], "c": ["x"]}), {"a": "a sea", "b": "", "c": "y"}
_INDEXED = lines("index prediction", "0 1", "1 0", "2 1")
#: A gold file and predictions of each module, and figures of SQuAD 2.0's; what is no text is JSON.
SOUND: dict[str, tuple[Any, ...]] = {
    "squad": (_ASKED, _SAID),
    "squad2": (squad_layout({"a": ["the sea"], "b": [], "c": ["x"]}), _SAID, {"a": 0.5, "b": 2, "c": -1.5}),
    "mrqa": ('{"header": 1}\n{"qas": [{"qid": "a", "answers": ["sea"]}, {"qid": "b", "answers": ["x"]}]}\n', _SAID),
    "tacred": ([{"id": 1, "relation": "a"}, {"id": 2, "relation": "no_relation"}], '{"id": 2, "label": "a"}\n{"id": 1, "label": "a"}\n'),
    "ner": ("a B-X\nb I-X\n\nc O\nd I-Y\n", "a O B-X\nb O I-X\n\nc O B-Z\nd O O\n"),
    "semeval": (lines("1 Other", "2 Cause-Effect(e1,e2)"), lines("2 Cause-Effect(e2,e1)", "1 Other")),
    "gap": (_GAP, lines("a TRUE False", "b FALSE TRUE")),
    "glue-cola": (lines("s 1 * text", "s 0 * text", "s 1 * text"), _INDEXED),
    "glue-mrpc": (lines("Quality text", "1 a", "0 b", "1 c"), _INDEXED),
    "glue-stsb": (lines("index score", "0 1", "1 2", "2 0"), _INDEXED),
}  # fmt: skip
_TOKENS = [
    *'{}[]":,\t\n\r\\ 019-.eE',
    "null",
    "NaN",
    "1e999",
    "9" * 5000,
    "[" * 2000,
    "\ud800",
    "\\ud800",
    "\0",
    "\ufeff",
    "\u2028",
    "é",
]


def _damaged(text: str, draw: random.Random) -> str:
    """Return a text with a few pieces cut out, doubled, moved, or written over."""
    for _ in range(draw.choice([1, 1, 2, 5])):
        start, end = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        end = min(end, start + draw.choice([1, 3, 30]))
        piece = text[start:end]
        text = (
            text[:start]
            + draw.choice(["", piece * 2, draw.choice(_TOKENS), piece[::-1], piece.swapcase()])
            + text[end:]
        )
    return text


def _values(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place in JSON: what holds it, and its name or number there."""
    for place in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield content, place
        yield from _values(content[place])


def _altered(content: Any, draw: random.Random) -> str:
    """Return JSON with a value of another kind somewhere, or none."""
    content = json.loads(json.dumps(content))
    holder, place = draw.choice(list(_values(content)))
    if draw.random() < 0.2:
        del holder[place]
    else:
        holder[place] = draw.choice(
            [None, True, 0, -1.5, float("nan"), "", "b", [], {}, ["x"], {"id": "a"}, [[]], "\ud800"]
        )
    return json.dumps(content)


def _mutated(sound: Any, draw: random.Random) -> str:
    if isinstance(sound, str):
        return _damaged(sound, draw)
    return _altered(sound, draw) if draw.random() < 0.5 else _damaged(json.dumps(sound), draw)


def _figures(value: Any) -> list[Any]:
    return [inner for one in value.values() for inner in _figures(one)] if isinstance(value, dict) else [value]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", SOUND)
def test_damaged_files_end_in_a_score_or_an_error_of_ours(task: str, tmp_path: Path) -> None:
    draw = random.Random(task)
    scorer = TASKS[task]
    score: Callable[..., Any] = import_module(f"spanmask.probes.scores.{scorer.module}").score
    files = [tmp_path / name for name in ("gold", "predictions", "figures")][: len(SOUND[task])]
    options = scorer.fixed | ({"na_prob": files[2]} if files[2:] else {})
    told: list[str] = []
    for _ in range(60):
        contents = [one if isinstance(one, str) else json.dumps(one) for one in SOUND[task]]
        which = draw.randrange(len(contents))
        contents[which] = _mutated(SOUND[task][which], draw)
        for path, text in zip(files, contents, strict=True):
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            figures = score(*files[:2], **options)
        except SpanmaskError as error:
            told.append(str(error))
        else:
            assert all(value is None or isfinite(value) for value in _figures(figures)), contents
    assert all(told)
    assert 0 < len(told) < 60
