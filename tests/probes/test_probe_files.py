"""Files of a task by the names that a run gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanmask.errors import ConfigError
from spanmask.probes.files import evaluation_files, training_files


def test_names_lose_what_says_how_a_file_is_written(tmp_path: Path) -> None:
    told = {
        "a.json": "a",
        "b.JSONL.GZ": "b",
        "c.tar.gz": "c",
        "d.v2.conll": "d.v2",
        "TEST_FILE_FULL.TXT": "TEST_FILE_FULL",
    }
    for name in told:
        (tmp_path / name).write_text(name)
    found = evaluation_files([tmp_path / name for name in told])
    assert [file.name for file in found] == [*told.values()]
    assert [file.name for file in training_files([tmp_path / name for name in told])] == [*told]


def test_a_folder_is_named_however_it_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "texts" / "inner"
    inner.mkdir(parents=True)
    (inner / "a.conll").write_text("a")
    monkeypatch.chdir(inner)
    assert [file.name for file in evaluation_files(["."])] == ["inner"]
    assert [file.name for file in evaluation_files([".."])] == ["texts"]
    assert evaluation_files(["."])[0].sha256 == training_files([inner])[0].sha256
    with pytest.raises(ConfigError, match="named 'inner', as another"):
        evaluation_files([".", inner])
