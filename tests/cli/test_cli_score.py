"""`spanmask score`: figures, warnings and errors as users see them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

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
    assert ended.error == f"spanmask: warning: {files[1]}: 1 of 2 have no prediction: they count 0\n"


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
    assert str(told).endswith(f"which is not installed: pip install 'spanmask[{extra}]'")
