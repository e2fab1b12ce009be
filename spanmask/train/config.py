"""Everything that decides a run, but for its datasets and ranks; no torch.

Defaults are preset ``paper``: SpanBERT's schedule (Joshi et al. 2020, arXiv 1907.10529, §4.2 and appendix B). "Command" is the one printed
with the released code, which is not what the paper says throughout:

====================  ==================  ============================  ====================================================================
value                 paper               command                       here, and why
====================  ==================  ============================  ====================================================================
model                 BERT-large          large                         ``base``: what one device trains in days; ``large`` on request
steps, warm-up        2.4M, 10k           2.4M, 10k                     as the paper
peak learning rate    1e-4, linear to 0   1e-4, linear to 0             as the paper; 0 would be reached one step after the last
betas                 0.9, 0.999          0.9, 0.999                    as the paper
epsilon               1e-8                1e-8 on gradients ≈ 1/600     1e-6: the released trainer divides gradients by the token count once
                                          of the mean loss's            more, so that its 1e-8 acts as 6e-6 would on the mean loss
weight decay          0.1, decoupled      0.01, of all parameters       0.1, of all parameters (``decay = "matrices"``: no biases, norms)
clipping              not mentioned       1.0, never reached: see       0, which is off
                                          epsilon
batch                 256 × 512 tokens    32 devices × 4,096 tokens     256 bins of 512 slots, packed: the same tokens
dropout               0.1, attention too  0.1, attention too            0.1; so attention is ``sdpa``, the other kernel having no dropout
masks                 new each epoch      new each epoch                ``fresh``
SBO targets           every masked token  the first 15 of a span, none  those of the dataset's scheme, the first 20 of a span
                                          at a block's edge
loss                  MLM + SBO           each over its own count,      each over its count in the whole step, on all ranks
                                          on each device
arithmetic            not mentioned       16-bit floats, loss scaling   bfloat16 on CUDA with float32 masters, float32 on CPU
====================  ==================  ============================  ====================================================================

Preset ``fast`` has no dropout, and so may use the kernel for sequences of unequal length (``attention = "auto"``).
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from spanmask.config import convert_option, read_toml, unknown_option
from spanmask.errors import ConfigError
from spanmask.loading.rows import Masks
from spanmask.loading.targets import Edges
from spanmask.model.config import Attention, Objective


class Device(StrEnum):
    """Where a run computes; ``auto``: on CUDA where there is some."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """What a step computes in; parameters are float32 in any case. ``auto``: ``bf16`` on CUDA, ``fp32`` on CPU."""

    AUTO = "auto"
    BF16 = "bf16"
    FP32 = "fp32"


class Decay(StrEnum):
    """Which parameters weight decay applies to: ``all``, as in the paper's code, or ``matrices``, as in BERT's: no biases, no norms."""

    ALL = "all"
    MATRICES = "matrices"


#: What each preset changes of the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "fast": {"hidden_dropout": 0.0, "attention_dropout": 0.0, "attention": "auto"},
}
#: Fields of `SpanBertConfig` that change a model's shape.
SHAPE = ("hidden", "layers", "heads", "intermediate", "max_positions")
_POSITIVE = ("steps", "batch_size", "accumulate", "window", "keep_last", "log_every")
_COUNTS = ("warmup", "seed", "save_every", "eval_every")
_WARMUP = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Options of a run; see the module for the values.

    Attributes
    ----------
    model, init_from
        A size by name, or a folder that holds a BERT to go on from, whose shape it then is.
    hidden, layers, heads, intermediate, max_positions
        Of the model, instead of the size's own.
    objective, sbo_weight
        Which heads are trained, and what the span boundary loss is multiplied with.
    attention, hidden_dropout, attention_dropout
        As of `SpanBertConfig`.
    steps, warmup, lr
        Updates; of them, those with a rising learning rate (None: 10,000, of fewer than 100,000 steps a tenth); its peak.
    batch_size, accumulate
        Bins of a micro-batch on each rank, and micro-batches of a step: a step has batch_size · accumulate · ranks bins.
    beta1, beta2, epsilon, weight_decay, decay
        Of AdamW.
    clip
        Largest norm of the gradient; 0: any.
    seed
        Of initial weights, dropout and the order of samples.
    masks, edges, width, window
        As of `LoadConfig`.
    save_every, keep_last
        Steps between checkpoints (0: at the end only), and how many are kept.
    log_every
        Steps between lines of metrics, which is also how late a loss that is not finite may be noticed.
    evaluate, eval_every
        Whether the validation split is measured at the end, and steps between measuring it (0: at the end only).
    device, dtype, compile, threads
        Where and how a step runs. compile: None is on for CUDA. threads: of the CPU; None leaves them to torch.

    Raises
    ------
    ConfigError
        A value is of another type or out of range.
    """

    model: str = "base"
    init_from: str | None = None
    hidden: int | None = None
    layers: int | None = None
    heads: int | None = None
    intermediate: int | None = None
    max_positions: int | None = None
    objective: Objective = Objective.MLM_SBO
    sbo_weight: float = 1.0
    attention: Attention = Attention.SDPA
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    steps: int = 2_400_000
    warmup: int | None = None
    lr: float = 1e-4
    batch_size: int = 256
    accumulate: int = 1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.1
    decay: Decay = Decay.ALL
    clip: float = 0.0
    seed: int = 0
    masks: Masks = Masks.FRESH
    edges: Edges | None = None
    width: int | None = None
    window: int = 4096
    save_every: int = 10_000
    keep_last: int = 3
    log_every: int = 100
    evaluate: bool = False
    eval_every: int = 0
    device: Device = Device.AUTO
    dtype: Precision = Precision.AUTO
    compile: bool | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.warmup is None:
            object.__setattr__(self, "warmup", min(_WARMUP, max(self.steps, 0) // 10))
        for name in _POSITIVE:
            self._require(name, getattr(self, name) >= 1, "give a whole number, 1 or more")
        for name in _COUNTS:
            self._require(name, getattr(self, name) >= 0, "give a whole number, 0 or more")
        for name in ("lr", "epsilon"):
            self._require(name, 0 < getattr(self, name) < 1, "give a number above 0 and below 1")
        for name in ("beta1", "beta2", "weight_decay", "hidden_dropout", "attention_dropout"):
            self._require(name, 0 <= getattr(self, name) < 1, "give a number from 0 to below 1")
        for name in ("clip", "sbo_weight"):
            self._require(name, 0 <= getattr(self, name) < 1e6, "give a number, 0 or more")
        self._require(
            "warmup", self.warmup_steps <= self.steps, f"give at most as many as there are steps ({self.steps:,})"
        )
        self._require("threads", self.threads is None or self.threads >= 1, "give a whole number, 1 or more")

    def _require(self, name: str, condition: bool, advice: str) -> None:
        if not condition:
            raise ConfigError(f"{name} is {getattr(self, name)!r}: {advice}")

    @classmethod
    def of(cls, preset: str = "paper", **options: Any) -> Self:
        """Return a preset with other values of some options.

        Raises
        ------
        ConfigError
            An unknown name (the nearest known one is told), a wrong type, or a value out of range.
        """
        if preset not in PRESETS:
            raise ConfigError(f"unknown preset {preset!r}: give one of {', '.join(PRESETS)}")
        return cls(**_converted(PRESETS[preset] | options))

    def changed(self, **options: Any) -> Self:
        """Return the configuration with other values of some options, given as plain JSON values.

        Raises
        ------
        ConfigError
            An unknown name (the nearest known one is told), a wrong type, or a value out of range.
        """
        return dataclasses.replace(self, **_converted(options))

    @property
    def warmup_steps(self) -> int:
        """Steps with a rising learning rate."""
        return self.warmup or 0

    @property
    def shape(self) -> dict[str, int]:
        """The values given for the model's shape."""
        given = {name: getattr(self, name) for name in SHAPE}
        return {name: value for name, value in given.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        values = dataclasses.asdict(self)
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in values.items()}


def option_names() -> list[str]:
    """Return the names of all options."""
    return [field.name for field in dataclasses.fields(TrainConfig)]


def _converted(options: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(TrainConfig)
    for name in options:
        if name not in hints:
            raise ConfigError(unknown_option(name, hints))
    return {name: convert_option(name, hints[name], value) for name, value in options.items()}


def read_options(path: str | Path) -> dict[str, Any]:
    """Read options, and perhaps ``preset``, from a flat TOML file.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or holds a name that no option has.
    """
    return read_toml(path, ["preset", *option_names()])
