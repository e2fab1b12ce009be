"""What a model puts in place of the masks of a text: by each masked token's own state, and by the boundaries of its span (paper §3.2).

A span is a maximal run of mask tokens. The MLM head scores each of its tokens; the boundary head scores them from the tokens before and
after the run and from their place in it, as far as its table of offsets goes. Both score each token apart from its neighbours, so the
likeliest span is the likeliest token at each place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spanmask.errors import ConfigError
from spanmask.model.dropout import without_dropout
from spanmask.model.inputs import PackedTensors, SboTensors, padded_tensors
from spanmask.model.pretraining import PretrainingModel
from spanmask.records import Flags, Offsets
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """An id and the natural logarithm of its probability."""

    id: int
    log_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedToken:
    """A masked token's best ids, best first. sbo: None without a boundary head, and beyond its table of offsets."""

    mlm: tuple[Guess, ...]
    sbo: tuple[Guess, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The likeliest ids of a whole span, one a token, and the sum of their log probabilities."""

    ids: tuple[int, ...]
    log_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InfilledSpan:
    """A run of masks at [start, end) of the sequence, ``[CLS]`` being position 0.

    tokens: of each masked token. mlm, sbo: the likeliest span by each head; both: by the sum of their log probabilities. sbo and both are
    None where the boundary head does not score every token.
    """

    start: int
    end: int
    tokens: tuple[MaskedToken, ...]
    mlm: Joined
    sbo: Joined | None
    both: Joined | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Infilled:
    """A text with its sequence, special tokens included, and its spans in order."""

    text: str
    ids: tuple[int, ...]
    spans: tuple[InfilledSpan, ...]


def infill(
    model: PretrainingModel, vocabulary: Vocabulary, texts: Sequence[str], *, top: int = 5
) -> Iterator[Infilled]:
    """Return what a model puts in place of the masks of each text; all texts are looked at before the first is answered.

    Parameters
    ----------
    model
        On any device; dropout is off meanwhile.
    vocabulary
        What its ids mean.
    texts
        Each holds the mask token's literal name at least once.
    top
        Ids that are named for each masked token, from 1.

    Raises
    ------
    ConfigError
        A text holds no mask or is too long, or the vocabulary has more entries than the model.
    """
    known = model.config.vocab_size
    if len(vocabulary) > known:
        raise ConfigError(
            f"vocabulary {vocabulary.name} has {len(vocabulary):,} entries, and the model {known:,}: give the model's own tokenizer"
        )
    if top < 1:
        raise ConfigError(f"top is {top}: give 1 or more")
    tokens = Tokenizer(vocabulary).encode(texts, specials="parse")
    sequences = []
    for number, (start, end) in enumerate(pairwise(tokens.document_offsets.tolist()), start=1):
        where = "the text" if len(texts) == 1 else f"text {number} of {len(texts)}"
        sequences.append(_sequence(model, vocabulary, tokens.token_ids[start:end].astype(np.int64), where))
    return (
        _infilled(model, vocabulary, text, ids, min(top, len(vocabulary)))
        for text, ids in zip(texts, sequences, strict=True)
    )


def _sequence(model: PretrainingModel, vocabulary: Vocabulary, ids: Offsets, where: str) -> Offsets:
    """Return a text's tokens between the special ones, if there is one to fill in and the model has room for them."""
    special, size, positions = vocabulary.special, len(ids) + 2, model.config.max_positions
    if special.mask not in ids:
        name = vocabulary.entries[special.mask]
        raise ConfigError(f"{where} has no {name}: write {name} once for each token that is to be filled in")
    if size > positions:
        raise ConfigError(
            f"{where} has {size:,} tokens with the special ones, and the model {positions:,} positions: shorten it"
        )
    return np.concatenate([[special.cls], ids, [special.sep]])


def _infilled(model: PretrainingModel, vocabulary: Vocabulary, text: str, ids: Offsets, top: int) -> Infilled:
    spans = _runs(ids == vocabulary.special.mask)
    mlm, sbo = _log_probabilities(model, ids, spans, len(vocabulary))
    filled = []
    first = 0
    for start, end in spans:
        rows = slice(first, first + end - start)
        filled.append(_span(start, end, mlm[rows], sbo[rows], top))
        first = rows.stop
    return Infilled(text=text, ids=tuple(ids.tolist()), spans=tuple(filled))


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """Return the maximal runs [start, end) of true values; neither end of the flags is true."""
    edges = np.flatnonzero(flags[1:] != flags[:-1]) + 1
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _log_probabilities(
    model: PretrainingModel, ids: Offsets, spans: Sequence[tuple[int, int]], entries: int
) -> tuple[Tensor, Tensor]:
    """Return the log probabilities (M, entries) of M masked tokens by each head, NaN where the boundary head has none."""
    batch, scored = _batch(model, ids, spans)
    with without_dropout(model), torch.inference_mode():
        scores = model.score(batch)
    mlm = _normalised(scores.mlm, entries)
    sbo = torch.full_like(mlm, torch.nan)
    if model.sbo is not None:
        # Tokens beyond the table of offsets keep NaN: the head has never seen such an offset, and any score would be made up.
        sbo[scored] = _normalised(scores.sbo, entries)
    return mlm, sbo


def _normalised(scores: Tensor, entries: int) -> Tensor:
    # Without the padding of the vocabulary, whose scores are of no entry.
    return scores[:, :entries].double().log_softmax(1).cpu()


def _batch(model: PretrainingModel, ids: Offsets, spans: Sequence[tuple[int, int]]) -> tuple[PackedTensors, Tensor]:
    """Return a sequence as a bin whose target slots are its masked tokens, and which of these have an offset in the table, (M,) bool."""
    device = next(model.parameters()).device
    places = [(at, start - 1, end, at - start) for start, end in spans for at in range(start, end)]
    position, left, right, offset = torch.tensor(places, dtype=torch.int32, device=device).T
    scored = offset < model.config.max_span_offset
    row = torch.from_numpy(ids)[None].to(device)
    labels = torch.zeros_like(offset)
    sbo = SboTensors(*(part[scored] for part in (left, right, offset, labels)))
    batch = padded_tensors(row, torch.ones_like(row))
    return batch._replace(mlm_positions=position, mlm_labels=labels, sbo=sbo), scored.cpu()


def _span(start: int, end: int, mlm: Tensor, sbo: Tensor, top: int) -> InfilledSpan:
    tokens = tuple(
        MaskedToken(mlm=_best(by_mlm, top), sbo=None if by_sbo.isnan().any() else _best(by_sbo, top))
        for by_mlm, by_sbo in zip(mlm, sbo, strict=True)
    )
    whole = not sbo.isnan().any()
    return InfilledSpan(
        start=start,
        end=end,
        tokens=tokens,
        mlm=_joined(mlm),
        sbo=_joined(sbo) if whole else None,
        both=_joined(mlm + sbo) if whole else None,
    )


def _best(row: Tensor, top: int) -> tuple[Guess, ...]:
    values, ids = row.topk(top)
    pairs: Any = zip(ids.tolist(), values.tolist(), strict=True)
    return tuple(Guess(id=number, log_probability=value) for number, value in pairs)


def _joined(rows: Tensor) -> Joined:
    # Both heads score tokens apart, so the likeliest span is the likeliest token at each of its positions.
    values, ids = rows.max(1)
    return Joined(ids=tuple(ids.tolist()), log_probability=float(values.sum()))
