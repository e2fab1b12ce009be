"""Whether a masked language model of transformers can be trained here, and how its batches may be made: tried on a few tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spanmask.errors import ConfigError
from spanmask.model.backbone import BackboneForPreTraining, takes
from spanmask.model.config import Attention, SpanBertConfig
from spanmask.model.dropout import without_dropout
from spanmask.model.inputs import PackedTensors, SboTensors, padded_tensors

#: The longest sequence that is tried, in tokens; of windows beyond that nothing is known.
_LONGEST = 600
#: How far scores may be from what is expected, as a share of the largest: float32 is 100 times closer, and one neighbour more is further.
_CLOSE = 1e-4


class Trial:
    """What a model gives for three short sequences alone, as transformers computes it; made before anything of it is changed.

    Raises
    ------
    ConfigError
        A part that training needs is missing.
    """

    def __init__(self, backbone: Any, config: SpanBertConfig, where: str) -> None:
        self._where, self._name = where, type(backbone).__name__
        self._require_parts(backbone)
        self._sequences = _sequences(backbone, config)
        try:
            with without_dropout(backbone), torch.no_grad():
                alone = [
                    backbone(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]) for ids in self._sequences
                ]
        except Exception as error:
            raise self._missing(
                f"a forward pass that ids and an attention mask are enough for ({_named(error)})"
            ) from error
        self._expected = torch.cat([output.logits[0, :, : config.vocab_size] for output in alone])

    def _require_parts(self, backbone: Any) -> None:
        inputs, outputs = backbone.get_input_embeddings(), backbone.get_output_embeddings()
        if not takes(backbone, "attention_mask"):
            raise self._missing("an attention mask: its encoder takes none, so that padding would be seen")
        if not isinstance(outputs, torch.nn.Linear):
            raise self._missing("an output embedding, which scores are made with")
        if outputs.weight is not inputs.weight:
            raise self._missing(
                "an output embedding that is tied to the input embedding, which both heads are trained with: "
                "set tie_word_embeddings to true"
            )

    def _missing(self, part: str) -> ConfigError:
        return ConfigError(f"{self._where}: {self._name} lacks {part}")

    def require_rows(self, model: BackboneForPreTraining) -> None:
        """Refuse a model whose scores are not what its head's rows and the word embedding make.

        Raises
        ------
        ConfigError
            It is one.
        """
        if problem := self._compare(
            model, [padded_tensors(ids[None], torch.ones_like(ids)[None]) for ids in self._sequences]
        ):
            raise self._missing(
                f"a head that ends in a product with its word embedding ({problem}): give another architecture, such as RoBERTa's"
            )
        width = max(map(len, self._sequences))
        rows = [torch.nn.functional.pad(ids, (0, width - len(ids))) for ids in self._sequences]
        mask = torch.stack([(torch.arange(width) < len(ids)).long() for ids in self._sequences])
        if problem := self._compare(model, [padded_tensors(torch.stack(rows), mask)]):
            raise self._missing(
                f"an encoder for which padding is nothing ({problem}): give another architecture, such as RoBERTa's"
            )

    def ways_of(self, model: BackboneForPreTraining) -> tuple[tuple[Attention, ...], str]:
        """Return how the model can be told where sequences of a bin end, and why it cannot, if so."""
        if not takes(model.backbone, "position_ids"):
            return (), "its encoder takes no position_ids"
        if getattr(model.backbone.config, "attention_type", "") == "block_sparse":
            return (
                (),
                "attention of long sequences is block-sparse, and a few tokens do not tell what a mask is to that",
            )
        ways, problems = [], []
        for way in (Attention.UNPADDED, Attention.SDPA):
            model.ways = (way,)
            if way is Attention.UNPADDED and not model.backbone._supports_attention_backend:
                continue
            problem = self._compare(model, [_one_bin(self._sequences)])
            problems.append(problem)
            ways += [] if problem else [way]
        model.ways = ()
        # Without a mask there is no way on devices.
        return (tuple(ways), "") if Attention.SDPA in ways else ((), f"given a block mask: {problems[-1]}")

    def _compare(self, model: BackboneForPreTraining, batches: Sequence[PackedTensors]) -> str:
        """Return how the model's scores of all tokens, batch by batch, differ from those expected; empty where they do not."""
        try:
            with without_dropout(model), torch.no_grad():
                scores = torch.cat([model.score(_asking_all(batch)).mlm for batch in batches])[
                    :, : model.config.vocab_size
                ]
        except Exception as error:
            return _named(error)
        if scores.shape != self._expected.shape:
            return f"scores are {tuple(scores.shape)}, expected {tuple(self._expected.shape)}"
        apart = float((scores - self._expected).abs().max() / self._expected.abs().max())
        return "" if apart <= _CLOSE else f"scores are {apart:.2%} of the largest apart"


def _asking_all(batch: PackedTensors) -> PackedTensors:
    """Return a batch all of whose tokens are targets."""
    places = torch.nonzero(batch.sequence_index.flatten(), as_tuple=True)[0]
    return batch._replace(mlm_positions=places, mlm_labels=torch.zeros_like(places))


def _named(error: Exception) -> str:
    """Return what was raised in few words."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said:.100}" if said else type(error).__name__


def wrapped(backbone: Any, config: SpanBertConfig, where: str) -> tuple[BackboneForPreTraining, str]:
    """Return a model of transformers ready to be trained, and why its batches are as they are.

    where: what it is of, for messages.

    Raises
    ------
    ConfigError
        A part of it is missing.
    """
    trial = Trial(backbone, config, where)
    model = BackboneForPreTraining(backbone, config)
    trial.require_rows(model)
    model.ways, why = trial.ways_of(model)
    name = type(backbone).__name__
    if not model.ways:
        return (
            model,
            f"batches are bucketed, a sequence a row: {name} cannot be told where sequences of a bin end ({why})",
        )
    partwise = ", on CPU by attention sequence by sequence" if Attention.UNPADDED in model.ways else ""
    return model, f"batches are packed: {name} is told by position ids and a block mask where sequences end{partwise}"


def _sequences(backbone: Any, config: SpanBertConfig) -> list[Tensor]:
    """Return three sequences of ids, the longest one longer than a window; drawn apart from torch's global generator."""
    types = getattr(backbone.config, "layer_types", None) or ()
    window = int(backbone.config.sliding_window) if "sliding_attention" in types else 0
    longest = min(2 * window + 20, _LONGEST, config.max_positions)
    generator = torch.Generator().manual_seed(0)
    padding = getattr(backbone.config, "pad_token_id", None)
    known = torch.tensor([entry for entry in range(min(config.vocab_size, 1000)) if entry != padding])
    return [known[torch.randint(len(known), (min(n, longest),), generator=generator)] for n in (5, longest, 7)]


def _one_bin(sequences: Sequence[Tensor]) -> PackedTensors:
    """Return sequences in a bin, one after another, with a slot of padding behind them."""
    none = torch.empty(0, dtype=torch.int64)
    lengths = [len(ids) for ids in sequences] + [1]
    index = torch.repeat_interleave(torch.tensor([*range(1, len(sequences) + 1), 0]), torch.tensor(lengths))
    return PackedTensors(
        input_ids=torch.cat([*sequences, sequences[0][:1]])[None],
        sequence_index=index[None],
        positions=torch.cat([torch.arange(length) for length in lengths])[None],
        cu_seqlens=torch.tensor([0, *lengths]).cumsum(0).int(),
        mlm_positions=none,
        mlm_labels=none,
        sbo=SboTensors(none, none, none, none),
    )
