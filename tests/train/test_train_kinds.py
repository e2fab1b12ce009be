"""From text to an exported model with each kind of tokenizer: what was masked, trained on and exported is of one mind about every id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenization.kinds import KINDS, MIXED
from tokenization.variants import vocabulary_of
from trained import saved, stories
from transformers import AutoModelForMaskedLM, AutoTokenizer

import spanmask
from spanmask import PreshardConfig, audit, preshard, verify
from spanmask.exporting.config import ExportConfig, Target
from spanmask.exporting.run import export as export_rows
from spanmask.model import export, infill, load, read_tokenizer
from spanmask.presharding.comparing import verify_source
from spanmask.tokenizer_json import ROLES
from spanmask.train import TrainConfig, load_run, train

SHAPE = {"model": "tiny", "hidden": 16, "layers": 1, "heads": 2, "intermediate": 16, "max_positions": 64}
OPTIONS: dict[str, Any] = {**SHAPE, "steps": 2, "warmup": 1, "batch_size": 4, "save_every": 2, "masks": "fresh"}
OPTIONS |= {"device": "cpu", "threads": 1, "compile": False}
DOCUMENTS = [*stories()[60_000:66_000].split("\n\n"), *MIXED.splitlines(), "a  b   c\td"]


def each_kind() -> Iterator[Any]:
    for kind in KINDS:
        yield pytest.param(kind, marks=() if kind in ("modernbert", "xlm-r") else pytest.mark.slow)


@pytest.mark.parametrize("kind", list(each_kind()))
def test_a_kind_goes_all_the_way_with_one_id_for_one_text(tmp_path: Path, kind: str) -> None:
    source, shards, model = tmp_path / "text.txt", tmp_path / "shards", tmp_path / "model"
    source.write_text("\n\n".join(DOCUMENTS), "utf-8")
    vocab = saved(KINDS[kind](), tmp_path)
    preshard(source, shards, PreshardConfig.of(seed=1, max_tokens=64, min_tokens=1, vocab=vocab), jobs=1)
    (tmp_path / "tokenizer.json").unlink()
    assert verify(shards).findings == ()
    assert verify_source(shards, [source], jobs=1) == []
    assert audit(shards).differing_rows == 0
    documents = defaultdict[int, list[int]](list)
    for row in spanmask.open(shards):
        documents[row.document_id] += row.original()[1:-1].tolist()
    for target in Target:
        exported = export_rows(shards, tmp_path / str(target), ExportConfig.of(target=target))
        assert sum(exported.rows.values()) == len(spanmask.open(shards))
    train(shards, tmp_path / "run", TrainConfig.of("fast", **OPTIONS))
    run = load_run(tmp_path / "run")
    export(run.model, model, run.vocabulary)
    assert read_tokenizer(model).sha256 == vocabulary_of(kind).sha256
    _assert_transformers_has_the_ids(model, list(documents.values()))
    _assert_transformers_fills_in_the_same(model)


def _assert_transformers_has_the_ids(model: Path, ids: list[list[int]]) -> None:
    tokenizer, special = AutoTokenizer.from_pretrained(model), read_tokenizer(model).special
    assert {role: getattr(tokenizer, f"{role}_token_id") for role in ROLES} == special.as_dict()
    assert type(tokenizer).__name__ == "TokenizersBackend", "transformers' class for any tokenizer.json"
    assert [tokenizer(text, add_special_tokens=False).input_ids for text in DOCUMENTS] == ids
    assert tokenizer(DOCUMENTS[0]).input_ids == [special.cls, *ids[0], special.sep]


def _assert_transformers_fills_in_the_same(model: Path) -> None:
    vocabulary, tokenizer = read_tokenizer(model), AutoTokenizer.from_pretrained(model)
    text = f"The {tokenizer.mask_token} sat."
    [found] = infill(load(model), vocabulary, [text], top=3)
    asked = tokenizer(text, return_tensors="pt")
    assert list(found.ids) == asked.input_ids[0].tolist()
    scores = (
        AutoModelForMaskedLM.from_pretrained(model).eval()(**asked).logits[0, found.ids.index(vocabulary.special.mask)]
    )
    guesses = found.spans[0].tokens[0].mlm
    assert torch.allclose(
        scores.log_softmax(0).topk(3).values, torch.tensor([guess.log_probability for guess in guesses]), atol=1e-4
    )
