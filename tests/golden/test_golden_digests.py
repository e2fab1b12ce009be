"""Literal digests of what every scheme, sampler and kind of tokenizer stores, and of fresh masks: what no change of the code may move.

``digests.json`` was written down once. A change that moves one changes masks or rows: it raises ``ALGORITHM_VERSION`` or
``FORMAT_VERSION``, and says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
import trained

import spanmask
from spanmask import PreshardConfig, preshard
from spanmask.loading import ShardLoader

GOLDEN: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "digests.json").read_text())
#: Fresh masks of English text with BERT's vocabularies, as algorithm version 1 drew them: no later version has moved one.
ENGLISH: dict[str, str] = json.loads((Path(__file__).parent / "english.json").read_text())

TOKENIZERS: dict[str, dict[str, Any]] = {
    "cased": {"vocab": "cased"},
    "uncased": {"vocab": "uncased"},
    "byte level": {"vocab": handmade.byte_level},
    "unigram": {"vocab": handmade.unigram},
    "wide": {"vocab": handmade.wide},
    "supplied words": {"vocab": handmade.byte_level, "words_field": "words"},
}
SCHEMES: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, unigram, words": {"random_ids": "unigram", "replacement_unit": "word", "mask_ratio": 0.3, "max_words": 4},
    "reference": {"sampler": "reference"},
    "word": {"scheme": "word"},
    "token": {"scheme": "token"},
    "annotated": {"scheme": "annotated", "spans_field": "spans"},
    "pairs": {"segmentation": "pairs"},
}
#: Kernels on 32-bit ids are compiled apart, which takes long.
CASES = [
    pytest.param(tokenizer, scheme, marks=pytest.mark.slow if tokenizer == "wide" else ())
    for tokenizer in TOKENIZERS
    for scheme in SCHEMES
]


def documents(*, odd: bool = True) -> Iterator[dict[str, Any]]:
    """Paragraphs of the stories, each with two annotated ranges, its words in pairs, and odd things that tokenizers may stumble over."""
    paragraphs = [text for text in trained.stories()[20_000:45_000].split("\n") if len(text) > 60]
    for number, text in enumerate(paragraphs[:60]):
        spaces = [place + 1 for place, char in enumerate(text) if char == " "]
        spans = [[spaces[2], spaces[4] - 1], [spaces[6], spaces[6] + 2]]
        end = " 猫が座った 12 naïve Ωmega x-ray" if odd and number % 5 == 0 else ""
        yield {"text": text + end, "spans": spans, "words": [0, *spaces[::2]]}


def written(path: Path, documents: Iterator[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents), "utf-8")
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("source") / "documents.jsonl", documents())


@pytest.fixture
def dataset(source: Path, tmp_path: Path) -> Callable[..., Path]:
    def make(tokenizer: str, scheme: str, source: Path = source) -> Path:
        options = {"seed": 11, "max_tokens": 64, "shard_bytes": 8192} | TOKENIZERS[tokenizer] | SCHEMES[scheme]
        if callable(options["vocab"]):
            options["vocab"] = trained.saved(options["vocab"](), tmp_path)
        preshard(source, tmp_path / "out", PreshardConfig.of(**options), jobs=1)
        return tmp_path / "out"

    return make


def fresh_digest(folder: Path) -> str:
    """The SHA-256 of ids and dense labels of the rows as they are masked in epochs 0 and 3, in the order stored."""
    found = hashlib.sha256()
    loader = ShardLoader(folder, batch_size=16, masks="fresh", order="none")
    for epoch in (0, 3):
        loader.set_epoch(epoch)
        for batch in loader:
            inside = np.asarray(batch["attention_mask"]).astype(bool)
            for name in ("input_ids", "labels"):
                found.update(np.asarray(batch[name])[inside].astype("<i8").tobytes())
    return found.hexdigest()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize(("tokenizer", "scheme"), CASES)
def test_rows_and_masks_are_those_written_down(
    dataset: Callable[[str, str], Path], tokenizer: str, scheme: str
) -> None:
    folder = dataset(tokenizer, scheme)
    manifest = spanmask.open(folder).manifest
    found = {"stored": manifest.splits["train"].content_digest, "fresh": fresh_digest(folder)}
    assert found == GOLDEN[f"{tokenizer} | {scheme}"]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize(("casing", "scheme"), [case.split(" | ") for case in ENGLISH])
def test_masks_of_english_text_have_never_moved(
    dataset: Callable[..., Path], tmp_path: Path, casing: str, scheme: str
) -> None:
    folder = dataset(casing, scheme, written(tmp_path / "english.jsonl", documents(odd=False)))
    assert fresh_digest(folder) == ENGLISH[f"{casing} | {scheme}"]


def test_every_case_is_written_down_once() -> None:
    assert sorted(GOLDEN) == sorted(f"{tokenizer} | {scheme}" for tokenizer in TOKENIZERS for scheme in SCHEMES)
    assert len({item["stored"] for item in GOLDEN.values()}) == len(GOLDEN)


def test_a_fresh_mask_of_epoch_zero_is_the_stored_one_and_of_another_epoch_is_not(
    dataset: Callable[[str, str], Path],
) -> None:
    folder = dataset("cased", "paper")
    stored = list(ShardLoader(folder, batch_size=16, order="none"))
    loader = ShardLoader(folder, batch_size=16, masks="fresh", order="none")
    zero, one = list(loader), list(loader)
    same = [np.array_equal(a["labels"], b["labels"]) for a, b in zip(stored, zero, strict=True)]
    other = [np.array_equal(a["labels"], b["labels"]) for a, b in zip(stored, one, strict=True)]
    assert all(same)
    assert not any(other)
