"""The tables of both READMEs are those of the committed results."""

from __future__ import annotations

import json

import pytest
from spanmask_bench import loading, performance, presharding, reproduce, tables, tokenizing, tokenizing_table

each_readme = pytest.mark.parametrize("path", tables.TABLES, ids=lambda path: f"{path.parent.name}-{path.name}")


@each_readme
def test_a_readme_has_the_tables_of_the_results(path):
    readme = path.read_text("utf-8")
    assert tables.filled(readme, tables.TABLES[path], tables.results()) == readme, "run python -m spanmask_bench.tables"


@each_readme
def test_a_readme_that_differs_is_noticed_and_mended(path):
    readme, found = path.read_text("utf-8"), tables.results()
    for name in tables.TABLES[path]:
        begin, end = f"<!-- {name}: made by spanmask_bench.tables -->", f"<!-- {name}: end -->"
        broken = readme.replace(f"\n{end}", f"| 9 |\n{end}", 1)
        assert broken != readme
        assert tables.filled(broken, tables.TABLES[path], found) == readme
        for marker in (begin, end):
            with pytest.raises(ValueError, match="markers"):
                tables.filled(readme.replace(marker, ""), tables.TABLES[path], found)


def test_every_result_is_reproduced_by_one_command():
    # A run of half an hour, a comparison of checkouts and what probes do have their own commands, and a GPU another machine.
    others = {
        "engines",
        "faults",
        "answering",
        "boundaries",
        "finetuning",
        "pretraining",
        "pretraining-modernbert",
        "probes",
        "remote",
        "revisions",
        "revisions-training",
        "scale",
        "scoring",
        "spans",
        "train-cuda",
        "train-modernbert",
        "windows",
    }
    assert set(reproduce.questions([], 1, None)) == set(tables.results()) - others


def test_results_name_no_folder():
    for path in tables.RESULTS.glob("*.json"):
        result = json.loads(path.read_text("utf-8"))
        assert not [text for text in _strings(result) if text.startswith(("/", "~"))], path.name


def _strings(value):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from (name, *_strings(item))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


def test_committed_results_cover_every_figure_asked_for():
    found = tables.results()
    assert set(found["tokenize"]["goals"]) == set(tokenizing.GOALS)
    assert set(found["preshard"]["goals"]) == set(presharding.GOALS)
    assert set(found["preshard"]["limits"]) == set(presharding.LIMITS)
    assert set(found["loading"]["goals"]) == set(loading.GOALS)
    assert set(found["loading"]["limits"]) == set(loading.LIMITS)


def test_the_packages_table_follows_the_results():
    found = tables.results()
    result = found["tokenize"]
    peer = tokenizing_table.strongest(result, "prose, cased", "new")
    result["cases"]["prose, cased"]["contestants"]["spanmask"]["states"]["new"]["bytes_per_second"]["median"] = (
        123_400_000
    )
    result["ratios"][f"prose, cased, new: spanmask / {peer}"] = {"median": 43.21, "min": 40.0, "max": 50.0}
    [row] = [line for line in performance.table(found).splitlines() if line.startswith("| tokenize: prose, cased |")]
    assert "| 123.4 MB/s |" in row
    assert f", {peer} " in row
    assert row.endswith("| 43.2 (40 to 50) |")
