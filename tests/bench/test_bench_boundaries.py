"""What boundary states tell of objectives: all of it in miniature, from text to table, and gone on with."""

from __future__ import annotations

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
    again = boundaries.measure([texts], tmp_path / "work", **options)
    assert again["pairs"] == result["pairs"]
