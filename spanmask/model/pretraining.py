"""The model that is trained: encoder, heads, and one product of all their rows with the word embedding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.model.config import Objective, SpanBertConfig
from spanmask.model.encoder import SpanBertEncoder
from spanmask.model.heads import MlmHead, SpanBoundaryHead, entry_padding
from spanmask.model.inputs import PackedTensors
from spanmask.model.loss import TargetLoss, is_scored_whole, loss_of_rows, target_loss


class Scores(NamedTuple):
    """Scores before softmax, of slots without a target too. mlm: (P, W); sbo: (Q, W), Q being 0 under objective ``mlm``."""

    mlm: Tensor
    sbo: Tensor


class PretrainingOutput(NamedTuple):
    """What a step needs of a batch; tensors, so that nothing waits for the device.

    loss: (), with gradient. mlm_sum, sbo_sum: () summed cross entropy in nats. mlm_correct, sbo_correct: () int64, targets whose best id is
    the label. mlm_predicted: (P,), sbo_predicted: (Q,) int64 best ids, in slots with a target. All but loss are detached.
    """

    loss: Tensor
    mlm_sum: Tensor
    sbo_sum: Tensor
    mlm_correct: Tensor
    sbo_correct: Tensor
    mlm_predicted: Tensor
    sbo_predicted: Tensor


class PretrainingModel(nn.Module):
    """An encoder with a head for masked tokens and, under objective ``mlm+sbo``, one for span boundaries: what training asks of any.

    Attributes
    ----------
    config
        Its shape.
    sbo
        The span boundary head; None under objective ``mlm``.
    packed
        Whether a bin may hold several sequences; else it holds one.
    """

    config: SpanBertConfig
    sbo: SpanBoundaryHead | None
    packed = True

    def forward(self, batch: PackedTensors, scales: Tensor) -> PretrainingOutput:
        """Return the losses of a batch.

        Parameters
        ----------
        batch
            B bins of L slots, with P and Q target slots.
        scales
            (2,): what `spanmask.model.loss.objective_scales` returns, on any device.

        Raises
        ------
        ConfigError
            Bins are wider than there are positions, or attention cannot be computed as asked.
        """
        mlm, sbo = self._losses(batch)
        scales = scales.to(mlm.total.device, mlm.total.dtype)
        return PretrainingOutput(
            loss=mlm.total * scales[0] + sbo.total * scales[1],
            mlm_sum=mlm.total.detach(),
            sbo_sum=sbo.total.detach(),
            mlm_correct=mlm.correct,
            sbo_correct=sbo.correct,
            mlm_predicted=mlm.predicted,
            sbo_predicted=sbo.predicted,
        )

    def _losses(self, batch: PackedTensors) -> tuple[TargetLoss, TargetLoss]:
        """Return the losses of both heads: where the compiler fuses them, or on a device, from one product of all rows."""
        sbo_labels = batch.sbo.labels if self.sbo is not None else batch.sbo.labels[:0]
        if is_scored_whole(batch.input_ids):
            scores = self.score(batch)
            return target_loss(scores.mlm, batch.mlm_labels), target_loss(scores.sbo, sbo_labels)
        mlm_rows, sbo_rows = self._rows(batch)
        words, bias = self._words(), self._bias()
        mlm = loss_of_rows(mlm_rows, words, bias, batch.mlm_labels)
        return mlm, loss_of_rows(sbo_rows, words, bias if self.sbo is None else self.sbo.entry_bias(), sbo_labels)

    def score(self, batch: PackedTensors) -> Scores:
        """Return the scores of a batch's target slots: of masked tokens, and of span boundaries if there is a head for them."""
        mlm_rows, sbo_rows = self._rows(batch)
        if self.sbo is None:
            scores = functional.linear(mlm_rows, self._words(), self._bias())
            return Scores(scores, scores[:0])
        both = functional.linear(torch.cat([mlm_rows, sbo_rows]), self._words())
        mlm, sbo = torch.split(both, [mlm_rows.shape[0], sbo_rows.shape[0]])
        return Scores(mlm + self._bias(), sbo + self.sbo.entry_bias())

    def _rows(self, batch: PackedTensors) -> tuple[Tensor, Tensor]:
        """Return what both heads make of a batch's target slots, (P, E) and (Q, E); Q is 0 where there is no head for them."""
        raise NotImplementedError

    def _words(self) -> Tensor:
        """Return the word embedding, (W, E), which rows are multiplied with."""
        raise NotImplementedError

    def _bias(self) -> Tensor:
        """Return what is added to the scores of masked tokens, (W,); the vocabulary's padding never wins by it."""
        raise NotImplementedError


class SpanBertForPreTraining(PretrainingModel):
    """BERT's encoder with both heads.

    `forward` has no data-dependent shape and no host synchronisation: `torch.compile` takes it whole (``fullgraph``, ``dynamic=False``).
    """

    padding: Tensor

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpanBertEncoder(config)
        self.mlm = MlmHead(config)
        self.sbo = SpanBoundaryHead.of(config) if config.objective is Objective.MLM_SBO else None
        self.register_buffer("padding", entry_padding(config.padded_vocab, config.vocab_size), persistent=False)

    def _rows(self, batch: PackedTensors) -> tuple[Tensor, Tensor]:
        hidden: Tensor = self.encoder(batch)
        mlm: Tensor = self.mlm(hidden, batch.mlm_positions)
        return mlm, mlm[:0] if self.sbo is None else self.sbo.rows(hidden, batch.sbo)

    def _words(self) -> Tensor:
        return self.encoder.embeddings.words.weight

    def _bias(self) -> Tensor:
        return self.mlm.bias + self.padding.to(self.mlm.bias.dtype)
