"""The fault matrix: each of its tests is there, and what pytest tells of them becomes rows as it was."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from spanmask_bench import faults
from spanmask_bench.fault_rows import ROWS, Row

ROOT = Path(__file__).resolve().parents[2]
ROW = Row(id="X1", fault="", passes="", asked={"F": 12, "N": 20}, tests=("tests/a/test_b.py::test_c",))
CASE = '<testcase classname="tests.a.test_b" name="test_c[{name}]" time="2">{inner}</testcase>'


def cases(*inner: str) -> list:
    return [*fromstring("<all>" + "".join(CASE.format(name=n, inner=part) for n, part in enumerate(inner)) + "</all>")]


TRIED = '<properties><property name="tried" value="{}" /></properties>'


@pytest.mark.parametrize(
    ("inner", "tried", "result"),
    [
        ([TRIED.format(7), TRIED.format(5)], 12, "green"),
        ([TRIED.format(7), ""], 8, "fewer than asked"),
        ([TRIED.format(7), f"{TRIED.format(9)}<failure/>"], 16, "red"),
        (["<error/>"], 1, "red"),
        ([TRIED.format(12), "<skipped/>"], 12, "green"),
        ([], 0, "fewer than asked"),
    ],
)
def test_a_row_is_green_where_all_passed_and_as_many_were_tried_as_asked(inner, tried, result):
    (other,) = cases("<failure/>")
    other.set("classname", "tests.a.test_d")
    found = faults.found(ROW, "F", [*cases(*inner), other])
    assert (found["tried"], found["result"], found["seconds"]) == (tried, result, 2 * len(inner))


def test_every_row_names_tests_that_are_there():
    assert len({row.id for row in ROWS}) == len(ROWS) > 35
    for name in {name for row in ROWS for name in row.tests}:
        path, _, test = name.partition("::")
        assert re.search(rf"^def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), name


def test_every_class_has_a_test_that_sees_it_fail():
    fails = {row.id[0] for row in ROWS for name in row.tests if re.search(r"_(found|seen|rejected)$", name)}
    assert fails == {row.id[0] for row in ROWS}


def test_what_is_not_built_or_not_run_is_told():
    result = {
        "lanes": {},
        "versions": {},
        "dirty": False,
        "commit": None,
        "machine": dict.fromkeys(("processor", "cores", "system")),
    }
    lines = faults.table(result).splitlines()
    for row in ROWS:
        (line,) = [line for line in lines if line.startswith(f"| {row.id} |")]
        assert ("not built" in line) == (not row.tests)
        assert ("not run" in line) == bool(row.tests)
