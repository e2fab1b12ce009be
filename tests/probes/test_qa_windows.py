"""Windows of passages: held against a literal twin, against transformers' fast tokenizer, and against real questions' answers."""

from __future__ import annotations

import inspect
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any
from unittest import mock

import handmade
import numpy as np
import oracle
import pyarrow as pa
import pytest
from figures import figure
from planted import planted
from probes.conftest import QA, needs_qa
from tokenization.unicode_texts import random_texts

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.kernels import passages as kernels
from spanmask.probes.qa import windows as windows_module
from spanmask.probes.qa.config import QaConfig, Stride
from spanmask.probes.qa.questions import Layout, Questions
from spanmask.probes.qa.reading import read_questions
from spanmask.probes.qa.windows import Windows, cut_windows
from spanmask.tokenization import Tokenizer
from spanmask.vocab import load_vocabulary

SPECIALS = ("[", "<")


@cache
def tokenizer_of(name: str) -> Tokenizer:
    return Tokenizer(load_vocabulary(VocabularyConfig(vocab=name)))


def questions_on(passages: Sequence[str], rng: random.Random, each: int = 2, limit: int = 8) -> Questions:
    """Questions on passages, with spans of a few characters anywhere, and at times none."""
    of = [number for number, _ in enumerate(passages) for _ in range(each)]
    spans = []
    for number in of:
        start = rng.randrange(max(len(passages[number]), 1))
        end = min(start + rng.randint(1, limit), len(passages[number]))
        spans.append((start, end) if end > start and rng.randrange(6) else (-1, -1))
    return Questions(
        layout=Layout.SQUAD,
        passages=pa.array(passages, pa.large_string()),
        texts=pa.array([rng.choice(["", "who", "what is it", "a"]) for _ in of], pa.large_string()),
        ids=tuple(map(str, range(len(of)))),
        passage_of=np.array(of, np.int64),
        spans=np.array(spans, np.int64).reshape(-1, 2),
        answers=tuple(() for _ in of),
        left_out={},
    )


def texts(count: int, seed: int) -> list[str]:
    """Passages of several random strings, without what a tokenizer may take for a special token."""
    found = [text for text in random_texts(count * 4, seed) if not any(mark in text for mark in SPECIALS)]
    return ["\t".join(found[start : start + 4]) for start in range(0, len(found), 4)]


def expected(questions: Questions, tokenizer: Tokenizer, config: QaConfig) -> Iterator[tuple[int, oracle.Window]]:
    """Yield the number of a question and each of its windows, by the twins."""
    held, asked = tokenizer.encode(questions.passages, offsets=True), tokenizer.encode(questions.texts)
    special = tokenizer.vocabulary.special
    passages = questions.passages.to_pylist()
    for number, passage in enumerate(questions.passage_of.tolist()):
        part = slice(*held.document_offsets[passage : passage + 2].tolist())
        span = tuple(questions.spans[number].tolist())
        places = [tuple(place) for place in held.byte_offsets[part].tolist()]
        answer = None if span[0] < 0 else oracle.answer_tokens(passages[passage], span, places)
        question = asked.token_ids[slice(*asked.document_offsets[number : number + 2].tolist())].tolist()
        for window in oracle.question_windows(
            question[: config.max_question],
            held.token_ids[part].tolist(),
            answer,
            width=config.window,
            stride=config.stride,
            overlap=config.stride_is is Stride.OVERLAP,
            specials=(special.cls, special.sep),
        ):
            yield number, window


def found(cut: Windows) -> Iterator[tuple[int, oracle.Window]]:
    offsets = cut.examples.input_ids.offsets.tolist()
    for number in range(len(cut)):
        yield (
            int(cut.examples.groups[number]),
            oracle.Window(
                ids=cut.examples.input_ids[number].tolist(),
                second=int(cut.examples.second_starts[number]),
                first=int(cut.firsts[number]),
                answer=tuple(int(cut.examples.targets[name][number]) for name in ("starts", "ends")),
                widest=cut.widest[offsets[number] : offsets[number + 1]].tolist(),
            ),
        )


CONFIGS = [
    QaConfig(window=window, stride=stride, stride_is=stride_is, max_question=most)
    for window, most in ((10, 3), (17, 2), (24, 12), (384, 64))
    for stride, stride_is in ((1, "step"), (4, "step"), (128, "step"), (0, "overlap"), (2, "overlap"))
    if stride_is == "step" or window - most - 3 > stride
]


def cases(names: Sequence[str] = ("cased", "uncased")) -> Iterator[tuple[Questions, Tokenizer, QaConfig]]:
    rng = random.Random(3)
    for (number, config), name in itertools.product(enumerate(CONFIGS), names):
        passages = [*texts(5, number), "", "\x00\x01", "a 한국 b", "ab " * 40]
        passages += ["ab " * 512] if (config.window, config.stride) == (384, 128) else []
        yield questions_on(passages, rng), tokenizer_of(name), config


def agree(chosen: Iterator[tuple[Questions, Tokenizer, QaConfig]]) -> bool:
    for case in chosen:
        cut = cut_windows(*case)
        if list(found(cut)) != list(expected(*case)) or cut.byte_ranges().tolist() != list(ranges_of(cut)):
            return False
    return True


def ranges_of(cut: Windows) -> Iterator[list[int]]:
    """Yield the bytes of each token of the windows, by those of its passage's tokens."""
    for number, (passage, first) in enumerate(zip(cut.passages.tolist(), cut.firsts.tolist(), strict=True)):
        second, size = int(cut.examples.second_starts[number]), len(cut.examples.input_ids[number])
        yield from [[0, 0]] * second
        yield from cut.token_bytes[passage][first : first + size - second - 1].tolist()
        yield [0, 0]


def test_windows_are_the_literal_twins() -> None:
    held = Counter[str]()
    for case in cases():
        cut = cut_windows(*case)
        ours = list(found(cut))
        assert ours == list(expected(*case))
        assert cut.byte_ranges().tolist() == list(ranges_of(cut))
        by_question = Counter(number for number, _ in ours)
        held["of several"] += sum(count > 1 for count in by_question.values())
        held["with an answer"] += sum(window.answer != (0, 0) for _, window in ours)
        held["split"] += sum(not all(window.widest[window.second : -1]) for _, window in ours)
    assert min(held.values()) > 100, held


@pytest.mark.parametrize(
    ("kernel", "old", "new"),
    [
        ("find_answers", "places[token, 1] <= start", "places[token, 1] < start"),
        ("find_answers", "places[token, 0] < end", "places[token, 0] <= end"),
        ("find_answers", "if token > first:", "if token >= first:"),
        ("find_answers", "_byte_of(within, 0, spans[question, 0])", "spans[question, 0]"),
        ("find_answers", "text[at] & 0xC0 == 0x80", "text[at] & 0xC0 == 0xC0"),
        ("find_answers", "= token - 1 - token_offsets[passage]", "= token - token_offsets[passage]"),
        ("fill_windows", "if score > best:", "if score >= best:"),
        ("fill_windows", "+ 0.01 * cut.sizes[other]", ""),
        ("fill_windows", "right = cut.sizes[other] - 1 - left", "right = cut.sizes[other] - left"),
        ("fill_windows", "start >= 0 and end < size", "start >= 0 and end <= size"),
        ("fill_windows", "start >= 0 and end < size", "start > 0 and end < size"),
        ("fill_windows", "start >= 0 and end < size", "end < size"),
        ("fill_windows", "second = asked + 2", "second = asked + 1"),
        ("fill_windows", "start + second if held", "start + second - 1 if held"),
        ("fill_windows", "out.ids[at + second - 1] = specials[1]", "out.ids[at + second - 1] = specials[0]"),
        ("fill_windows", "stop - first == 1 or", "stop - first <= 2 or"),
        ("fill_windows", "cut.firsts[window] + token", "token"),
        ("place_tokens", "offsets[window + 1] - 1", "offsets[window + 1] - 2"),
        ("place_tokens", "out[end] = 0", "out[end] = 1"),
        ("place_tokens", "out[offsets[window] : begin] = 0", "out[offsets[window] : begin] = 1"),
        ("place_tokens", "sources[window] + at - begin", "at - begin"),
        ("place_tokens", "out[at, 1] = places[source, 1]", "out[at, 1] = places[source, 0]"),
    ],
)
def test_a_wrong_line_of_the_kernels_is_found(kernel: str, old: str, new: str) -> None:
    names = interpreted(planted(inspect.getsource(kernels), old, new), kernels)
    with mock.patch.object(windows_module.kernels, kernel, names[kernel]):
        assert not agree(few())


def test_interpreted_kernels_cut_the_same_and_stay_inside_their_arrays() -> None:
    names = interpreted(inspect.getsource(kernels), kernels)
    with mock.patch.multiple(
        windows_module.kernels, **{name: names[name] for name in ("find_answers", "fill_windows", "place_tokens")}
    ):
        assert agree(few())


def interpreted(source: str, module: Any) -> dict[str, Any]:
    """Return the names of a module of kernels whose source is run by Python, where NumPy refuses places beyond an array's end."""
    names = dict(vars(module))
    exec(compile(source.replace("@kernel", "").replace("@inlined", ""), "interpreted", "exec"), names)
    names["copy"] = lambda given, taken: taken.__setitem__(slice(None), given)
    return names


def few() -> Iterator[tuple[Questions, Tokenizer, QaConfig]]:
    return (case for case in cases(["uncased"]) if case[2].window < 20 or case[2].stride == 128)


@cache
def library(name: str) -> Any:
    """transformers' fast tokenizer of a vocabulary; of the byte-level one, with BERT's order of parts."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer as Library
    from tokenizers import processors
    from transformers import BertTokenizerFast, PreTrainedTokenizerFast

    if name != "byte-level":
        vocabulary = load_vocabulary(VocabularyConfig(vocab=name))
        return BertTokenizerFast(vocab=dict(vocabulary.ids), do_lower_case=not vocabulary.cased)
    tokenizer = Library.from_str(handmade.byte_level())
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
            ),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def as_library(questions: Questions, name: str, tokenizer: Tokenizer, config: QaConfig, *, labels: bool) -> int:
    """Compare windows with those of the fast tokenizer, and return how many there are."""
    cut = cut_windows(questions, tokenizer, config)
    ranges, offsets, number = cut.byte_ranges(), cut.examples.input_ids.offsets.tolist(), 0
    passages = questions.passages.to_pylist()
    places = [np.append(np.flatnonzero((_bytes(text) & 0xC0) != 0x80), len(text.encode())) for text in passages]
    for start in range(0, len(questions), 500):
        asked = slice(start, start + 500)
        encoded = library(name)(
            questions.texts.to_pylist()[asked],
            [passages[passage] for passage in questions.passage_of[asked].tolist()],
            truncation="only_second",
            max_length=config.window,
            stride=config.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        for place, question in enumerate(encoded["overflow_to_sample_mapping"]):
            second = int(cut.examples.second_starts[number])
            assert cut.examples.groups[number] == start + question
            assert cut.examples.input_ids[number].tolist() == encoded["input_ids"][place]
            size = len(encoded["input_ids"][place])
            assert encoded["token_type_ids"][place] == [0] * second + [1] * (size - second)
            of = places[questions.passage_of[start + question]]
            characters = encoded["offset_mapping"][place][second:-1]
            held = ranges[offsets[number] : offsets[number + 1]][second:-1]
            theirs = of[np.array(characters, np.int64).reshape(-1, 2)]
            # A token of white space alone stands for nothing in both, which the byte-level trimming puts at its other end.
            filled = theirs[:, 0] < theirs[:, 1] if name == "byte-level" else np.full(len(held), True)
            assert held[filled].tolist() == theirs[filled].tolist()
            assert (held[~filled, 0] == held[~filled, 1]).all()
            if labels:
                span = questions.spans[start + question].tolist()
                answer = tuple(int(cut.examples.targets[side][number]) for side in ("starts", "ends"))
                assert answer == labels_of(characters, second, span)
            number += 1
    assert number == len(cut)
    return number


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def labels_of(characters: list[tuple[int, int]], second: int, span: list[int]) -> tuple[int, int]:
    """Where an answer is in a window, as transformers' example of question answering says it."""
    if span[0] < 0 or not characters or characters[0][0] > span[0] or characters[-1][1] < span[1]:
        return 0, 0
    first = max(place for place, (start, _) in enumerate(characters) if start <= span[0])
    last = min(place for place, (_, end) in enumerate(characters) if end >= span[1])
    return first + second, last + second


@pytest.mark.parametrize("name", ["cased", "uncased"])
def test_windows_of_random_text_are_the_fast_tokenizers(name: str) -> None:
    config = QaConfig(window=24, stride=5, stride_is="overlap", max_question=8)
    passages = texts(120, 5)
    count = as_library(questions_on(passages, random.Random(1), 1), name, tokenizer_of(name), config, labels=False)
    assert count > len(passages) * 1.2


def test_windows_of_a_byte_level_tokenizer_are_the_fast_ones(tmp_path: Any) -> None:
    (tmp_path / "tokenizer.json").write_text(handmade.byte_level(), "utf-8")
    config = QaConfig(window=40, stride=9, stride_is="overlap", max_question=20)
    passages = [" ".join(text.split()) for text in [*texts(40, 6), "the house of the Lords é 한국"]]
    tokenizer = tokenizer_of(str(tmp_path / "tokenizer.json"))
    assert as_library(questions_on(passages, random.Random(1), 1), "byte-level", tokenizer, config, labels=False) > 60


@needs_qa
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("squad_dev_v1.1.rebuilt.json", "cased"),
        ("squadshifts_reddit_v1.0.json", "uncased"),
        *figure([], [("squad_dev_v1.1.rebuilt.json", "uncased"), ("squadshifts_reddit_v1.0.json", "cased")]),
    ],
)
def test_windows_of_real_questions_are_the_fast_tokenizers_with_its_examples_labels(file: str, name: str) -> None:
    config = QaConfig(window=256, stride=64, stride_is="overlap")
    assert as_library(read_questions(QA / file), name, tokenizer_of(name), config, labels=True) > 10_000


def test_a_step_and_an_overlap_are_not_the_same() -> None:
    questions, tokenizer = questions_on(["word " * 900], random.Random(1), 1), tokenizer_of("cased")
    room = 384 - 3 - len(tokenizer.encode(questions.texts).token_ids)
    firsts = cut_windows(questions, tokenizer, QaConfig()).firsts.tolist()
    assert firsts == [*range(0, 900 - room + 128, 128)]
    overlapping = cut_windows(questions, tokenizer, QaConfig(stride_is="overlap")).firsts.tolist()
    assert overlapping == [*range(0, 900 - room + room - 128, room - 128)]
    same = cut_windows(questions, tokenizer, QaConfig(stride_is="overlap", stride=room - 128)).firsts.tolist()
    assert same == firsts


def test_long_questions_are_cut_and_no_token_is_lost() -> None:
    tokenizer = tokenizer_of("uncased")
    questions = questions_on(["a b c d e f g h"], random.Random(1), 1)
    long = Questions(
        **{name: getattr(questions, name) for name in questions.__slots__}
        | {"texts": pa.array(["x " * 99], pa.large_string())}
    )
    cut = cut_windows(long, tokenizer, QaConfig(window=12, max_question=5, stride=400))
    assert cut.examples.second_starts.tolist() == [7, 7]
    ids = tokenizer.encode(["a b c d e f g h"]).token_ids.tolist()
    assert [token for number in range(2) for token in cut.examples.input_ids[number][7:-1].tolist()] == ids


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 0},
        {"window": 67},
        {"stride_is": "overlap", "window": 195},
        {"stride_is": "overlap", "stride": -1},
        {"max_question": 0},
        {"window": 1 << 20},
        {"stride_is": "both"},
        {"n_best": 0},
        {"max_answer": 0},
    ],
)
def test_windows_that_would_not_end_or_hold_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give"):
        QaConfig(**options)


def _cuts_a_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def gold_texts(questions: Questions, tokenizer: Tokenizer, config: QaConfig) -> Counter[str]:
    """Count what becomes of each question's answer: its text again, from the first window that holds it, or why not."""
    cut = cut_windows(questions, tokenizer, config)
    offsets, ranges = cut.examples.input_ids.offsets[:-1], cut.byte_ranges()
    starts, ends = cut.examples.targets["starts"], cut.examples.targets["ends"]
    holding = np.flatnonzero(starts > 0)
    asked, first = np.unique(cut.examples.groups[holding], return_index=True)
    chosen = dict(zip(asked.tolist(), holding[first].tolist(), strict=True))
    passages, counts = questions.passages.to_pylist(), Counter[str]()
    for number, (passage, (start, end)) in enumerate(
        zip(questions.passage_of.tolist(), questions.spans.tolist(), strict=True)
    ):
        if start < 0:
            continue
        counts["answers"] += 1
        text = passages[passage]
        gold = (len(text[:start].encode()), len(text[:end].encode()))
        if number not in chosen:
            counts["in no window"] += 1
            continue
        window = chosen[number]
        held = (int(ranges[offsets[window] + starts[window], 0]), int(ranges[offsets[window] + ends[window], 1]))
        if text.encode()[slice(*held)].decode() == text[start:end]:
            counts["their text again"] += 1
            continue
        counts["cut a word in their file"] += _cuts_a_word(text, start) or _cuts_a_word(text, end)
        counts["begin within a piece"] += held[0] < gold[0]
        counts["end within a piece"] += held[1] > gold[1]
        counts["begin or end with what no piece stands for"] += held[0] > gold[0] or held[1] < gold[1]
        counts["explained"] += 1
    return counts


def _files() -> Iterator[Any]:
    """The files of questions; all but the smallest are left to the slow tests."""
    for path in sorted(QA.glob("*.json")):
        if "official" not in path.name:
            yield pytest.param(path.name, marks=() if path.name.startswith("xquad") else pytest.mark.slow)


@needs_qa
@pytest.mark.data
@pytest.mark.parametrize("name", ["cased", "uncased"])
@pytest.mark.parametrize("file", list(_files()))
def test_every_answer_is_in_a_window_and_comes_back_from_its_pieces(
    file: str, name: str, tell: Callable[[str], None]
) -> None:
    counts = gold_texts(read_questions(QA / file), tokenizer_of(name), QaConfig())
    again = counts["their text again"] / counts["answers"]
    tell(f"{again:.4%} of gold texts come back; {dict(counts)}")
    assert counts["in no window"] == 0
    assert counts["their text again"] + counts["explained"] == counts["answers"]
    assert again > 0.98
