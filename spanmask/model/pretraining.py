"""The model that is trained: encoder, heads, and one product of all their rows with the word embedding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.model.config import SpanBertConfig
from spanmask.model.encoder import SpanBertEncoder
from spanmask.model.heads import MlmHead, SpanBoundaryHead, entry_padding
from spanmask.model.inputs import PackedTensors
from spanmask.model.loss import TargetLoss, is_scored_whole, loss_of_rows, target_loss
from spanmask.model.next_sentence import NextSentenceHead


class Scores(NamedTuple):
    """Scores before softmax, of slots without a target too. mlm: (P, W); sbo: (Q, W); nsp: (S, 2); no rows where there is no such head."""

    mlm: Tensor
    sbo: Tensor
    nsp: Tensor


class Rows(NamedTuple):
    """What the heads make of a batch's target slots: (P, E) and (Q, E), still to be multiplied with the word embedding, and scores (S, 2).

    Q and S are 0 where there is no such head.
    """

    mlm: Tensor
    sbo: Tensor
    nsp: Tensor


class PretrainingOutput(NamedTuple):
    """What a step needs of a batch; tensors, so that nothing waits for the device.

    loss: (), with gradient. mlm_sum, sbo_sum, nsp_sum: () summed cross entropy in nats. mlm_correct, sbo_correct, nsp_correct: () int64,
    targets whose best id is the label. mlm_predicted: (P,), sbo_predicted: (Q,) int64 best ids, in slots with a target. All but loss are
    detached.
    """

    loss: Tensor
    mlm_sum: Tensor
    sbo_sum: Tensor
    mlm_correct: Tensor
    sbo_correct: Tensor
    mlm_predicted: Tensor
    sbo_predicted: Tensor
    nsp_sum: Tensor
    nsp_correct: Tensor


class PretrainingModel(nn.Module):
    """An encoder with a head for masked tokens and, as its objective says, for span boundaries and what follows: what training asks of any.

    Attributes
    ----------
    config
        Its shape.
    sbo
        The span boundary head; None where the objective has none.
    nsp
        The head for what follows; likewise.
    packed
        Whether a bin may hold several sequences; else it holds one.
    """

    config: SpanBertConfig
    sbo: SpanBoundaryHead | None
    nsp: NextSentenceHead | None
    packed = True

    def forward(self, batch: PackedTensors, scales: Tensor) -> PretrainingOutput:
        """Return the losses of a batch.

        Parameters
        ----------
        batch
            B bins of L slots, with P and Q target slots.
        scales
            (3,): what `spanmask.model.loss.objective_scales` returns, on any device.

        Raises
        ------
        ConfigError
            Bins are wider than there are positions, or attention cannot be computed as asked.
        """
        mlm, sbo, nsp = self._losses(batch)
        scales = scales.to(mlm.total.device, mlm.total.dtype)
        return PretrainingOutput(
            loss=mlm.total * scales[0] + sbo.total * scales[1] + nsp.total * scales[2],
            mlm_sum=mlm.total.detach(),
            sbo_sum=sbo.total.detach(),
            mlm_correct=mlm.correct,
            sbo_correct=sbo.correct,
            mlm_predicted=mlm.predicted,
            sbo_predicted=sbo.predicted,
            nsp_sum=nsp.total.detach(),
            nsp_correct=nsp.correct,
        )

    def _losses(self, batch: PackedTensors) -> tuple[TargetLoss, TargetLoss, TargetLoss]:
        """Return the losses of all heads: where the compiler fuses them, or on a device, from one product of all rows."""
        sbo_labels = batch.sbo.labels if self.sbo is not None else batch.sbo.labels[:0]
        if is_scored_whole(batch.input_ids):
            scores = self.score(batch)
            nsp = target_loss(scores.nsp, _nsp_labels(batch, scores.nsp))
            return target_loss(scores.mlm, batch.mlm_labels), target_loss(scores.sbo, sbo_labels), nsp
        rows = self._rows(batch)
        words, bias = self._words(), self._bias()
        mlm = loss_of_rows(rows.mlm, words, bias, batch.mlm_labels)
        sbo = loss_of_rows(rows.sbo, words, bias if self.sbo is None else self.sbo.entry_bias(), sbo_labels)
        return mlm, sbo, target_loss(rows.nsp, _nsp_labels(batch, rows.nsp))

    def score(self, batch: PackedTensors) -> Scores:
        """Return the scores of a batch's target slots: of masked tokens, and of what else there is a head for."""
        rows = self._rows(batch)
        if self.sbo is None:
            scores = functional.linear(rows.mlm, self._words(), self._bias())
            return Scores(scores, scores[:0], rows.nsp)
        both = functional.linear(torch.cat([rows.mlm, rows.sbo]), self._words())
        mlm, sbo = torch.split(both, [rows.mlm.shape[0], rows.sbo.shape[0]])
        return Scores(mlm + self._bias(), sbo + self.sbo.entry_bias(), rows.nsp)

    def _rows(self, batch: PackedTensors) -> Rows:
        """Return what the heads make of a batch's target slots."""
        raise NotImplementedError

    def _words(self) -> Tensor:
        """Return the word embedding, (W, E), which rows are multiplied with."""
        raise NotImplementedError

    def _bias(self) -> Tensor:
        """Return what is added to the scores of masked tokens, (W,); the vocabulary's padding never wins by it."""
        raise NotImplementedError


def _nsp_labels(batch: PackedTensors, scores: Tensor) -> Tensor:
    """Return the labels of scores for what follows: none where there are no scores."""
    return batch.mlm_labels[:0] if batch.nsp is None else batch.nsp.labels[: len(scores)]


class SpanBertForPreTraining(PretrainingModel):
    """BERT's encoder with its heads.

    `forward` has no data-dependent shape and no host synchronisation: `torch.compile` takes it whole (``fullgraph``, ``dynamic=False``).
    """

    padding: Tensor

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpanBertEncoder(config)
        self.mlm = MlmHead(config)
        self.sbo = SpanBoundaryHead.of(config) if config.objective.sbo else None
        self.nsp = NextSentenceHead(config) if config.objective.nsp else None
        self.register_buffer("padding", entry_padding(config.padded_vocab, config.vocab_size), persistent=False)

    def _rows(self, batch: PackedTensors) -> Rows:
        hidden: Tensor = self.encoder(batch)
        mlm: Tensor = self.mlm(hidden, batch.mlm_positions)
        sbo = mlm[:0] if self.sbo is None else self.sbo.rows(hidden, batch.sbo)
        if self.nsp is None or batch.nsp is None:
            return Rows(mlm, sbo, mlm.new_zeros(0, 2))
        return Rows(mlm, sbo, self.nsp(hidden, batch.nsp.positions))

    def _words(self) -> Tensor:
        return self.encoder.embeddings.words.weight

    def _bias(self) -> Tensor:
        return self.mlm.bias + self.padding.to(self.mlm.bias.dtype)
