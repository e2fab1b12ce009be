"""Fine-tuned models of random weights with each head, and pairs of texts that they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from spanmask.model import ClassHead, FineTuned, Pooler, SpanBertConfig, SpanBertEncoder, SpanHead, TokenClassHead

SIZES = {"vocab_size": 80, "hidden": 32, "layers": 2, "heads": 2, "intermediate": 48, "max_positions": 64}
LABELS = ("no", "yes", "maybe")
#: Of six pairs: the whole, and where the second part begins. All of one length, or each of its own.
EVEN, UNEVEN = [(11, 4)] * 6, [(11, 4), (24, 9), (3, 2), (17, 16), (6, 3), (20, 5)]
#: Each head with what loads it.
AUTO: list[tuple[type[SpanHead | ClassHead], Any]] = [
    (SpanHead, AutoModelForQuestionAnswering),
    (ClassHead, AutoModelForSequenceClassification),
    (TokenClassHead, AutoModelForTokenClassification),
]


@dataclass(frozen=True)
class Pairs:
    """Rows of ids, types and mask, padded at their ends, with an answer in each; and its class."""

    ids: Tensor
    types: Tensor
    mask: Tensor
    starts: Tensor
    ends: Tensor
    classes: Tensor

    @property
    def lengths(self) -> list[int]:
        return self.mask.sum(1).tolist()


def pairs_of(sizes: list[tuple[int, int]]) -> Pairs:
    draw = torch.Generator().manual_seed(3)
    places = torch.arange(max(size for size, _ in sizes))
    lengths, seconds = torch.tensor(sizes).T
    mask = (places < lengths[:, None]).long()
    starts = (torch.rand(len(sizes), generator=draw) * lengths).long()
    return Pairs(
        ids=torch.randint(1, 80, mask.shape, generator=draw) * mask,
        types=(places >= seconds[:, None]).long() * mask,
        mask=mask,
        starts=starts,
        ends=(starts + lengths - 1) // 2,
        classes=torch.randint(len(LABELS), (len(sizes),), generator=draw),
    )


def model_of(head: type[SpanHead | ClassHead], **changes: Any) -> FineTuned:
    """Every parameter random, so that no two tensors can be taken for each other."""
    torch.manual_seed(1)
    config = SpanBertConfig.from_json(SIZES | {"hidden_dropout": 0.0, "attention_dropout": 0.0} | changes)
    encoder = SpanBertEncoder(config)
    model = {
        SpanHead: lambda: FineTuned(encoder, SpanHead(config)),
        ClassHead: lambda: FineTuned(encoder, ClassHead(config, LABELS), Pooler(config)),
        TokenClassHead: lambda: FineTuned(encoder, TokenClassHead(config, LABELS)),
    }[head]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows = 80 if name.endswith("words.weight") else len(parameter)
            parameter[:rows] = torch.randn(parameter[:rows].shape) / 4 + name.endswith("norm.weight")
    return model.double().eval()


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max())
