"""Mistakes a user makes, and may put right with the next command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spanmask import ConfigError, CorpusError, PreshardConfig, preshard
from spanmask.presharding import planning

TEXT = "The cat sat on the mat and looked at the dog for a while."


def _corpus(folder: Path) -> Path:
    path = folder / "corpus.jsonl"
    documents = [{"text": TEXT, "names": [[4, 7]], "starts": [0, 4, 8]}] * 20
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


@pytest.mark.parametrize(
    "options", [{"scheme": "annotated", "spans_field": "nmaes"}, {"words_field": "strats"}], ids=["spans", "words"]
)
def test_a_field_that_no_document_has_is_refused(tmp_path, options):
    name = options.get("spans_field") or options["words_field"]
    with pytest.raises(CorpusError, match=f"'{name}'.*name the field"):
        preshard(_corpus(tmp_path), tmp_path / "out", PreshardConfig.of(seed=7, **options), jobs=1)


def test_a_run_that_wrote_nothing_does_not_stand_in_the_way(tmp_path):
    path = _corpus(tmp_path)
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(CorpusError, match="on-error skip"):
        preshard(path, tmp_path / "out", PreshardConfig.of(seed=7), jobs=1)
    manifest = preshard(path, tmp_path / "out", PreshardConfig.of(seed=7, on_error="skip"), jobs=1)
    assert manifest.conservation["documents_skipped"] == 1


def test_more_inputs_than_a_manifest_names_are_refused_before_the_work(tmp_path, monkeypatch):
    """Such a dataset was written, and then no reader took its manifest."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text("some words of text that go on for a while and then they end")
    monkeypatch.setattr(planning, "MANIFEST_LIMIT", planning._MANIFEST_REST + 1500)
    with pytest.raises(
        ConfigError, match=r"20 inputs and the vocabulary make a manifest of .*: join small files together"
    ):
        preshard(folder, tmp_path / "out", PreshardConfig.of(seed=7), jobs=1)
    assert not (tmp_path / "out" / "manifest.json").exists()
    preshard(folder / "0.txt", tmp_path / "out", PreshardConfig.of(seed=7), jobs=1)
