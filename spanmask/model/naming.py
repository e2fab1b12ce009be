"""The names that Hugging Face and the paper's code give to a model's tensors, and ours: state dictionaries across.

Theirs keep queries, keys and values apart and end the vocabulary at V; ours have them in one tensor and pad it with zeros. Layer norms are
called gamma and beta in BERT's first checkpoints and in the paper's boundary head, weight and bias since.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from spanmask.model.config import SpanBertConfig

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
#: For each tensor of ours, the names of theirs that it is made of, one after another.
Names = dict[str, tuple[str, ...]]

#: Where a token of the second part of a pair differs from one of the first.
TOKEN_TYPES = "encoder.embeddings.types.weight"
_EMBEDDINGS: Names = {
    "encoder.embeddings.words.weight": ("bert.embeddings.word_embeddings.weight",),
    "encoder.embeddings.positions.weight": ("bert.embeddings.position_embeddings.weight",),
    TOKEN_TYPES: ("bert.embeddings.token_type_embeddings.weight",),
}
#: Modules of the MLM head, with a weight and a bias.
_MLM: Names = {
    "mlm.transform.dense": ("cls.predictions.transform.dense",),
    "mlm.transform.norm": ("cls.predictions.transform.LayerNorm",),
}
#: Modules of a layer, with a weight and a bias.
_LAYER = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "output_norm",
}
_MLM_BIAS: Names = {"mlm.bias": ("cls.predictions.bias",)}
#: What is computed of a sequence's first state, and the heads of fine-tuning.
POOLER_NAMES: Names = {f"pooler.dense.{part}": (f"bert.pooler.dense.{part}",) for part in ("weight", "bias")}
SPAN_NAMES: Names = {f"head.dense.{part}": (f"qa_outputs.{part}",) for part in ("weight", "bias")}
NSP_NAMES: Names = {f"nsp.{ours}": theirs for ours, theirs in POOLER_NAMES.items()} | {
    f"nsp.dense.{part}": (f"cls.seq_relationship.{part}",) for part in ("weight", "bias")
}
CLASS_NAMES: Names = {f"head.dense.{part}": (f"classifier.{part}",) for part in ("weight", "bias")}
#: For each tensor of our boundary head, its name in the paper's code.
BOUNDARY_NAMES: Names = {
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
#: The boundary head's table of offsets: its shape is what the head has beside the encoder's.
OFFSETS = BOUNDARY_NAMES["sbo.offsets.weight"][0]
#: What is stored again in some files: both heads score with the word embedding.
TIED = frozenset(f"cls.{head}.decoder.weight" for head in ("predictions", "pair_target_predictions"))
#: What the paper's code puts before the names of a model that it trained.
_FAIRSEQ = "decoder."
_BOUNDARY_NORM = re.compile(r"(\.mlp_layer_norm\.layer_norm[12])\.\w+")
#: Ours whose first dimension is the padded vocabulary.
_PADDED = ("encoder.embeddings.words.weight", "mlm.bias", "sbo.bias")


def bert_names(config: SpanBertConfig) -> Names:
    """Return the names of the encoder and the MLM head."""
    return encoder_names(config) | _with_parts(_MLM) | _MLM_BIAS


def encoder_names(config: SpanBertConfig) -> Names:
    """Return the names of the encoder."""
    modules: Names = {"encoder.embeddings.norm": ("bert.embeddings.LayerNorm",)}
    for layer in range(config.layers):
        theirs, ours = f"bert.encoder.layer.{layer}", f"encoder.layers.{layer}"
        modules |= {f"{ours}.{its}": (f"{theirs}.{name}",) for name, its in _LAYER.items()}
        modules[f"{ours}.attention.qkv"] = tuple(
            f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")
        )
    return _EMBEDDINGS | _with_parts(modules)


def _with_parts(modules: Names) -> Names:
    """Return the names of modules' weights and biases."""
    return {
        f"{module}.{part}": tuple(f"{name}.{part}" for name in names)
        for module, names in modules.items()
        for part in ("weight", "bias")
    }


def their_shapes(shapes: Shapes, names: Names, vocab_size: int) -> Shapes:
    """Return the shapes of the named tensors of theirs, whose vocabulary has no padding."""
    theirs: Shapes = {}
    for ours, parts in names.items():
        first, *others = shapes[ours]
        rows = vocab_size if ours in _PADDED else first // len(parts)
        theirs |= dict.fromkeys(parts, (rows, *others))
    return theirs


def to_theirs(state: State, names: Names, config: SpanBertConfig) -> State:
    """Return the named tensors of our state under their names, as float32 on the host, the vocabulary's padding cut off."""
    theirs: State = {}
    for ours, parts in names.items():
        tensor = state[ours].detach()
        tensor = tensor[: config.vocab_size] if ours in _PADDED else tensor
        for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
            theirs[part] = piece.to("cpu", torch.float32)
    return theirs


def to_ours(theirs: State, names: Names, config: SpanBertConfig, *, dropped: int) -> State:
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

    The boundary head's tensors have theirs, gamma and beta, whatever became of them on the way to transformers.
    """
    state: State = {}
    trained = any(name.startswith(f"{_FAIRSEQ}bert.") for name in theirs)
    bare = not trained and not any(name.startswith("bert.") for name in theirs)
    for name, tensor in theirs.items():
        new = name.removeprefix(_FAIRSEQ) if trained else name
        new = f"bert.{new}" if bare and new.split(".")[0] in ("embeddings", "encoder", "pooler") else new
        for old, part in (("gamma", "weight"), ("beta", "bias")):
            new = new.replace(f"LayerNorm.{old}", f"LayerNorm.{part}")
            new = _BOUNDARY_NORM.sub(rf"\1.{old}", new) if new.endswith(f".{part}") else new
        state[new] = tensor
    decoder = state.pop("cls.predictions.decoder.bias", None)
    if decoder is not None:
        state.setdefault("cls.predictions.bias", decoder)
    return state
