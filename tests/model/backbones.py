"""Small masked language models of transformers, of random weights: one of each architecture that is promised to train."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForMaskedLM,
    DebertaV2Config,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from spanmask.model import SpanBertConfig

ENTRIES = 37
#: RoBERTa's positions begin behind the padding id, 1.
POSITIONS = {"roberta": 42, "modernbert": 40, "deberta": 40, "electra": 40}
PACKED = ("roberta", "modernbert", "electra")
ARCHITECTURES = tuple(POSITIONS)


def config_of(name: str, entries: int = ENTRIES, **changes: Any) -> PreTrainedConfig:
    """The configuration of an architecture, without dropout."""
    sizes: dict[str, Any] = {"vocab_size": entries, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "max_position_embeddings": POSITIONS[name], "pad_token_id": 1}
    if name == "modernbert":
        ids = {"bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
        return ModernBertConfig(**{**sizes, "local_attention": 8, **ids, **changes})
    sizes |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if name == "deberta":
        relative = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}
        return DebertaV2Config(**{**sizes, **relative, "position_biased_input": False, **changes})
    if name == "electra":
        return ElectraConfig(**{**sizes, "embedding_size": 8, **changes})
    return RobertaConfig(**{**sizes, **changes})


def backbone_of(name: str, entries: int = ENTRIES, **changes: Any) -> Any:
    """A model whose weights are large enough for every part of it to matter."""
    torch.manual_seed(7)
    model = AutoModelForMaskedLM.from_config(config_of(name, entries, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return model


def shape_of(**changes: Any) -> SpanBertConfig:
    """What is said of such a model."""
    sizes = {"vocab_size": ENTRIES, "hidden": 12, "layers": 2, "heads": 2, "intermediate": 16, "max_positions": 40}
    return SpanBertConfig(**(sizes | {"max_span_offset": 4, "span_offset_dim": 3, "attention": "sdpa"} | changes))
