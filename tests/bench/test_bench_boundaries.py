"""What boundary states tell of objectives: all of it in miniature, from text to table, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spanmask_bench import boundaries

import spanmask

STORIES = Path(spanmask.__file__).parent / "data" / "poe.txt"


@pytest.mark.slow
def test_models_of_both_objectives_are_trained_asked_and_told_of(tmp_path: Path) -> None:
    options = {"seeds": 1, "steps": 3, "entries": 300, "spans": 300}
    # Many documents, so that a share of them can be held out.
    texts = tmp_path / "texts"
    texts.mkdir()
    lines = STORIES.read_text("utf-8").splitlines()
    for number in range(120):
        (texts / f"{number:03}.txt").write_text("\n".join(lines[20 * number : 20 * number + 20]), "utf-8")
    result = boundaries.measure([texts], tmp_path / "work", **options)
    assert result["same_start"] == {"1": True}
    for models in result["models"].values():
        assert [one["step"] for one in models] == [3]
    one, other = (models[0]["tokens"] for models in result["models"].values())
    assert one == other
    table = boundaries.table(result)
    assert "| first, inside masked |" in table
    assert "not enough seeds to say (1 of 6)" in table
    assert "from the same weights by name" in table
    assert "named beforehand: bits saved, inside masked, all three places" in table
    assert "of twenty that are alike one is called different" in table
    again = boundaries.measure([texts], tmp_path / "work", **options)
    assert again["pairs"] == result["pairs"]


OPTIONS = {"seeds": 2, "steps": 3, "entries": 300, "spans": 300}


@pytest.mark.parametrize("name", ["seeds", "steps", "entries", "spans"])
def test_a_folder_begun_with_other_parameters_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "parameters.json").write_text(json.dumps({**OPTIONS, "holdout": 0.2, "texts": ["texts"]}), "utf-8")
    with pytest.raises(RuntimeError, match=f"other parameters: {name} was {OPTIONS[name]}, is 9: give those, or"):
        boundaries.measure([tmp_path / "texts"], tmp_path, **OPTIONS | {name: 9})


def test_a_folder_that_does_not_say_what_it_was_begun_with_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlm-1").mkdir()
    with pytest.raises(RuntimeError, match="does not say what it was begun with"):
        boundaries.measure([tmp_path / "texts"], tmp_path, **OPTIONS)


def test_a_seed_that_was_not_asked_is_missed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="has nothing of seed 1, 2"):
        boundaries.founds(tmp_path, (1, 2))


def test_models_that_are_not_trained_alike_are_refused() -> None:
    one, other = {"step": 3, "tokens": 900}, {"step": 3, "tokens": 901}
    # Seeds may draw rows of other lengths.
    boundaries.require_alike({"mlm": [one, other], "mlm+sbo": [one, other]})
    with pytest.raises(RuntimeError, match=r"seed 2 .* 3 updates, 900 tokens; 3 updates, 901 tokens"):
        boundaries.require_alike({"mlm": [one, one], "mlm+sbo": [one, other]})
