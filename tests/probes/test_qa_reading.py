"""Files of questions: both layouts read, what is wrong in them counted and named, and damaged ones refused."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from probes.conftest import QA, needs_qa

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError, StorageError
from spanmask.probes.qa.config import QaConfig
from spanmask.probes.qa.questions import Fault, Layout, Questions
from spanmask.probes.qa.reading import read_questions
from spanmask.probes.qa.windows import cut_windows
from spanmask.tokenization import Tokenizer

CONTEXT = "Ödön asked: naïve 😀 cats sat."


def asked(identity: Any = "a", answers: Any = (("cats", 20),), **changes: Any) -> dict[str, Any]:
    """A question of SQuAD; its text stands at code point 20 of CONTEXT, which is byte 26."""
    held = [{"text": text, "answer_start": start} for text, start in answers] if isinstance(answers, tuple) else answers
    return {"id": identity, "question": "Who sat?", "answers": held} | changes


def detected(identity: Any = "a", *spans: list[int], **changes: Any) -> dict[str, Any]:
    """A question of MRQA."""
    found = [{"text": "Cats", "char_spans": [span], "token_spans": [[0, 0]]} for span in spans]
    return {"qid": identity, "question": "Who sat?", "answers": ["cats", "a cat"], "detected_answers": found} | changes


def test_squad_is_read_with_offsets_in_code_points(squad: Callable[..., Path]) -> None:
    two = asked("b", (("cats sat", 20), ("naïve", 12)))
    read = read_questions(
        squad((CONTEXT, [asked(), two]), ("Nobody here.", []), ("The end.", [asked("c", (("end", 4),))]))
    )
    assert read.layout is Layout.SQUAD
    assert read.left_out == {}
    assert read.passages.to_pylist() == [CONTEXT, "The end."]
    assert read.ids == ("a", "b", "c")
    assert read.passage_of.tolist() == [0, 0, 1]
    assert read.spans.tolist() == [[20, 24], [20, 28], [4, 7]]
    assert read.answers == (("cats",), ("cats sat", "naïve"), ("end",))
    assert read.texts == pa.array(["Who sat?"] * 3, pa.large_string())


def test_an_impossible_question_makes_it_squad_2(squad: Callable[..., Path]) -> None:
    impossible = asked("n", (), is_impossible=True, plausible_answers=[{"text": "sat", "answer_start": 25}])
    read = read_questions(squad((CONTEXT, [impossible, asked(is_impossible=False)])))
    assert read.layout is Layout.SQUAD2
    assert read.spans.tolist() == [[-1, -1], [20, 24]]
    assert read.answers == ((), ("cats",))


def test_mrqa_is_read_with_the_earliest_occurrence_and_inclusive_ends(mrqa: Callable[..., Path]) -> None:
    read = read_questions(mrqa((CONTEXT, [detected("a", [25, 27], [20, 23]), detected("b", [0, 3])])))
    assert read.layout is Layout.MRQA
    assert read.spans.tolist() == [[20, 24], [0, 4]]
    assert read.answers == (("cats", "a cat"),) * 2


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lambda data: b"\xef\xbb\xbf" + data])
def test_compressed_files_and_byte_order_marks_change_nothing(
    squad: Callable[..., Path], compress: Callable[[bytes], bytes]
) -> None:
    path = squad((CONTEXT, [asked()]))
    plain = read_questions(path)
    path.write_bytes(compress(path.read_bytes()))
    read = read_questions(path)
    assert (read.ids, read.texts, read.passages) == (plain.ids, plain.texts, plain.passages)


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        (asked("b", (("cats", 19),)), Fault.ELSEWHERE),
        (asked("b", (("Cats", 20),)), Fault.ELSEWHERE),
        (asked("b", (("cats", 20), ("sat", 24))), Fault.ELSEWHERE),
        (asked("b", (("cats", -9),)), Fault.OUTSIDE),
        (asked("b", (("sat.", 26),)), Fault.OUTSIDE),
        (asked("b", (("cats", 10**30),)), Fault.OUTSIDE),
        (asked("b", (("", 3),)), Fault.BLANK_ANSWER),
        (asked("b", ((" ", 4),)), Fault.BLANK_ANSWER),
        (asked("a"), Fault.ID_TWICE),
        (asked("b", ()), Fault.NO_ANSWER),
        (asked("b", is_impossible=True), Fault.ANSWERED_IMPOSSIBLE),
        (asked("b", is_impossible="no"), Fault.FIELD),
        (asked(7), Fault.FIELD),
        (asked("b", question=None), Fault.FIELD),
        (asked("b", question="\ud800"), Fault.FIELD),
        (asked("b", {"text": "cats"}), Fault.FIELD),
        (asked("b", ["cats"]), Fault.FIELD),
        (asked("b", [{"text": "cats"}]), Fault.FIELD),
        (asked("b", [{"text": "cats", "answer_start": True}]), Fault.FIELD),
        (asked("b", [{"text": "cats", "answer_start": "20"}]), Fault.FIELD),
        ("b", Fault.FIELD),
    ],
)
def test_a_question_that_cannot_be_used_is_named_or_left_out_and_counted(
    squad: Callable[..., Path], question: Any, fault: Fault
) -> None:
    path = squad((CONTEXT, [asked(), question, asked("z")]))
    name = "'[ab]'" if isinstance(question, dict) and question["id"] in ("a", "b") else "2 of its passage"
    with pytest.raises(CorpusError, match=rf"squad.json: question {name}: .*\({fault}\); mend the file") as raised:
        read_questions(path)
    assert raised.value.path == str(path)
    left = read_questions(path, OnError.SKIP)
    assert left.ids == ("a", "z")
    assert left.left_out == {fault: 1}


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        (detected("b", [-1, 2]), Fault.OUTSIDE),
        (detected("b", [20, 29]), Fault.OUTSIDE),
        (detected("b", [20, 18]), Fault.OUTSIDE),
        (detected("b", [4, 4]), Fault.BLANK_ANSWER),
        (detected("b", [4, 3]), Fault.BLANK_ANSWER),
        (detected("b"), Fault.NO_ANSWER),
        (detected("b", [0, 1], answers=[]), Fault.NO_ANSWER),
        (detected("b", [0, 1], answers=[None]), Fault.FIELD),
        (detected("b", [0, 1, 2]), Fault.FIELD),
        (detected("b", ["0", "1"]), Fault.FIELD),  # type: ignore[list-item]
        (detected("b", detected_answers=[[0, 1]]), Fault.FIELD),
        (detected("a", [0, 1]), Fault.ID_TWICE),
    ],
)
def test_faults_of_mrqa_are_named_with_their_line(mrqa: Callable[..., Path], question: Any, fault: Fault) -> None:
    path = mrqa((CONTEXT, [detected("a", [20, 23])]), (CONTEXT, [question]))
    with pytest.raises(CorpusError, match=rf":3: question '[ab]': .*\({fault}\)"):
        read_questions(path)
    assert read_questions(path, OnError.SKIP).left_out == {fault: 1}


@pytest.mark.parametrize("context", ["", " \n\u3000"])
def test_an_empty_passage_leaves_out_each_of_its_questions(squad: Callable[..., Path], context: str) -> None:
    path = squad((context, [asked("b"), asked("c")]), (CONTEXT, [asked()]))
    with pytest.raises(CorpusError, match="passage is empty"):
        read_questions(path)
    left = read_questions(path, OnError.SKIP)
    assert left.left_out == {Fault.EMPTY_PASSAGE: 2}
    assert left.passages.to_pylist() == [CONTEXT]
    assert left.passage_of.tolist() == [0]


@pytest.mark.parametrize("paragraph", [(None, []), ("\ud83d", []), (CONTEXT, None), (CONTEXT, {})])
def test_a_passage_without_text_or_questions_counts_once(squad: Callable[..., Path], paragraph: Any) -> None:
    path = squad(paragraph, (CONTEXT, [asked()]))
    with pytest.raises(CorpusError, match="expected"):
        read_questions(path)
    assert read_questions(path, OnError.SKIP).left_out == {Fault.FIELD: 1}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", CorpusError, "malformed JSON"),
        ("{", CorpusError, "malformed JSON"),
        ('{"header": {}}\n{]', CorpusError, ":2: malformed JSON"),
        ("[" * 200_000, CorpusError, "not readable JSON"),
        ('{"data": ' + "9" * 5000 + "}", CorpusError, "not readable JSON"),
        (b'{"data": "\xff"}', CorpusError, "no UTF-8"),
        (b"\x1f\x8b damaged", CorpusError, "gzip"),
        ("[]", ConfigError, "a list; expected SQuAD's JSON"),
        ("null", ConfigError, "null; expected"),
        ('{"id": "answer"}', ConfigError, "an object without 'data'"),
        ('{"data": {}}', ConfigError, "an object without 'data'|expected"),
        ('{"data": [7]}', ConfigError, "an article without a list of 'paragraphs'"),
        ('{"data": [{"paragraphs": {}}]}', ConfigError, "an article without"),
        ('{"data": []}', ConfigError, "no question is left"),
        ('{"header": {}}\n', ConfigError, "no question is left"),
    ],
)
def test_files_of_other_layouts_are_refused(tmp_path: Path, content: str | bytes, error: type, message: str) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for on_error in OnError:
        with pytest.raises(error, match=message):
            read_questions(path, on_error)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_questions(tmp_path / "missing.json")
    with pytest.raises(ConfigError, match="a folder"):
        read_questions(tmp_path)


def test_some_questions_keep_the_passages_they_are_on(squad: Callable[..., Path]) -> None:
    read = read_questions(
        squad(*((f"Cats sat {n}.", [asked(f"{n}{m}", (("sat", 5),)) for m in "ab"]) for n in range(4)))
    )
    some = read.take(pa.array([1, 4, 5, 6]).to_numpy())
    assert some.ids == ("0b", "2a", "2b", "3a")
    assert some.passage_of.tolist() == [0, 1, 1, 2]
    assert some.passages.to_pylist() == ["Cats sat 0.", "Cats sat 2.", "Cats sat 3."]
    assert some.spans.tolist() == [[5, 8]] * 4
    assert len(some.answers) == len(some.texts) == 4


_TOKEN = re.compile(rb'"[^"]*":?|-?[0-9]+|true|false')
_OTHERS = (b"7", b"-1", b'"x"', b'""', b'" "', b"null", b"true", b"[]", b"[[0, 1]]", b"{}", b'{"text": "x"}')


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file with values of its JSON replaced, or cut, or with a part left out, doubled or replaced by other bytes."""
    if rng.randrange(3):
        places = [match.span() for match in _TOKEN.finditer(data)] or [(0, len(data))]
        for start, stop in sorted(rng.sample(places, min(len(places), rng.randint(1, 2))), reverse=True):
            other = b'"x":' if data[start:stop].endswith(b":") else rng.choice(_OTHERS)
            data = data[:start] + other + data[stop:]
        return data
    start = rng.randrange(len(data))
    stop = start + rng.choice([1, 2, 8, 64, 512])
    return data[:start] + rng.choice([b"", data[start:stop] * 2, rng.randbytes(stop - start)]) + data[stop:]


def test_damaged_files_end_in_windows_or_an_error(
    squad: Callable[..., Path], mrqa: Callable[..., Path], tell: Callable[[str], None]
) -> None:
    rng, tokenizer, config = random.Random(14), Tokenizer("cased"), QaConfig(window=16, max_question=4, stride=3)
    plain = squad(*((CONTEXT * n, [asked(f"{n}"), asked(f"n{n}", (), is_impossible=True)]) for n in range(1, 4)))
    packed = mrqa(*((CONTEXT * n, [detected(f"{n}", [20, 23])]) for n in range(1, 4)))
    ended = dict.fromkeys(("windows", "ConfigError", "CorpusError"), 0)
    for number in range(150):
        path = packed if number % 3 == 0 else plain
        data = path.read_bytes()
        inner = gzip.decompress(data) if path is packed else data
        other = path.with_name("damaged")
        wrong = damaged(inner, rng) if number % 7 else damaged(data, rng)
        other.write_bytes(gzip.compress(wrong, 1) if path is packed and number % 7 else wrong)
        for on_error in OnError:
            try:
                found = read_questions(other, on_error)
            except (ConfigError, CorpusError, StorageError) as error:
                ended[type(error).__name__] += 1
                continue
            cut = cut_windows(found, tokenizer, config)
            assert set(cut.examples.groups.tolist()) == set(range(len(found)))
            ended["windows"] += 1
    assert min(ended.values()) > 2
    tell(f"150 damaged files read both ways: {ended}")


@pytest.mark.slow
@needs_qa
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "layout", "questions", "passages"),
    [
        ("squad_dev_v1.1.rebuilt.json", Layout.SQUAD, 10_570, 2067),
        ("squad_dev_v2.0.rebuilt.json", Layout.SQUAD2, 11_873, 1204),
        ("squadshifts_new_wiki_v1.0.json", Layout.SQUAD, 7938, 1581),
    ],
)
def test_real_files_are_read_whole(name: str, layout: Layout, questions: int, passages: int) -> None:
    read: Questions = read_questions(QA / name)
    assert (read.layout, len(read), len(read.passages), read.left_out) == (layout, questions, passages, {})
    held = [article["paragraphs"] for article in json.loads((QA / name).read_text("utf-8"))["data"]]
    asked_of = [question["question"] for paragraphs in held for each in paragraphs for question in each["qas"]]
    assert read.texts.to_pylist() == asked_of
