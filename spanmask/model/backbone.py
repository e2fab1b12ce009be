"""A masked language model of transformers in the place of our own: its encoder and its head, our loss, and the span boundary head.

Its own forward pass runs, changed in two places. Between encoder and head only masked tokens pass, and the product that the head ends in,
with the word embedding, is left to our loss. Whether a model is one that this can be done with, and whether it keeps sequences of a pack
apart, is tried on a few tokens, against what it computes as it is: names and configurations do not tell.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from spanmask.errors import ConfigError
from spanmask.model.attention import Neighbours, neighbours_of
from spanmask.model.backbone_attention import NAME
from spanmask.model.config import Attention, Objective, SpanBertConfig
from spanmask.model.heads import SpanBoundaryHead, entry_padding
from spanmask.model.inputs import PackedTensors, SboTensors
from spanmask.model.pretraining import PretrainingModel, Rows


class BackboneForPreTraining(PretrainingModel):
    """A masked language model of transformers with our losses, and a head for span boundaries beside it.

    Parameters
    ----------
    backbone
        The model; what it is called for from here on is only the rows of its head.
    config
        Its shape, as `spanmask.model.backbone_folder.shape_of` tells it.

    Attributes
    ----------
    ways
        How several sequences of a bin may be kept apart: ``unpadded``, ``sdpa``, both or none.
    tied
        Names of parameters that are others' too, with the first name of each: a state has them once.
    """

    padding: Tensor

    def __init__(self, backbone: Any, config: SpanBertConfig) -> None:
        super().__init__()
        self.config, self.backbone = config, backbone
        self.ways: tuple[Attention, ...] = ()
        rows, width = backbone.get_input_embeddings().weight.shape
        self.sbo = self.nsp = None
        if config.objective.nsp:
            told = Objective.with_heads(sbo=config.objective.sbo, nsp=False)
            raise ConfigError(
                f"objective is {config.objective}, and with backbone there is no head for what follows: give {told}, or a BERT as "
                "init_from instead",
                options=("objective", "backbone", "init_from"),
            )
        if config.objective.sbo:
            self.sbo = SpanBoundaryHead(
                config.hidden,
                rows,
                width,
                vocab_size=config.vocab_size,
                max_span_offset=config.max_span_offset,
                span_offset_dim=config.span_offset_dim,
                layer_norm_eps=config.layer_norm_eps,
                initializer_range=config.initializer_range,
            )
        self.register_buffer("padding", entry_padding(rows, config.vocab_size), persistent=False)
        self._own_attention = backbone.config._attn_implementation
        self._first = first_position(backbone)
        self._types = getattr(backbone.config, "type_vocab_size", 0) > 1 and takes(backbone, "token_type_ids")
        self._asked: Tensor | None = None
        self._hidden: Tensor | None = None
        backbone.base_model.register_forward_hook(self._narrow)
        backbone.get_output_embeddings().forward = _as_they_are
        self.tied = _tied_names(self)
        self.register_state_dict_post_hook(_leave_out_tied)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_in_tied)  # type: ignore[no-untyped-call]

    @property
    def packed(self) -> bool:  # type: ignore[override] # of our own model it is a constant
        """Whether a bin may hold several sequences."""
        return bool(self.ways)

    def _rows(self, batch: PackedTensors) -> Rows:
        given, places = self._given(batch)
        mlm_positions, sbo = batch.mlm_positions, batch.sbo
        if places is not None:
            mlm_positions = places[mlm_positions]
            sbo = SboTensors(places[sbo.left], places[sbo.right], sbo.offsets, sbo.labels)
        self._asked = mlm_positions
        try:
            rows = self.backbone(**given, return_dict=True).logits
        finally:
            hidden, self._asked, self._hidden = self._hidden, None, None
        mlm: Tensor = rows.flatten(0, -2)
        boundary = mlm[:0] if self.sbo is None or hidden is None else self.sbo.rows(hidden, sbo)
        return Rows(mlm, boundary, mlm.new_zeros(0, 2))

    def _words(self) -> Tensor:
        words: Tensor = self.backbone.get_input_embeddings().weight
        return words

    def _bias(self) -> Tensor:
        bias: Tensor | None = self.backbone.get_output_embeddings().bias
        padding = self.padding.to(self._words().dtype)
        return padding if bias is None else bias + padding

    def _given(self, batch: PackedTensors) -> tuple[dict[str, Any], Tensor | None]:
        """Return what the model is called with, and for each of the B·L slots its place among the states, None where it is the same."""
        ids, index = batch.input_ids.long(), batch.sequence_index
        way = self._way(ids.device)
        self.backbone.config._attn_implementation = NAME if way is Attention.UNPADDED else self._own_attention
        by_slot = {"input_ids": ids}
        # Encoders without types of their own tell the parts of a pair by the separator between them.
        if batch.token_types is not None and self._types:
            by_slot["token_type_ids"] = batch.token_types.long()
        if way is None:
            return {**by_slot, "attention_mask": (index > 0).long()}, None
        by_slot["position_ids"] = batch.positions.long() + self._first
        if way is Attention.SDPA:
            return {**by_slot, "attention_mask": self._mask(index)}, None
        neighbours = _never_empty(neighbours_of(batch, Attention.UNPADDED, self._words().dtype))
        tokens = neighbours.tokens
        assert tokens is not None  # noqa: S101 - it is what this way computes
        places = torch.zeros(ids.numel(), dtype=torch.int64, device=ids.device)
        places[tokens] = torch.arange(len(tokens), device=ids.device)
        flat = {name: values.flatten()[tokens][None] for name, values in by_slot.items()}
        return {**flat, "neighbours": neighbours}, places

    def _way(self, device: torch.device) -> Attention | None:
        """Return how sequences of a bin are kept apart; None where each has its own."""
        if device.type == "cpu" and Attention.UNPADDED in self.ways:
            return Attention.UNPADDED
        return Attention.SDPA if Attention.SDPA in self.ways else None

    def _mask(self, index: Tensor) -> Any:
        """Return a mask of slots that attend to each other, (B, 1, L, L), or one for layers of each kind where some have a window."""
        # Padding has index 0 and so attends to padding, never to a sequence.
        whole = index[:, None, :, None] == index[:, None, None, :]
        if "sliding_attention" not in (getattr(self.backbone.config, "layer_types", None) or ()):
            return self._as_asked(whole)
        places = torch.arange(index.shape[1], device=index.device)
        near = (places[:, None] - places).abs() <= self.backbone.config.sliding_window
        return {"full_attention": self._as_asked(whole), "sliding_attention": self._as_asked(whole & near)}

    def _as_asked(self, mask: Tensor) -> Tensor:
        if self._own_attention != "eager":
            return mask
        dtype = self._words().dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)

    def _narrow(self, _module: nn.Module, _given: Any, output: Any) -> Any:
        """Keep the encoder's states, and hand on those of the tokens that were asked for, (1, P, H)."""
        if self._asked is not None:
            self._hidden = output.last_hidden_state.flatten(0, 1)
            output.last_hidden_state = self._hidden.index_select(0, self._asked)[None]
        return output


def first_position(backbone: Any) -> int:
    """Return the position of a sequence's first token: RoBERTa and its kin count from the one behind the padding id."""
    embeddings: Any = getattr(backbone.base_model, "embeddings", None)
    if not hasattr(embeddings, "create_position_ids_from_input_ids"):
        return 0
    return int(embeddings.padding_idx) + 1


def takes(backbone: Any, name: str) -> bool:
    """Return whether the encoder can be called with a thing of this name."""
    return name in inspect.signature(backbone.base_model.forward).parameters


def _as_they_are(rows: Tensor) -> Tensor:
    return rows


def _tied_names(model: nn.Module) -> dict[str, str]:
    """Return the names of parameters that are others' too, with the first name of each."""
    first: dict[int, str] = {}
    tied = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            tied[name] = first[id(parameter)]
        first.setdefault(id(parameter), name)
    return tied


def _leave_out_tied(model: BackboneForPreTraining, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for name in model.tied:
        del state[prefix + name]


def _put_in_tied(model: BackboneForPreTraining, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, first in model.tied.items():
        if prefix + first in state:
            state[prefix + name] = state[prefix + first]


def _never_empty(neighbours: Neighbours) -> Neighbours:
    """Return neighbours with a token at least, the first slot's, for ranks whose bins are all empty."""
    tokens = neighbours.tokens
    if tokens is None or len(tokens):
        return neighbours
    return neighbours._replace(tokens=tokens.new_zeros(1), parts=((1, None),))
