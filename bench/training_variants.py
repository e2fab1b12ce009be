"""The contestants of `training` by name, and what they train on: descriptions only, without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

#: Models that are transformers' own on both sides, as its configuration has their sizes, and the slots of their bins.
BACKBONES: dict[str, dict[str, Any]] = {
    "modernbert": {
        "model_type": "modernbert",
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 384,
        "local_attention": 128,
    }
}
BACKBONE_SLOTS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is trained on and how much a step is. dataset: its folder; slots, bins, accumulate: of a step; steps: different ones at most."""

    dataset: str
    model: str
    slots: int
    bins: int
    accumulate: int
    steps: int
    device: str
    threads: int
    seed: int = 7

    def to_json(self) -> dict[str, Any]:
        """Return the values, but for the folder."""
        return {name: value for name, value in asdict(self).items() if name != "dataset"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the peer trains. masked_rows: the head over labelled tokens only. compiled: by torch.compile, in one constant shape."""

    masked_rows: bool = False
    compiled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A contestant. peer: transformers' way, None for spanmask's. kernel: of attention, one of auto, varlen, sdpa and cudnn.

    resident: batches lie on the device from the start, so that nothing is loaded.
    """

    objective: str = "mlm"
    compiled: bool = False
    kernel: str = "auto"
    resident: bool = False
    peer: Way | None = None


CPU_VARIANTS = {
    "ours, mlm": Variant(),
    "ours, mlm+sbo": Variant(objective="mlm+sbo"),
    "hugging face": Variant(peer=Way()),
    "hugging face, masked rows": Variant(peer=Way(masked_rows=True)),
}
GPU_VARIANTS = {
    "hugging face": Variant(peer=Way()),
    "hugging face, tuned and compiled": Variant(peer=Way(compiled=True), compiled=True),
    "ours, eager, mlm+sbo": Variant(objective="mlm+sbo"),
    "ours, varlen, mlm": Variant(kernel="varlen", compiled=True),
    "ours, varlen, mlm+sbo": Variant(objective="mlm+sbo", kernel="varlen", compiled=True),
    "ours, cuDNN SDPA, mlm+sbo": Variant(objective="mlm+sbo", kernel="cudnn", compiled=True),
    "ours, data on the device, mlm+sbo": Variant(objective="mlm+sbo", kernel="varlen", compiled=True, resident=True),
}
VARIANTS = {"cpu": CPU_VARIANTS, "cuda": GPU_VARIANTS}
