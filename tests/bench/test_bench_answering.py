"""What fine-tuned checkpoints find: the shape that is drawn anew, and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from spanmask_bench import answering, protocol
from spanmask_bench.probe_runs import random_twin

from spanmask.config import VocabularyConfig
from spanmask.model import SpanBertConfig, SpanBertForPreTraining
from spanmask.model.bert_folder import read_bert
from spanmask.model.convert import export
from spanmask.vocab import load_vocabulary


def test_a_twin_has_the_shape_and_vocabulary_and_other_weights(tmp_path: Path) -> None:
    vocabulary = load_vocabulary(VocabularyConfig(vocab="uncased"))
    model = SpanBertForPreTraining(
        SpanBertConfig(vocab_size=len(vocabulary), hidden=8, layers=1, heads=2, intermediate=16)
    )
    export(model, tmp_path / "bert", vocabulary)
    twin = random_twin(tmp_path / "bert", tmp_path / "twin")
    known, drawn = (read_bert(folder) for folder in (tmp_path / "bert", twin))
    assert drawn.config == known.config
    assert (twin / "vocab.txt").read_bytes() == (tmp_path / "bert" / "vocab.txt").read_bytes()
    name = "bert.embeddings.word_embeddings.weight"
    assert not torch.equal(known.tensors[name], drawn.tensors[name])
    before = (twin / "model.safetensors").stat().st_mtime_ns
    assert (random_twin(tmp_path / "bert", twin) / "model.safetensors").stat().st_mtime_ns == before


def _run(*f1: float, deviation: float | None = None) -> dict[str, Any]:
    scores = [{"seed": number, "scores": {"dev": {"exact_match": one / 2, "f1": one}}} for number, one in enumerate(f1)]
    mean = sum(f1) / len(f1)
    return {
        "seeds": scores,
        "mean": {"dev": {"exact_match": mean / 2, "f1": mean}},
        "deviation": {"dev": {"exact_match": deviation, "f1": deviation}},
    }


def test_what_is_no_baseline_stands_in_a_table_of_its_own() -> None:
    tiny = {
        "found": _run(12.0, 14.0, 13.0, deviation=1.0),
        "pretraining": {
            "parameters": 4_000_000,
            "documents": 1000,
            "documents_excluded": 10,
            "last": {"tokens": 5_000_000, "mlm_loss": 6.5},
        },
        "overlap": {"n": 13},
    }
    parts = {"pre-trained": {"found": _run(60.0)}, "random": {"found": _run(10.0)}, "tiny": tiny}
    records = {name: protocol.record("?", {}, part) for name, part in parts.items()}
    check, verdict, _, ours, told = answering.table({"parts": records}).split("\n\n")
    assert "| pre-trained | 30.00 | 60.00 | 60.00 |" in check
    assert "| random | 5.00 | 10.00 | 10.00 |" in check
    assert "tiny" not in check
    assert "pre-trained above random: 50.00 points of F1; asked for: at least 20, reached." in verdict
    assert "| tiny | 6.50 ± 1.00 | 13.00 ± 1.00 | 12.00, 14.00, 13.00 |" in ours
    assert "990 documents (10 left out, which share 13-grams with what is answered)" in told
    del records["random"]
    assert "not known, since only pre-trained was measured" in answering.table({"parts": records})
