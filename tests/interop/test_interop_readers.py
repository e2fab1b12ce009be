"""Without us: what other libraries read from a dataset is what our reader gives, row for row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pytest
from finished import RECIPES, read_rows, splits_of

Finished = Callable[[str], Path]

each_recipe = pytest.mark.parametrize("recipe", RECIPES)


@pytest.fixture
def expected(recipe: str, finished: Finished) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    folder = finished(recipe)
    return folder, {split: read_rows(folder, split) for split in splits_of(folder)}


def test_the_recipes_are_as_different_as_they_say(finished: Finished) -> None:
    shards = {recipe: len(list(finished(recipe).glob("train/*.arrow"))) for recipe in RECIPES}
    assert {recipe for recipe, count in shards.items() if count == 1} == {"one", "annotated"}
    assert {recipe for recipe in RECIPES if (finished(recipe) / "validation").exists()} == {
        *("many", "wide", "stored", "everything")
    }
    for recipe in RECIPES:
        schema = pa.ipc.open_file(next(finished(recipe).glob("train/*.arrow"))).schema
        assert schema.field("labels").type.value_type == (pa.uint32() if RECIPES[recipe].get("vocab") else pa.uint16())
        assert ("word_starts" in schema.names) == ("words_field" in RECIPES[recipe])
        assert ("annotation_ends" in schema.names) == ("spans_field" in RECIPES[recipe])
        assert set(RECIPES[recipe].get("keep", ())) <= set(schema.names)
        rows = read_rows(finished(recipe), "train")
        assert len(rows) > 100
        assert {bool(row["span_starts"]) for row in rows} == {True, False}


@each_recipe
def test_datasets_agrees_with_our_reader(expected: Any, load: Any) -> None:
    folder, rows = expected
    found = load(folder)
    assert isinstance(found, datasets.DatasetDict)
    assert {split: part.to_list() for split, part in found.items()} == rows


@each_recipe
def test_datasets_streaming_agrees_with_our_reader(expected: Any, load: Any) -> None:
    folder, rows = expected
    found = load(folder, streaming=True)
    assert isinstance(found, datasets.IterableDatasetDict)
    assert {split: list(part) for split, part in found.items()} == rows


@each_recipe
def test_datasets_knows_the_types_of_the_columns(expected: Any, load: Any) -> None:
    folder, _ = expected
    stored = pa.ipc.open_file(next(folder.glob("train/*.arrow"))).schema
    features = load(folder, split="train").features
    assert features.arrow_schema.names == stored.names
    assert [field.type for field in features.arrow_schema] == [
        pa.list_(field.type.value_type) if pa.types.is_list(field.type) else field.type for field in stored
    ]


@each_recipe
def test_pyarrow_dataset_agrees_with_our_reader(expected: Any) -> None:
    folder, rows = expected
    for split, wanted in rows.items():
        assert pyarrow.dataset.dataset(folder / split, format="arrow").to_table().to_pylist() == wanted


@each_recipe
def test_polars_agrees_with_our_reader(expected: Any) -> None:
    folder, rows = expected
    for split, wanted in rows.items():
        assert polars.read_ipc(folder / split / "*.arrow").to_dicts() == wanted
        assert polars.scan_ipc(folder / split / "*.arrow").collect().to_dicts() == wanted


@each_recipe
def test_duckdb_agrees_with_our_reader_through_pyarrow(expected: Any) -> None:
    folder, rows = expected
    with duckdb.connect() as connection:
        for split, wanted in rows.items():
            stored = pyarrow.dataset.dataset(folder / split, format="arrow")
            found = connection.from_arrow(stored).order("document_id, segment")
            names = found.columns
            assert [dict(zip(names, row, strict=True)) for row in found.fetchall()] == wanted
