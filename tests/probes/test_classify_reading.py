"""A user's labelled texts: TSVs and JSON lines, which columns are read, and what is wrong in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.classify import ClassifyConfig, Columns, confusion, find_columns, read_labelled
from spanmask.probes.classify.figures import root_mean_squared_error
from spanmask.probes.labelled import divided
from spanmask.probes.scores.macro import macro_f1

PLAIN = Columns(("text",), "label")


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8", newline="\n")
    return path


def jsonl(path: Path, *records: Any) -> Path:
    return written(path, "".join(json.dumps(record) + "\n" for record in records))


def test_columns_are_the_usual_names_or_those_asked_for(tmp_path: Path) -> None:
    for header, config, columns in (
        ("text\tlabel", {}, PLAIN),
        ("label\tsentence", {}, Columns(("sentence",), "label")),
        ("id\tsentence\ttext\ttext_b\tlabel", {}, Columns(("text", "text_b"), "label")),
        ("a\tb\tc", {"text_field": "c", "second_field": "a", "label_field": "b"}, Columns(("c", "a"), "b")),
    ):
        path = written(tmp_path / "a.tsv", header + "\n")
        assert find_columns(path, ClassifyConfig(**config)) == columns
        record = dict.fromkeys(header.split("\t"), "x")
        assert find_columns(jsonl(tmp_path / "a.jsonl", record), ClassifyConfig(**config)) == columns
    for text, told in (
        ("txt\tlabel\n", r"first line has \['txt', 'label'\], expected .* with 'text'; name others with --text-field"),
        ("", "with 'text', 'label'"),
        ('{"text": 1', "with 'text', 'label'"),
    ):
        with pytest.raises(ConfigError, match=told):
            find_columns(written(tmp_path / "a.tsv", text), ClassifyConfig())
    path = written(tmp_path / "a.tsv", "text\tkind\n")
    with pytest.raises(ConfigError, match="with 'text_b', 'label'"):
        find_columns(path, ClassifyConfig(second_field="text_b"))


def test_both_layouts_say_the_same_whatever_the_name_or_compression(tmp_path: Path) -> None:
    texts, labels = ['say "no', "it's", "a\u2028b"], ["pos", "neg", "pos"]
    tsv = written(tmp_path / "a.txt", "\ufefftext\tlabel\r\n" + "".join(map("{}\t{}\r\n".format, texts, labels)))
    lines = [json.dumps({"id": 7, "text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    packed = tmp_path / "b.tsv"
    packed.write_bytes(gzip.compress(("\n\n".join(lines) + "\n").encode()))
    for path in (tsv, packed):
        read = read_labelled(path, PLAIN)
        assert (read.texts, read.labels, read.names) == (tuple((one,) for one in texts), tuple(labels), ("0", "1", "2"))


def test_labels_may_be_any_plain_value_and_numbers_any_number(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *({"text": "t", "label": value} for value in ("a b", 3, True, -2)))
    assert read_labelled(path, PLAIN).labels == ("a b", "3", "true", "-2")
    path = jsonl(tmp_path / "a.jsonl", *({"text": "t", "label": value} for value in (0.5, 3, "1e-3")))
    assert read_labelled(path, PLAIN, numbers=True).labels == ("0.5", "3", "1e-3")


@pytest.mark.parametrize(
    ("row", "fault", "told", "options"),
    [
        ("one\ttwo\tthree", "columns", "3 columns, expected 2 as the header has", {}),
        ("one", "columns", "1 columns", {}),
        ("\tpos", "empty_text", "'text' is empty or white space", {}),
        ("one\t", "label", "expected a text of one line", {}),
        ("one\tmaybe", "label_not_in_training", "'maybe', which no training row has", {"labels": {"pos", "neg"}}),
        ("one\tpos", "label", "'pos', expected a number", {"numbers": True}),
        ("one\tinf", "label", "'inf', expected a number", {"numbers": True}),
        ("one\t-1e16", "label", "'-1e16', expected a number, at most 1e[+]15", {"numbers": True}),
    ],
)
def test_a_row_that_is_not_usable_is_told_with_its_line_or_counted(
    row: str, fault: str, told: str, options: dict[str, Any], tmp_path: Path
) -> None:
    good = "1\t1\n" if "numbers" in options else "fine\tpos\n"
    path = written(tmp_path / "a.tsv", "text\tlabel\n" + good + row + "\n")
    check_fault(path, 3, fault, told, options)


@pytest.mark.parametrize(
    ("line", "fault", "told", "options"),
    [
        ('{"text": "a", "label": "b"', "malformed_json", "no JSON that can be read", {}),
        ('["a", "b"]', "malformed_json", "an array, expected an object", {}),
        ('{"label": "b"}', "field", "'text' is missing, expected a string", {}),
        ('{"text": null, "label": "b"}', "field", "'text' is null", {}),
        ('{"text": "a"}', "label", "the label is null", {}),
        ('{"text": "a", "label": 0.5}', "label", "the label is a number, expected a string or a whole number", {}),
        ('{"text": "a", "label": ["b"]}', "label", "the label is an array", {}),
        ('{"text": "a", "label": "b\\tc"}', "label", "one line without tabs", {}),
        ('{"text": "a\\ud800", "label": "b"}', "field", "'text' holds half of a surrogate pair", {}),
        ('{"text": "a", "label": "\\udfff"}', "field", "'label' holds half of a surrogate pair", {}),
        ('{"text": "a", "label": NaN}', "label", "expected a number", {"numbers": True}),
        ("[" * 100_000, "malformed_json", "no JSON that can be read", {}),
    ],
)
def test_an_object_that_is_not_usable_is_told_with_its_line_or_counted(
    line: str, fault: str, told: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "fine", "label": 1}\n\n' + line + "\n")
    check_fault(path, 3, fault, told, options)


def check_fault(path: Path, line: int, fault: str, told: str, options: dict[str, Any]) -> None:
    with pytest.raises(CorpusError, match=f"{told}.*{fault}.*--on-error skip") as caught:
        read_labelled(path, PLAIN, **options)
    assert caught.value.line == line
    kept = read_labelled(path, PLAIN, **options, on_error=OnError.SKIP)
    assert (len(kept), {str(key): count for key, count in kept.left_out.items()}) == (1, {fault: 1})


def test_rows_keep_the_number_that_they_have_in_their_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "text\tlabel\na\tx\n\ty\nc\tz\n")
    assert read_labelled(path, PLAIN, on_error=OnError.SKIP).names == ("0", "2")
    with pytest.raises(ConfigError, match=r"no row is left of it .empty_text: 1"):
        read_labelled(written(tmp_path / "b.tsv", "text\tlabel\n\ty\n"), PLAIN, on_error=OnError.SKIP)


def test_what_chooses_and_what_stays_depend_on_texts_alone(tmp_path: Path) -> None:
    rows = [f"text {number % 60}\t{number % 2}\n" for number in range(120)]
    whole = read_labelled(written(tmp_path / "a.tsv", "text\tlabel\n" + "".join(rows)), PLAIN)
    turned = read_labelled(written(tmp_path / "b.tsv", "text\tlabel\n" + "".join(reversed(rows))), PLAIN)
    trained, choosing = divided(whole, 0.3, None)
    assert len(trained) + len(choosing) == 120
    assert not set(trained.texts) & set(choosing.texts)
    assert set(divided(turned, 0.3, None)[1].texts) == set(choosing.texts)
    fewer = divided(whole, 0.3, 40)
    again = divided(turned, 0.3, 40)
    assert [len(fewer[0]) + len(fewer[1]), len(again[0]) + len(again[1])] == [40, 40]
    assert set(fewer[0].texts) == set(again[0].texts) < set(trained.texts)
    with pytest.raises(ConfigError, match="of 120 training rows 0 choose and 120 are trained on"):
        divided(whole, 1e-9, None)


def test_pairs_with_the_same_first_text_are_trained_on_or_choose_together(tmp_path: Path) -> None:
    rows = [f"premise {number % 40}\thypothesis {number}\tx\n" for number in range(120)]
    path = written(tmp_path / "a.tsv", "text\ttext_b\tlabel\n" + "".join(rows))
    whole = read_labelled(path, Columns(("text", "text_b"), "label"))
    for most in (None, 60):
        trained, choosing = divided(whole, 0.3, most)
        assert len(trained) + len(choosing) == (most or 120)
        assert not {first for first, _ in trained.texts} & {first for first, _ in choosing.texts}


def test_figures_of_cases_worked_by_hand() -> None:
    gold, said = list("aabbc"), list("abbba")
    assert confusion(gold, said, "abc") == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    # a: 1 hit of 2 and 2; b: 2 of 2 and 3; c: none of 1 and 0.
    assert macro_f1(gold, said) == pytest.approx((2 / 4 + 4 / 5 + 0) / 3)
    assert macro_f1(list("ab"), list("ab")) == 1
    # A label that is told and not there counts, too.
    assert macro_f1(list("aa"), list("ad")) == pytest.approx((2 / 3 + 0) / 2)
    assert root_mean_squared_error(["1", "2"], ["1", "4"]) == pytest.approx(2**0.5)
