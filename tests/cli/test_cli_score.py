"""`spanmask score`: figures, warnings and errors as users see them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from scored import lines

from spanmask._lazy import told_by_extra

GOLD = {"data": [{"paragraphs": [{"qas": [{"id": name, "answers": [{"text": "a blue sky"}]} for name in "pq"]}]}]}


def test_figures_are_printed_for_people_and_as_json(shell: Any) -> None:
    files = shell.write("gold.json", json.dumps(GOLD)), shell.write("answers.json", '{"p": "Blue sky!", "q": "sky"}')
    ended = shell("score", "squad", *files)
    assert (ended.code, ended.error) == (0, "")
    assert ended.out == "exact_match  50.0000\nf1           83.3333\n"
    assert json.loads(shell("score", "squad", *files, "--json").out) == {
        "exact_match": 50.0,
        "f1": 100 * (1 + 2 / 3) / 2,
    }


@pytest.mark.filterwarnings("default")
def test_what_is_missing_is_told_beside_the_figures(shell: Any) -> None:
    files = shell.write("gold.json", json.dumps(GOLD)), shell.write("answers.json", '{"p": "blue sky"}')
    ended = shell("score", "squad", *files, "--json")
    assert json.loads(ended.out)["f1"] == 50.0
    assert ended.error == f"spanmask: warning: {files[1]}: 1 of 2 have no prediction: they count 0 (the first: 'q')\n"


def test_errors_are_one_line_with_their_exit_code(shell: Any, one_line: Callable[[str], str]) -> None:
    gold = shell.write("gold.json", json.dumps(GOLD))
    for content, code, told in (("{", 5, "no JSON"), ("[]", 2, "an array, expected"), ('{"p": 1}', 5, "is a number")):
        ended = shell("score", "squad", gold, shell.write("answers.json", content))
        assert (ended.code, ended.out) == (code, "")
        assert told in one_line(ended.error)
    assert shell("score", "squad", gold, "none.json").code == 2
    ended = shell("score", "squda", gold, gold)
    assert ended.code == 2
    assert "TASK is 'squda': give squad|squad2|" in one_line(ended.error)


def test_figures_of_questions_without_an_answer_are_squad2s_alone(shell: Any, one_line: Callable[[str], str]) -> None:
    """The right answer to q is none: where what is above 0.25 is taken for unanswerable, both are right."""
    gold = json.dumps(GOLD).replace('"q", "answers": [{"text": "a blue sky"}]', '"q", "answers": []')
    files = shell.write("gold.json", gold), shell.write("answers.json", '{"p": "Blue sky!", "q": "sky"}')
    odds = shell.write("odds.json", '{"q": 0.5, "p": 0.25}')
    plain = shell("score", "squad2", *files, "--json")
    names = [
        "exact",
        "f1",
        "total",
        *(f"{of}_{name}" for of in ("HasAns", "NoAns") for name in ("exact", "f1", "total")),
    ]
    assert list(json.loads(plain.out)) == names
    told = json.loads(shell("score", "squad2", *files, "--na-prob", odds, "--json").out)
    assert list(told)[len(names) :] == ["best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"]
    assert (told["exact"], told["best_exact"], told["best_exact_thresh"]) == (50.0, 100.0, 0.25)
    assert "best_f1_thresh     0.2500\n" in shell("score", "squad2", *files, "--na-prob", odds).out
    ended = shell("score", "squad", *files, "--na-prob", odds)
    assert ended.code == 2
    assert "--na-prob is no option of squad" in one_line(ended.error)


def test_gap_is_told_as_its_official_program_tells_it(shell: Any) -> None:
    header = "ID Text Pronoun Pronoun-offset A A-offset A-coref B B-offset B-coref URL"
    gold = shell.write("gold.tsv", lines(header, "g text she 0 Ada 1 TRUE Eve 2 FALSE url"))
    ended = shell("score", "gap", gold, shell.write("said.tsv", lines("g TRUE FALSE")))
    assert ended.out.startswith("Overall recall: 100.0 precision: 100.0 f1: 100.0\n\t\ttp 1\tfp 0\n\t\tfn 0\ttn 1\n")
    assert ended.out.endswith("\nBias (F/M): -\n")


def test_a_task_of_glue_is_one_of_its_own(shell: Any, one_line: Callable[[str], str], monkeypatch: Any) -> None:
    gold = shell.write("dev.tsv", lines("index score", "0 1", "1 2", "2 4"))
    files = gold, shell.write("STS-B.tsv", lines("index prediction", "0 2", "1 1", "2 9"))
    assert shell("score", "glue-stsb", *files).out == "pearson   0.9011\nspearman  0.5000\n"
    monkeypatch.setitem(sys.modules, "scipy", None)
    ended = shell("score", "glue-stsb", *files)
    assert ended.code == 2
    assert (
        "a correlation needs SciPy, which is not installed: pip install '.[probes]' in a checkout of spanmask"
        in one_line(ended.error)
    )


def test_it_starts_without_what_it_does_not_need(shell: Any) -> None:
    files = shell.write("gold.json", json.dumps(GOLD)), shell.write("answers.json", '{"p": "sky", "q": "sky"}')
    code = "import sys; from spanmask_cli.main import run\ntry: run()\nfinally: print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", code, "score", "squad", *files], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numba", "numpy", "pyarrow", "rich", "scipy", "tokenizers"} & set(ended.stderr.split())


@pytest.mark.parametrize(("library", "extra"), [("scipy", "probes"), ("torch", "train")])
def test_a_library_that_is_missing_is_told_with_its_extra(library: str, extra: str) -> None:
    told = told_by_extra("this command", ModuleNotFoundError(name=library))
    assert str(told).endswith(f"which is not installed: pip install '.[{extra}]' in a checkout of spanmask")


def _conll(*cells: str) -> str:
    lines = (f"d 0 {number} word {cell}" for number, cell in enumerate(cells))
    return "\n".join(["#begin document (d); part 000", *lines, "#end document", ""])


@pytest.mark.filterwarnings("default")
def test_coreference_is_scored_from_files_of_its_own(shell: Any, one_line: Callable[[str], str]) -> None:
    key = shell.write("key.conll", _conll("(1)", "(1)", "(2", "2)", "-"))
    ended = shell("score", "coref", key, key)
    assert (ended.code, ended.error) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "muc       recall 1.0000  precision 1.0000  f1 1.0000"
    assert [line.split()[0] for line in lines] == [
        *("muc", "bcub", "ceafm", "ceafe", "blanc", "lea", "mentions", "conll_f1")
    ]
    figures = json.loads(shell("score", "coref", key, key, "--singletons", "drop", "--json").out)
    assert figures["blanc"] == {"recall": 1.0, "precision": 1.0, "f1": 1.0}

    open_ended = shell.write("open.conll", _conll("(1)", "(1)", "(2", "-", "-"))
    ended = shell("score", "coref", key, open_ended)
    assert (ended.code, ended.out) == (5, "")
    assert one_line(ended.error).startswith(f"spanmask: {open_ended}:4: (2 is not closed in its document; mend it")
    ended = shell("score", "coref", key, open_ended, "--on-error", "skip", "--json")
    assert json.loads(ended.out)["mentions"]["recall"] == pytest.approx(2 / 3)
    assert ended.error.startswith(f"spanmask: warning: {open_ended}: brackets without their other half, left out: 1\n")


def test_files_that_hold_no_coreference_are_refused_whole(shell: Any, one_line: Callable[[str], str]) -> None:
    key = shell.write("key.conll", _conll("(1)", "(1)"))
    for other, told in (
        ("{}", "no document, expected"),
        ("", "no document"),
        (_conll("-").replace("d)", "e)"), "no document of"),
    ):
        ended = shell("score", "coref", key, shell.write("other", other))
        assert (ended.code, ended.out) == (2, "")
        assert told in one_line(ended.error)
    assert "--singletons is no option of squad" in one_line(
        shell("score", "squad", key, key, "--singletons", "drop").error
    )


def test_spans_in_columns_are_scored_by_type(shell: Any) -> None:
    gold = shell.write("gold.conll", "Ada I-PER\nmet O\nBell I-ORG\nLabs I-ORG\n")
    files = [gold, shell.write("guessed.conll", "Ada O B-PER\nmet O O\nBell O O\nLabs O B-ORG\n")]
    ended = shell("score", "ner", *files)
    assert ended.out.splitlines()[0] == "all  precision 0.5000  recall 0.5000  f1 0.5000"
    assert ended.out.splitlines()[2] == "PER  precision 1.0000  recall 1.0000  f1 1.0000  support 1"
    assert json.loads(shell("score", "ner", *files, "--json").out)["types"]["ORG"]["recall"] == 0.0
    ended = shell("score", "ner", files[1], "none.conll")
    assert ended.code == 2
