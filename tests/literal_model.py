"""A slow, literal twin of the model in plain loops, and bins packed by hand. It imports nothing of ours: batches are dictionaries.

A sequence is (ids, spans, originals): half-open spans, and the original ids under each. Parameters go by our names, since that is all that
ties the twin's gradients to the model's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Sequence = tuple[list[int], list[tuple[int, int]], list[list[int]]]
NONE = -100


def pack(bins: list[list[Sequence]], *, width: int, mlm: int, sbo: int, sequences: int = 4) -> dict[str, list[Any]]:
    """The fields of a packed batch as nested lists, those of the boundary targets prefixed ``sbo_``; mlm, sbo: slots for each bin."""
    batch: dict[str, list[Any]] = {name: [] for name in ("input_ids", "sequence_index", "positions")}
    bounds: list[int] = []
    masked: list[tuple[int, int]] = []
    boundary: list[tuple[int, int, int, int]] = []
    for number, members in enumerate(bins):
        ids: list[int] = []
        index: list[int] = []
        positions: list[int] = []
        for k, (sequence, spans, originals) in enumerate(members):
            at = number * width + len(ids)
            bounds.append(at)
            for (start, end), under in zip(spans, originals, strict=True):
                for place in range(start, end):
                    masked.append((at + place, under[place - start]))
                    boundary.append((at + start - 1, at + end, place - start, under[place - start]))
            ids += sequence
            index += [k + 1] * len(sequence)
            positions += range(len(sequence))
        rest = width - len(ids)
        if rest:
            bounds.append(number * width + len(ids))
        batch["input_ids"].append(ids + [0] * rest)
        batch["sequence_index"].append(index + [0] * rest)
        batch["positions"].append(positions + list(range(rest)))
    mlm, sbo = mlm * len(bins), sbo * len(bins)
    masked += [(0, NONE)] * (mlm - len(masked))
    boundary += [(0, 0, 0, NONE)] * (sbo - len(boundary))
    batch["mlm_positions"] = [place for place, _ in masked[:mlm]]
    batch["mlm_labels"] = [label for _, label in masked[:mlm]]
    for column, name in enumerate(("left", "right", "offsets", "labels")):
        batch[f"sbo_{name}"] = [slot[column] for slot in boundary[:sbo]]
    total = len(bins) * width
    batch["cu_seqlens"] = bounds + [total] * (len(bins) * (sequences + 1) + 1 - len(bounds))
    return batch


def random_sequence(generator: torch.Generator, length: int, spans: list[tuple[int, int]], vocab: int) -> Sequence:
    def draw(n: int) -> list[int]:
        return torch.randint(vocab, (n,), generator=generator).tolist()

    return draw(length), spans, [draw(end - start) for start, end in spans]


def _linear(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    return torch.stack([(row * x).sum() for row in p[f"{name}.weight"]]) + p[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))


def _norm(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.sum() / len(x)
    return centred / torch.sqrt((centred**2).sum() / len(x) + 1e-12) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attend(queries: list[Tensor], keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
    """Attention of one head within one sequence."""
    mixed = []
    for query in queries:
        weights = torch.stack([torch.exp((query * key).sum() / math.sqrt(len(query))) for key in keys])
        mixed.append(
            sum((w * v for w, v in zip(weights / weights.sum(), values, strict=True)), torch.zeros_like(query))
        )
    return mixed


def encode(p: dict[str, Tensor], ids: list[int], *, layers: int, heads: int) -> list[Tensor]:
    """The hidden states of one sequence alone."""
    e = "encoder.embeddings"
    states = [
        _norm(
            p[f"{e}.words.weight"][token] + p[f"{e}.positions.weight"][place] + p[f"{e}.types.weight"][0],
            p,
            f"{e}.norm",
        )
        for place, token in enumerate(ids)
    ]
    for layer in range(layers):
        name = f"encoder.layers.{layer}"
        threes = [_linear(x, p, f"{name}.attention.qkv") for x in states]
        width = len(states[0]) // heads
        parts: list[list[Tensor]] = []
        for head in range(heads):
            q, k, v = (
                [three[len(states[0]) * j + width * head : len(states[0]) * j + width * (head + 1)] for three in threes]
                for j in range(3)
            )
            parts.append(attend(q, k, v))
        mixed = [torch.cat([part[i] for part in parts]) for i in range(len(states))]
        states = [
            _norm(x + _linear(m, p, f"{name}.attention.out"), p, f"{name}.attention_norm")
            for x, m in zip(states, mixed, strict=True)
        ]
        states = [
            _norm(x + _linear(_gelu(_linear(x, p, f"{name}.up")), p, f"{name}.down"), p, f"{name}.output_norm")
            for x in states
        ]
    return states


def mlm_scores(p: dict[str, Tensor], state: Tensor, vocab: int) -> Tensor:
    row = _norm(_gelu(_linear(state, p, "mlm.transform.dense")), p, "mlm.transform.norm")
    return _decode(p, row, "mlm.bias", vocab)


def sbo_scores(p: dict[str, Tensor], left: Tensor, right: Tensor, offset: int, vocab: int) -> Tensor:
    row = torch.cat([left, right, p["sbo.offsets.weight"][offset]])
    for part in ("first", "second"):
        row = _norm(_gelu(_linear(row, p, f"sbo.{part}.dense")), p, f"sbo.{part}.norm")
    return _decode(p, row, "sbo.bias", vocab)


def _decode(p: dict[str, Tensor], row: Tensor, bias: str, vocab: int) -> Tensor:
    words = p["encoder.embeddings.words.weight"]
    return torch.stack([(words[entry] * row).sum() + p[bias][entry] for entry in range(vocab)])


def losses(
    p: dict[str, Tensor], bins: list[list[Sequence]], *, layers: int, heads: int, vocab: int
) -> tuple[list[Tensor], list[Tensor]]:
    """The cross entropy of each target, of the MLM and of the SBO head."""
    mlm, sbo = [], []
    for members in bins:
        for ids, spans, originals in members:
            states = encode(p, ids, layers=layers, heads=heads)
            for (start, end), under in zip(spans, originals, strict=True):
                for place in range(start, end):
                    label = under[place - start]
                    mlm.append(_cross_entropy(mlm_scores(p, states[place], vocab), label))
                    scores = sbo_scores(p, states[start - 1], states[end], place - start, vocab)
                    sbo.append(_cross_entropy(scores, label))
    return mlm, sbo


def _cross_entropy(scores: Tensor, label: int) -> Tensor:
    return torch.log(torch.exp(scores).sum()) - scores[label]
