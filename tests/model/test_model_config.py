"""A model's shape is checked when it is made, and survives JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import spanmask.model
from spanmask.errors import ConfigError
from spanmask.model import Attention, Objective, SpanBertConfig, SpanBertForPreTraining


@pytest.mark.parametrize(
    ("name", "layers", "hidden", "heads"),
    [
        ("tiny", 2, 128, 2),
        ("mini", 4, 256, 4),
        ("small", 4, 512, 8),
        ("medium", 8, 512, 8),
        ("base", 12, 768, 12),
        ("large", 24, 1024, 16),
    ],
)
def test_presets_are_berts(name: str, layers: int, hidden: int, heads: int) -> None:
    config = SpanBertConfig.preset(name, vocab_size=30_000)
    assert (config.layers, config.hidden, config.heads) == (layers, hidden, heads)
    assert (config.intermediate, config.head_width) == (4 * hidden, 64)
    assert (config.max_positions, config.layer_norm_eps, config.hidden_dropout) == (512, 1e-12, 0.1)


def test_a_model_without_boundary_head_has_the_parameters_of_bert_without_pooler() -> None:
    config = SpanBertConfig.preset("tiny", vocab_size=28_996, objective=Objective.MLM)
    count = sum(p.numel() for p in SpanBertForPreTraining(config).parameters())
    embeddings = (29_056 + 512 + 2 + 2) * 128
    layer = 4 * (128 * 128 + 128) + 2 * 128 * 512 + 512 + 128 + 4 * 128
    assert count == embeddings + 2 * layer + (128 * 128 + 128 + 2 * 128) + 29_056


@pytest.mark.parametrize(("size", "padded"), [(1, 128), (128, 128), (129, 256), (28_996, 29_056), (30_522, 30_592)])
def test_the_vocabulary_is_padded_to_a_multiple_of_128(size: int, padded: int) -> None:
    assert SpanBertConfig(vocab_size=size).padded_vocab == padded


def test_json_gives_the_configuration_back() -> None:
    config = SpanBertConfig.preset("mini", vocab_size=99, objective="mlm", attention="sdpa", hidden_dropout=0)
    assert (config.objective, config.attention, config.hidden_dropout) == (Objective.MLM, Attention.SDPA, 0.0)
    assert SpanBertConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert SpanBertConfig.from_json({"vocab_size": 30}) == SpanBertConfig(vocab_size=30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 100, "heads": 3}, "hidden is 100 and heads 3: give a width that heads divide"),
        ({"layers": 0}, "layers is 0: give a whole number from 1"),
        ({"layers": 2.0}, r"layers is 2.0: give a whole number"),
        ({"heads": True}, "heads is True: give a whole number"),
        ({"vocab_size": -3}, "vocab_size is -3"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout is 1.0: give a share from 0 to below 1"),
        ({"attention_dropout": -0.1}, r"attention_dropout is -0.1"),
        ({"hidden_dropout": "much"}, "hidden_dropout is 'much': give a number"),
        ({"hidden_dropout": float("nan")}, "hidden_dropout is nan: give a share"),
        ({"layer_norm_eps": 0.0}, r"layer_norm_eps is 0.0: give a number between 0 and 1"),
        ({"initializer_range": 0}, r"initializer_range is 0.0: give a number between"),
        ({"attention": "flash"}, "attention is 'flash': give one of auto, varlen, unpadded, sdpa"),
        ({"objective": "sbo"}, r"objective is 'sbo': give one of mlm, mlm\+sbo"),
        (
            {"attention": "varlen"},
            r"attention varlen has no dropout, and attention_dropout is 0.1: set it to 0, or give sdpa",
        ),
        ({"hiden": 4}, "unknown option 'hiden'; did you mean 'hidden'?"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpanBertConfig.from_json({"vocab_size": 30} | changes)


def test_a_size_without_name_and_a_missing_vocabulary_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown model 'huge': give one of tiny, mini, small, medium, base, large"):
        SpanBertConfig.preset("huge", vocab_size=30)
    with pytest.raises(ConfigError, match="vocab_size is missing: give the number of entries"):
        SpanBertConfig.from_json({})


def test_public_names_are_sorted_all_there_and_load_torch_when_used() -> None:
    names = spanmask.model.__all__
    assert names == sorted(set(names)) == dir(spanmask.model)
    assert all(getattr(spanmask.model, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match=r"module 'spanmask.model' has no attribute 'nonsense'"):
        spanmask.model.nonsense  # noqa: B018
    code = "import sys, spanmask.model; spanmask.model.SpanBertConfig(vocab_size=3); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
