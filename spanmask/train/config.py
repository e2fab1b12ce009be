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
                                          of the mean loss's            more, so that its 1e-8 acts as 6e-6 on the mean loss; see below
lag of the rate       not mentioned       an update takes the rate of   none; see below
                                          the step before
weight decay          0.1, decoupled      0.01, of all parameters       0.1, of all parameters (``decay = "matrices"``: no biases, norms)
clipping              not mentioned       1.0, never reached: see       0, which is off
                                          epsilon
batch                 256 × 512 tokens    32 devices × 4,096 tokens     256 bins of 512 slots, packed: the same tokens
dropout               0.1, attention too  0.1, attention too            0.1; so attention is ``sdpa``, the other kernel having no dropout
masks                 new each epoch      new each epoch                ``fresh``
SBO targets           every masked token  the first 15 of a span, none  those of the dataset's scheme, the first 20 of a span
                                          at a block's edge             (``max_span_offset``)
loss                  MLM + SBO           each over its own count,      each over its count in the whole step, on all ranks
                                          on each device
arithmetic            not mentioned       16-bit floats, loss scaling   bfloat16 on CUDA with float32 masters, float32 on CPU
====================  ==================  ============================  ====================================================================

The released trainer's Adam adds epsilon before the bias correction, which makes its first updates smaller still: in 800 simulated steps,
updates here are 1.36 times its own where gradients have a root mean square of 3e-5, and 1.12 times at 1e-4. Its learning rate lags an
update behind, so that the first has rate 0 and the highest rate is 0.9958e-4; here an update takes the rate of its own step.

Preset ``fast`` has no dropout, and so may use the kernel for sequences of unequal length (``attention = "auto"``). Preset ``cpu`` is a
tiny model without dropout, in steps that a laptop makes several of in a second. Preset ``paper-base`` is what the released base model was
trained by, which the paper leaves out (an author's words in the code's issue 6): 8 times the batch, 300,000 steps, peak 5e-4; it was
unstable for ``large``. Here 8 micro-batches make the batch: on 8 devices give ``accumulate = 1``.

Schedule ``linear`` falls from the end of the warm-up on; ``wsd`` (warm-up, stable, decay) keeps the peak until ``cooldown`` updates
before the end, so that a run goes on with more steps from any checkpoint before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from spanmask.config import MASK_EPOCH_LIMIT
from spanmask.errors import ConfigError
from spanmask.loading.rows import Masks
from spanmask.loading.targets import Edges
from spanmask.model.config import Attention, Objective
from spanmask.options import Form, Options, look_up


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


class Schedule(StrEnum):
    """How the learning rate falls: ``linear``, from the end of the warm-up on, or ``wsd``, at the end only."""

    LINEAR = "linear"
    WSD = "wsd"


#: What each preset changes of the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper-base": {"steps": 300_000, "lr": 5e-4, "accumulate": 8},
    "fast": {"hidden_dropout": 0.0, "attention_dropout": 0.0, "attention": "auto"},
    "cpu": {
        "model": "tiny",
        "batch_size": 16,
        "lr": 2e-3,
        "steps": 10_000,
        "save_every": 1000,
        "log_every": 50,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "attention": "auto",
    },
}
#: Fields of `SpanBertConfig` that change a model's shape.
SHAPE = ("hidden", "layers", "heads", "intermediate", "max_positions", "max_span_offset")
#: Fields that a model of transformers has in its own configuration.
OURS_ALONE = ("model", "attention", "hidden_dropout", "attention_dropout")
_WARMUP = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Options):
    """Options of a run; see the module for the values.

    Model
    -----
    model
        tiny, mini, small, medium, base or large.
    init_from
        Folder with a BERT to go on from, as transformers saves it, whose shape it then is.
    backbone
        Folder with any masked language model of transformers to train: its weights, or config.json alone. Shape and dropout are its own.
    hidden
        Width, instead of the model's.
    layers
        Layers, instead of the model's.
    heads
        Attention heads, instead of the model's.
    intermediate
        Width of the feed-forward layers, instead of the model's.
    max_positions
        Longest sequence the model takes. [512]
    max_span_offset
        Tokens of a span, the first, that are targets of its boundaries; without it 20.
    objective
        What is trained.
    sbo_weight
        What the span boundary loss is multiplied with.
    attention
        How attention is computed. [sdpa; preset fast: auto]
    hidden_dropout, attention_dropout
        Share of values set to 0. [0.1; preset fast: 0]

    Schedule
    --------
    steps
        Updates.
    warmup
        Updates until the learning rate's peak. [10000, of fewer than 100000 steps a tenth]
    schedule
        How the learning rate falls to 0.
    cooldown
        Updates over which it does with wsd. [a fifth of the steps]
    lr
        Peak of the learning rate.
    batch_size
        Bins of a micro-batch on each rank.
    accumulate
        Micro-batches of an update, which has batch_size · accumulate · ranks bins.
    seed
        Of initial weights, dropout and order.

    Optimizer
    ---------
    beta1, beta2, epsilon
        Of AdamW.
    weight_decay
        Of AdamW: decoupled.
    decay
        Which parameters decay.
    clip
        Largest norm of the gradient; 0: any.

    Data
    ----
    weights
        How often an epoch takes each row of a dataset, one for each of several; without them once.
    masks
        Those stored, or fresh ones each epoch.
    mask_epoch
        Whose masks the first epoch has, where they are fresh.
    order_key
        What orders samples in place of the datasets' fingerprints, so that datasets of the same sequences come in one order.
    edges
        Whether a special token may be a span's boundary. [by the dataset's scheme]
    width
        Slots of a bin. [the longest sequence the dataset allows]
    window
        Sequences that are packed together.

    Reports
    -------
    save_every
        Updates between checkpoints; 0: at the end only.
    save_minutes
        Minutes between checkpoints, besides; 0: any.
    keep_last
        Checkpoints that stay.
    keep_every
        Checkpoints after multiples of so many updates stay, too; 0: none.
    log_every
        Updates between lines of metrics, which is also how late a loss that is not finite may be noticed; the first come earlier.
    evaluate
        Measure the validation split at the end.
    eval_sequences
        Sequences of it that are enough, in whole batches; 0: all.
    eval_every
        Updates between evaluations; 0: at the end only.

    Machine
    -------
    device
        Where updates are computed.
    dtype
        What an update computes in. [auto: bf16 on CUDA, else fp32]
    compile
        Compile the update. [on for CUDA]
    threads
        Threads of the CPU. [as torch has it]
    mmap
        Map shards; a process that has one mapped which somebody cuts dies (SIGBUS). Else each reads them into its memory, about 4 GiB. [on]
    """

    model: str = "base"
    init_from: Annotated[str, Form("a folder", "FOLDER")] | None = None
    backbone: Annotated[str, Form("a folder", "FOLDER")] | None = None
    hidden: int | None = None
    layers: int | None = None
    heads: int | None = None
    intermediate: int | None = None
    max_positions: int | None = None
    max_span_offset: int | None = None
    objective: Objective = Objective.MLM_SBO
    sbo_weight: float = 1.0
    attention: Attention = Attention.SDPA
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    steps: int = 2_400_000
    warmup: int | None = None
    schedule: Schedule = Schedule.LINEAR
    cooldown: int | None = None
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
    weights: tuple[float, ...] | None = None
    masks: Masks = Masks.FRESH
    mask_epoch: int = 0
    order_key: str | None = None
    edges: Edges | None = None
    width: int | None = None
    window: int = 4096
    save_every: int = 10_000
    save_minutes: float = 0.0
    keep_last: int = 3
    keep_every: int = 0
    log_every: int = 100
    evaluate: bool = False
    eval_sequences: int = 0
    eval_every: int = 0
    device: Device = Device.AUTO
    dtype: Precision = Precision.AUTO
    compile: bool | None = None
    threads: int | None = None
    mmap: bool = True

    def _check(self) -> None:
        self._fill(warmup=min(_WARMUP, max(self.steps, 0) // 10))
        if self.schedule is Schedule.WSD:
            self._fill(cooldown=max(self.steps, 0) // 5)
        elif self.cooldown is not None:
            raise ConfigError(
                f"cooldown is {self.cooldown}, and schedule linear has none: give wsd instead",
                options=("cooldown", "schedule"),
            )
        counts = ("steps", "batch_size", "accumulate", "window", "keep_last", "log_every", "threads", "width", *SHAPE)
        self._require(lambda value: value >= 1, "a whole number, 1 or more", *counts)
        from_zero = ("warmup", "cooldown", "seed", "save_every", "keep_every", "eval_every", "eval_sequences")
        self._require(lambda value: value >= 0, "a whole number, 0 or more", *from_zero)
        self._require(lambda value: 0 <= value < MASK_EPOCH_LIMIT, f"0 to {MASK_EPOCH_LIMIT - 1}", "mask_epoch")
        self._require(lambda value: 0 < value < 1, "a number above 0 and below 1", "lr", "epsilon")
        shares = ("beta1", "beta2", "weight_decay", "hidden_dropout", "attention_dropout")
        self._require(lambda value: 0 <= value < 1, "a number from 0 to below 1", *shares)
        self._require(lambda value: 0 <= value < 1e6, "a number, 0 or more", "clip", "sbo_weight", "save_minutes")
        self._require(
            lambda value: value <= self.steps, f"at most as many as there are steps ({self.steps:,})", "warmup"
        )
        self._check_backbone()
        left = self.steps - (self.warmup or 0)
        self._require(lambda value: value <= left, f"at most the steps after the warm-up ({left:,})", "cooldown")
        for weight in self.weights or ():
            if not 0 < weight <= 1000:
                raise ConfigError(
                    f"weights are {list(self.weights or ())}: give each above 0, up to 1000", options=("weights",)
                )

    def _check_backbone(self) -> None:
        """Refuse what goes with a model of ours alone."""
        others = {name for name, value in self.shape.items() if name != "max_span_offset"}
        others |= {name for name in ("init_from", "compile") if getattr(self, name)}
        if self.backbone is not None and others:
            raise ConfigError(
                f"{', '.join(sorted(others))}: with backbone, the model is that of {self.backbone}, and is not compiled; leave them out",
                options=tuple(sorted(others)),
            )

    @classmethod
    def of(cls, preset: str = "paper", **options: Any) -> Self:
        """Return a preset with other values of some options; errors are those of `Options.of`."""
        return cls.from_json(look_up(PRESETS, preset, "preset") | options)

    @property
    def shape(self) -> dict[str, int]:
        """The values given for the model's shape."""
        given = {name: getattr(self, name) for name in SHAPE}
        return {name: value for name, value in given.items() if value is not None}
