"""Answers of logits: held against a literal twin, ties and all, and written in the official layouts."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any
from unittest import mock

import numpy as np
import oracle
import pytest
from planted import planted
from probes.conftest import QA, needs_qa
from probes.test_qa_windows import interpreted, questions_on, texts, tokenizer_of

from spanmask.errors import ConfigError
from spanmask.kernels import decoding as kernels
from spanmask.probes.qa import decoding
from spanmask.probes.qa.config import QaConfig
from spanmask.probes.qa.decoding import Decoded, decode
from spanmask.probes.qa.predictions import (
    best_texts,
    best_threshold,
    nbest,
    null_odds_of,
    prediction_files,
    with_threshold,
)
from spanmask.probes.qa.questions import Layout, Questions
from spanmask.probes.qa.reading import read_questions
from spanmask.probes.qa.windows import Windows, cut_windows

CONFIGS = [
    QaConfig(window=window, max_question=3, stride=stride, n_best=most, max_answer=longest)
    for window, stride, most, longest in (
        (10, 2, 1, 4),
        (10, 3, 3, 2),
        (24, 7, 3, 4),
        (24, 7, 20, 30),
        (60, 20, 20, 6),
        (60, 20, 2, 30),
    )
]

Case = tuple[Questions, Windows, np.ndarray, QaConfig]


def cases() -> Iterator[Case]:
    """Logits of a few values, so that many tie, or of many; passages that say the same again and again."""
    rng = random.Random(8)
    for number, config in enumerate(CONFIGS):
        questions = questions_on([*texts(2, number), "", "\x00", "a b a b a b c " * 9, "é 한국 é 한국 " * 6], rng)
        cut = cut_windows(questions, tokenizer_of("uncased"), config)
        drawn: Any = np.random.default_rng(number)
        for values in (3, 1_000_000)[: 1 if number % 2 else 2]:
            logits = drawn.integers(-values, values, (len(cut.widest), 2)).astype(np.float32) / values
            yield questions, cut, logits, config


def expected(case: Case) -> list[oracle.BestAnswers]:
    questions, cut, logits, config = case
    passages, ranges = questions.passages.to_pylist(), cut.byte_ranges().tolist()
    of_windows = list(zip(cut.examples.groups.tolist(), pairwise(cut.examples.input_ids.offsets.tolist()), strict=True))
    seconds, found = cut.examples.second_starts.tolist(), []
    for question, group in groupby(enumerate(of_windows), key=lambda pair: pair[1][0]):
        scored = [
            oracle.Scored(
                starts=logits[first:stop, 0].tolist(),
                ends=logits[first:stop, 1].tolist(),
                places=[tuple(place) for place in ranges[first:stop]],
                second=seconds[number],
                widest=cut.widest[first:stop].tolist(),
            )
            for number, (_, (first, stop)) in group
        ]
        passage = passages[questions.passage_of[question]].encode()
        found.append(oracle.best_answers(scored, passage, most=config.n_best, longest=config.max_answer))
    return found


def found(decoded: Decoded) -> list[oracle.BestAnswers]:
    return [
        oracle.BestAnswers(
            answers=[
                (tuple(place), *logits)
                for place, logits in zip(places[:count].tolist(), pairs[:count].tolist(), strict=True)
            ],
            null=tuple(null.tolist()),
        )
        for count, places, pairs, null in zip(
            decoded.counts.tolist(), decoded.places, decoded.logits, decoded.nulls, strict=True
        )
    ]


def agree(chosen: Iterator[Case]) -> bool:
    return all(found(decode(*case)) == expected(case) for case in chosen)


def test_the_best_answers_are_the_literal_twins_ties_and_all() -> None:
    ties = answers = 0
    for case in cases():
        ours = found(decode(*case))
        assert ours == expected(case)
        sums = [[first + last for _, first, last in each.answers] for each in ours]
        ties += sum(one == other for each in sums for one, other in pairwise(each))
        answers += sum(map(len, sums))
    assert ties > 100
    assert answers > 400


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("value <= logits[places[count - 1], column]", "value < logits[places[count - 1], column]"),
        ("slot > 0 and value > logits", "slot > 0 and value >= logits"),
        ("score <= out.scores[question, count - 1]", "score < out.scores[question, count - 1]"),
        ("if score <= scores[slot]:", "if score < scores[slot]:"),
        ("slot > 0 and score > scores[slot - 1]", "slot > 0 and score >= scores[slot - 1]"),
        ("== end - start and _is_same(", "== end - start and not _is_same("),
        ("base + places[k, 0], base + start", "base + places[k, 0], start"),
        ("if not windows.widest[start]:", "if start < first:"),
        ("end < start + longest", "end <= start + longest"),
        ("if start <= end <", "if start < end <"),
        ("question != previous or null <", "question != previous or null >"),
        ("if question != previous or null", "if null"),
        ("windows.places[end, 1]", "windows.places[end, 0]"),
        ("if begin < finish:", "if begin <= finish:"),
        ("logits, 1, first, stop, ends", "logits, 0, first, stop, ends"),
        ("slot = min(count, most - 1)", "slot = count if count < most else 0"),
    ],
)
def test_a_wrong_line_of_the_kernel_is_found(old: str, new: str) -> None:
    names = interpreted(planted(inspect.getsource(kernels), old, new), kernels)
    with mock.patch.object(decoding.kernels, "find_best", names["find_best"]):
        assert not agree(cases())


def test_the_interpreted_kernel_finds_the_same_and_stays_inside_its_arrays() -> None:
    with mock.patch.object(
        decoding.kernels, "find_best", interpreted(inspect.getsource(kernels), kernels)["find_best"]
    ):
        assert agree(itertools.islice(cases(), 4))


def one(values: dict[str, list[float]], layout: Layout = Layout.SQUAD2) -> tuple[Questions, Decoded]:
    """A question on ``red green blue`` with a start and an end logit for each word; of [CLS] and the others as given, or -9."""
    questions = replace(questions_on(["red green blue"], random.Random(1), 1), layout=layout)
    cut = cut_windows(questions, tokenizer_of("uncased"), QaConfig())
    logits = np.full((len(cut.widest), 2), -9.0, np.float32)
    second = int(cut.examples.second_starts[0])
    for side, name in enumerate(("starts", "ends")):
        logits[second : second + 3, side] = values[name]
        logits[0, side] = values["null"][side]
    return questions, decode(questions, cut, logits, QaConfig(n_best=3))


def content(questions: Questions, decoded: Decoded, threshold: float | None = None) -> dict[str, Any]:
    return {name: json.loads(data) for name, data in prediction_files(questions, decoded, threshold).items()}


def test_the_files_are_laid_out_as_the_official_ones() -> None:
    questions, decoded = one({"starts": [2, 1, 0], "ends": [0, 1.5, 0], "null": [1, 2]})
    files = content(questions, decoded)
    assert files["predictions.json"] == {"0": "red green"}
    assert files["null_odds.json"] == {"0": 3 - 3.5}
    listed = files["nbest_predictions.json"]["0"]
    assert [(each["text"], each["start_logit"], each["end_logit"]) for each in listed] == [
        ("red green", 2, 1.5),
        ("", 1, 2),
        ("green", 1, 1.5),
    ]
    total = sum(math.exp(score - 3.5) for score in (3.5, 3, 2.5))
    assert [each["probability"] for each in listed] == pytest.approx([math.exp(s - 3.5) / total for s in (3.5, 3, 2.5)])
    assert list(listed[0]) == ["text", "probability", "start_logit", "end_logit"]


def test_the_null_answer_stands_behind_its_equals_and_after_all_where_it_is_not_among_the_best() -> None:
    questions, decoded = one({"starts": [2, 1, 0], "ends": [0, 1.5, 0], "null": [1.25, 1.25]})
    assert [each["text"] for each in nbest(questions, decoded)["0"]] == ["red green", "green", ""]
    questions, decoded = one({"starts": [2, 1, 0], "ends": [0, 1.5, 0], "null": [-5, -5]})
    assert [each["text"] for each in nbest(questions, decoded)["0"]] == ["red green", "green", "red", ""]
    assert [each["text"] for each in nbest(replace(questions, layout=Layout.SQUAD), decoded)["0"]] == [
        "red green",
        "green",
        "red",
    ]


def test_a_threshold_takes_answers_away_above_it_alone() -> None:
    questions, decoded = one({"starts": [2, 1, 0], "ends": [0, 1.5, 0], "null": [1, 2]})
    texts_, odds = best_texts(questions, decoded), null_odds_of(questions, decoded)
    assert with_threshold(texts_, odds, -0.5) == {"0": "red green"}
    assert with_threshold(texts_, odds, -0.6) == {"0": ""}
    assert content(questions, decoded, -0.6)["predictions.json"] == {"0": ""}
    others = content(replace(questions, layout=Layout.MRQA), decoded)
    assert others["predictions.json"] == {"0": "red green"}
    assert others.keys() == {"predictions.json", "nbest_predictions.json"}


def test_the_threshold_is_the_best_that_questions_of_equal_odds_allow() -> None:
    rng: Any = np.random.default_rng(4)
    for count in [1, 2, 3, 5, 20] * 30:
        odds = rng.integers(-3, 4, count).astype(np.float64)
        answered, unanswered = rng.random(count), rng.integers(0, 2, count).astype(np.float64)
        totals = {
            threshold: float(np.where(odds > threshold, unanswered, answered).sum())
            for threshold in [*sorted(set(odds.tolist())), odds.min() - 1]
        }
        found = best_threshold(odds, answered, unanswered)
        assert totals[found] == pytest.approx(max(totals.values()))
        assert all(total < totals[found] + 1e-9 for threshold, total in totals.items() if threshold < found)


def test_a_question_without_any_answer_is_answered_by_nothing() -> None:
    questions = replace(questions_on(["\x00"], random.Random(1), 1), layout=Layout.SQUAD2)
    cut = cut_windows(questions, tokenizer_of("cased"), QaConfig())
    decoded = decode(questions, cut, np.ones((len(cut.widest), 2), np.float32), QaConfig())
    assert best_texts(questions, decoded) == {"0": ""}
    assert null_odds_of(questions, decoded) == {"0": 2.0}
    assert nbest(questions, decoded)["0"][0]["text"] == ""
    assert nbest(replace(questions, layout=Layout.SQUAD), decoded)["0"] == [
        {"text": "", "probability": 1.0, "start_logit": 0.0, "end_logit": 0.0}
    ]


def test_logits_that_are_no_numbers_are_refused() -> None:
    questions = questions_on(["a b"], random.Random(1), 1)
    cut = cut_windows(questions, tokenizer_of("cased"), QaConfig())
    logits = np.ones((len(cut.widest), 2), np.float32)
    for bad in (np.nan, np.inf):
        logits[1, 1] = bad
        with pytest.raises(ConfigError, match="not all finite"):
            decode(questions, cut, logits, QaConfig())


@needs_qa
@pytest.mark.data
@pytest.mark.parametrize("file", ["xquad.en.json", pytest.param("squad_dev_v2.0.rebuilt.json", marks=pytest.mark.slow)])
def test_logits_that_point_at_gold_answers_give_their_texts(file: str, tell: Callable[[str], None]) -> None:
    """Of the windows that hold an answer, each says so; those that do not, and unanswerable questions, point at [CLS]."""
    questions, config = read_questions(QA / file), QaConfig()
    cut = cut_windows(questions, tokenizer_of("uncased"), config)
    logits = np.zeros((len(cut.widest), 2), np.float32)
    for side, name in enumerate(("starts", "ends")):
        logits[cut.examples.input_ids.offsets[:-1] + cut.examples.targets[name], side] = 9
    decoded = decode(questions, cut, logits, config)
    odds = null_odds_of(questions, decoded)
    answered = with_threshold(best_texts(questions, decoded), odds, 0.0)
    right = [
        answered[name] in (answers or ("",)) for name, answers in zip(questions.ids, questions.answers, strict=True)
    ]
    tell(f"{sum(right)} of {len(right)} answers are gold texts again")
    assert sum(right) > 0.985 * len(right)
