"""The page about the dataset, section "Without spanmask": its code, run as it stands there, does what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from finished import RECIPES, original_of, read_rows

import spanmask

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dataset.md"


def code_blocks() -> list[str]:
    """Return the Python of the section, block by block: how to open a dataset, and the five lines."""
    section = re.search(r"^## Without spanmask\n(.*?)^## ", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section is not None, "docs/dataset.md has no section 'Without spanmask'"
    return re.findall(r"^```python\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)


def test_the_lines_are_five_and_need_numpy_alone() -> None:
    lines = [line for line in code_blocks()[1].splitlines() if line]
    assert len([line for line in lines if not line.startswith("import ")]) == 5
    assert [line for line in lines if line.startswith("import ")] == ["import numpy as np"]
    assert "spanmask" not in "".join(lines)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_five_lines_make_dense_labels_and_the_original_of_every_row(
    recipe: str, finished: Callable[[str], Path]
) -> None:
    code = compile(code_blocks()[1], PAGE.name, "exec")
    rows = read_rows(finished(recipe), "train")
    for row, ours in zip(rows, spanmask.open(finished(recipe)), strict=True):
        names: dict[str, Any] = {"row": row}
        exec(code, names)
        wanted = [-100] * len(row["input_ids"])
        for start, end in zip(row["span_starts"], row["span_ends"], strict=True):
            wanted[start:end] = original_of(row)[start:end]
        assert names["labels"].tolist() == wanted
        assert names["original"].tolist() == original_of(row)
        assert np.array_equal(names["original"], ours.original())


def test_the_libraries_open_the_dataset_as_the_page_has_it(
    finished: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = finished("many")
    rows = read_rows(dataset, "train")
    monkeypatch.chdir(dataset.parent)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    datasets.disable_progress_bars()
    names: dict[str, Any] = {}
    exec(code_blocks()[0], names)
    assert names["rows"].to_list() == rows
    assert names["frame"].to_dicts() == rows
    assert names["stored"].to_table().to_pylist() == rows
    assert names["count"].fetchall() == [(len(rows), sum(len(row["labels"]) for row in rows))]
    assert names["row"] == rows[0]
