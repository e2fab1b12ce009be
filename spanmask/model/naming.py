"""The names that Hugging Face and the paper's code give to a model's tensors, and ours: state dictionaries across.

Theirs keep queries, keys and values apart and end the vocabulary at V; ours have them in one tensor and pad it with zeros. Layer norms are
called gamma and beta in BERT's first checkpoints and in the paper's boundary head, weight and bias since.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spanmask.model.config import SpanBertConfig

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

_EMBEDDINGS = {
    "bert.embeddings.word_embeddings.weight": "encoder.embeddings.words.weight",
    "bert.embeddings.position_embeddings.weight": "encoder.embeddings.positions.weight",
    "bert.embeddings.token_type_embeddings.weight": "encoder.embeddings.types.weight",
}
#: Modules outside layers, with a weight and a bias.
_MODULES = {
    "bert.embeddings.LayerNorm": "encoder.embeddings.norm",
    "cls.predictions.transform.dense": "mlm.transform.dense",
    "cls.predictions.transform.LayerNorm": "mlm.transform.norm",
}
#: Modules of a layer, with a weight and a bias.
_LAYER = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "output_norm",
}
_MLM_BIAS = {"cls.predictions.bias": "mlm.bias"}
#: For each tensor of our boundary head, its name in the paper's code.
BOUNDARY_NAMES: dict[str, tuple[str, ...]] = {
    "sbo.offsets.weight": ("cls.pair_target_predictions.position_embeddings.weight",),
    "sbo.first.dense.weight": ("cls.pair_target_predictions.mlp_layer_norm.linear1.weight",),
    "sbo.first.dense.bias": ("cls.pair_target_predictions.mlp_layer_norm.linear1.bias",),
    "sbo.first.norm.weight": ("cls.pair_target_predictions.mlp_layer_norm.layer_norm1.gamma",),
    "sbo.first.norm.bias": ("cls.pair_target_predictions.mlp_layer_norm.layer_norm1.beta",),
    "sbo.second.dense.weight": ("cls.pair_target_predictions.mlp_layer_norm.linear2.weight",),
    "sbo.second.dense.bias": ("cls.pair_target_predictions.mlp_layer_norm.linear2.bias",),
    "sbo.second.norm.weight": ("cls.pair_target_predictions.mlp_layer_norm.layer_norm2.gamma",),
    "sbo.second.norm.bias": ("cls.pair_target_predictions.mlp_layer_norm.layer_norm2.beta",),
    "sbo.bias": ("cls.pair_target_predictions.bias",),
}
#: Ours whose first dimension is the padded vocabulary.
_PADDED = ("encoder.embeddings.words.weight", "mlm.bias", "sbo.bias")


def bert_names(config: SpanBertConfig) -> dict[str, tuple[str, ...]]:
    """Return, for each tensor of ours that BERT has, the names of theirs that it is made of, one after another."""
    names: dict[str, tuple[str, ...]] = {ours: (theirs,) for theirs, ours in (_EMBEDDINGS | _MLM_BIAS).items()}
    modules: dict[str, tuple[str, ...]] = {ours: (theirs,) for theirs, ours in _MODULES.items()}
    for layer in range(config.layers):
        theirs, ours = f"bert.encoder.layer.{layer}", f"encoder.layers.{layer}"
        modules |= {f"{ours}.{its}": (f"{theirs}.{name}",) for name, its in _LAYER.items()}
        modules[f"{ours}.attention.qkv"] = tuple(
            f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")
        )
    for module, parts in modules.items():
        names |= {f"{module}.{part}": tuple(f"{name}.{part}" for name in parts) for part in ("weight", "bias")}
    return names


def their_shapes(shapes: Shapes, names: dict[str, tuple[str, ...]], vocab_size: int) -> Shapes:
    """Return the shapes of the named tensors of theirs, whose vocabulary has no padding."""
    theirs: Shapes = {}
    for ours, parts in names.items():
        first, *others = shapes[ours]
        rows = vocab_size if ours in _PADDED else first // len(parts)
        theirs |= dict.fromkeys(parts, (rows, *others))
    return theirs


def to_theirs(state: State, names: dict[str, tuple[str, ...]], config: SpanBertConfig) -> State:
    """Return the named tensors of our state under their names, as float32 on the host, the vocabulary's padding cut off."""
    theirs: State = {}
    for ours, parts in names.items():
        tensor = state[ours].detach()
        tensor = tensor[: config.vocab_size] if ours in _PADDED else tensor
        for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
            theirs[part] = piece.to("cpu", torch.float32)
    return theirs


def to_ours(theirs: State, names: dict[str, tuple[str, ...]], config: SpanBertConfig, *, dropped: int) -> State:
    """Return those of the named tensors that their state holds whole, under our names, as float32, the vocabulary padded with zeros.

    dropped: rows of theirs that end the vocabulary and belong to no entry.
    """
    state: State = {}
    for ours, parts in names.items():
        if all(part in theirs for part in parts):
            tensor = torch.cat([theirs[part].to(torch.float32) for part in parts])
            state[ours] = _pad(tensor[: len(tensor) - dropped], config) if ours in _PADDED else tensor
    return state


def _pad(tensor: Tensor, config: SpanBertConfig) -> Tensor:
    padding = tensor.new_zeros(config.padded_vocab - config.vocab_size, *tensor.shape[1:])
    return torch.cat([tensor, padding])


def modern_names(theirs: State) -> State:
    """Return a state of any BERT with today's names: prefixed ``bert.`` throughout, norms with weight and bias, one MLM bias.

    The boundary head's tensors keep theirs, gamma and beta.
    """
    state: State = {}
    bare = not any(name.startswith("bert.") for name in theirs)
    for name, tensor in theirs.items():
        new = f"bert.{name}" if bare and name.split(".")[0] in ("embeddings", "encoder", "pooler") else name
        for old, part in (("gamma", "weight"), ("beta", "bias")):
            new = new.replace(f"LayerNorm.{old}", f"LayerNorm.{part}")
        state[new] = tensor
    decoder = state.pop("cls.predictions.decoder.bias", None)
    if decoder is not None:
        state.setdefault("cls.predictions.bias", decoder)
    return state
