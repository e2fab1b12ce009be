"""Everything that decides how an encoder is fine-tuned, whatever the task; no torch.

Presets ``paper`` (question answering), ``paper-sentences`` (relations, GLUE) and ``paper-coref`` are the grids of the paper (Joshi et al.
2020, arXiv 1907.10529, appendix B), but that of CoLA it has 4 epochs, not 10: give ``--epochs 4`` there. ``coref`` is a point of the last,
which coreference begins with. Without one there is one point, the middle of what BERT's own authors fine-tune by (Devlin et al. 2019,
appendix A.3: 2e-5 to 5e-5, 16 or 32): learning rate 3e-5, batch 16. A model of a few million parameters, or one that was hardly
pre-trained, wants more: 1e-4 to 1e-3.

What the paper does not mention is that of its released code: warm-up over a tenth of the updates, then down to 0; weight decay 0.01, not
of biases and norms; gradients of norm 1 at most; dropout 0.1. Its Adam has no bias correction, which made short trainings fail now and
then (Mosbach et al. 2021, arXiv 2006.04884); here it is corrected, with the same epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, NamedTuple, Self

from spanmask.config import OnError
from spanmask.options import Form, Options, look_up
from spanmask.train.config import Decay, Device, Precision, TrainConfig

_RATES = (5e-6, 1e-5, 2e-5, 3e-5, 5e-5)
#: What each preset changes of the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "single": {},
    "paper": {"lr": _RATES, "batch_size": (16, 32), "epochs": 4},
    "paper-sentences": {"lr": _RATES, "batch_size": (16, 32), "epochs": 10},
    "coref": {"lr": (2e-5,), "head_lr": (3e-4,), "batch_size": (1,), "epochs": 20},
    "paper-coref": {"lr": (1e-5, 2e-5), "head_lr": (1e-4, 2e-4, 3e-4), "batch_size": (1,), "epochs": 20},
}
#: More seeds than anybody has time for, or a typing error.
_SEEDS = 1000


class GridPoint(NamedTuple):
    """What trainings of a grid differ in."""

    lr: float
    batch_size: int
    head_lr: float | None = None

    @property
    def given(self) -> dict[str, float]:
        """The options that it is of, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    def name(self) -> str:
        """Its folder's name."""
        head = "" if self.head_lr is None else f"-head-{self.head_lr}"
        return f"lr-{self.lr}-batch-{self.batch_size}{head}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(Options):
    """Options of fine-tuning; see the module for the values.

    Schedule
    --------
    lr
        Peak of the learning rate; several make a grid. [3e-05; preset paper: five]
    head_lr
        Peak for all but the encoder; several make a grid. [lr]
    batch_size
        Examples, or documents of a task of such, of an update; several make a grid. [16; preset paper: 16 and 32]
    epochs
        Passes over the training examples.
    warmup
        Share of the updates until the learning rate's peak.
    seeds
        Of new weights, dropout and order: how many, from 1 on, or which, as in 1,2,5; 5, is that one alone.

    Optimizer
    ---------
    beta1, beta2, epsilon
        Of AdamW.
    weight_decay
        Of AdamW: decoupled, of no bias and no norm.
    clip
        Largest norm of the gradient; 0: any.
    dropout
        Share of values set to 0, in attention too.
    frozen
        Leave the encoder as it is, and train on its states what stands on them.

    Choice
    ------
    selection
        Share of the training texts, by a hash of each, that is not trained on: grid point, epoch and thresholds are chosen by it.
    evals_per_epoch
        How often in an epoch the model is scored on that share.

    Files
    -----
    on_error
        What something in a task's files that is not usable does: end the run, or be left out and counted.

    Reports
    -------
    save_every
        Updates between checkpoints besides those of evaluations; 0: none.
    save_minutes
        Minutes between checkpoints, besides; 0: any.
    log_every
        Updates between lines of metrics.

    Machine
    -------
    bins
        Bins that are computed at once; gradients of an update that has more are added up.
    device
        Where updates are computed.
    dtype
        What an update computes in. [auto: bf16 on CUDA, else fp32]
    threads
        Threads of the CPU. [as torch has it]
    """

    lr: tuple[float, ...] = (3e-5,)
    head_lr: tuple[float, ...] = ()
    batch_size: tuple[int, ...] = (16,)
    epochs: int = 4
    warmup: float = 0.1
    seeds: Annotated[str, Form("how many seeds, or which, as in 1,2,5 or 5,", "LIST")] = "1"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    clip: float = 1.0
    dropout: float = 0.1
    frozen: bool = False
    selection: float = 0.05
    evals_per_epoch: int = 1
    on_error: OnError = OnError.FAIL
    save_every: int = 0
    save_minutes: float = 10.0
    log_every: int = 50
    bins: int = 16
    device: Device = Device.AUTO
    dtype: Precision = Precision.AUTO
    threads: int | None = None

    #: What a run that goes on may change. What was left out decides figures, and is told by the task itself.
    FREE = ("seeds", "on_error", "save_every", "save_minutes", "log_every", "device", "dtype", "threads")

    def _check(self) -> None:
        self._require(lambda value: value >= 1, "a whole number, 1 or more", "epochs", "evals_per_epoch", "log_every")
        self._require(lambda value: value >= 1, "a whole number, 1 or more", "bins", "threads")
        self._require(lambda value: value >= 0, "a whole number, 0 or more", "save_every")
        self._require(lambda value: 0 < value < 1, "a number above 0 and below 1", "epsilon", "selection")
        self._require(
            lambda value: 0 <= value < 1, "a number from 0 to below 1", "beta1", "beta2", "weight_decay", "dropout"
        )
        self._require(lambda value: 0 <= value <= 1, "a share from 0 to 1", "warmup")
        self._require(lambda value: 0 <= value < 1e6, "a number, 0 or more", "clip", "save_minutes")
        self._require(
            lambda value: _each(value, lambda one: 0 < one < 1), "numbers above 0 and below 1, each once", "lr"
        )
        self._require(
            lambda value: not value or _each(value, lambda one: 0 < one < 1),
            "numbers above 0 and below 1, each once",
            "head_lr",
        )
        self._require(lambda value: _each(value, lambda one: one >= 1), "numbers of 1 or more, each once", "batch_size")
        self._require(
            lambda value: bool(seed_numbers(value)), "how many seeds, or which ones, each once, as in 1,2,5", "seeds"
        )

    @classmethod
    def of(cls, preset: str = "single", **options: Any) -> Self:
        """Return a preset with other values of some options; errors are those of `Options.of`."""
        return cls.from_json(look_up(PRESETS, preset, "preset") | options)

    @property
    def deciding(self) -> dict[str, Any]:
        """The options that decide figures, as plain JSON values."""
        return {name: value for name, value in self.to_json().items() if name not in self.FREE}

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return seed_numbers(self.seeds)

    @property
    def grid(self) -> tuple[GridPoint, ...]:
        """The points of the grid, in order."""
        rates = product(self.batch_size, self.lr, self.head_lr or (None,))
        return tuple(GridPoint(lr, batch_size, head_lr) for batch_size, lr, head_lr in rates)

    def updates(self, point: GridPoint, examples: int) -> int:
        """Return how many updates a training makes: what is left of the last epoch beside whole batches makes none."""
        return max(self.epochs * examples // point.batch_size, 1)

    def training(self, point: GridPoint, seed: int, examples: int) -> TrainConfig:
        """Return one training of the grid, in the terms of pre-training."""
        steps = self.updates(point, examples)
        return TrainConfig(
            steps=steps,
            warmup=round(self.warmup * steps),
            lr=point.lr,
            batch_size=point.batch_size,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
            decay=Decay.MATRICES,
            clip=self.clip,
            seed=seed,
            log_every=self.log_every,
            save_every=self.save_every,
            save_minutes=self.save_minutes,
            keep_last=1,
            device=self.device,
            dtype=self.dtype,
            compile=False,
            threads=self.threads,
        )


def seed_numbers(text: str) -> tuple[int, ...]:
    """Return the seeds that a text names: 1 to N, or those of a list, as 5, is one; none where it names none."""
    parts = text.removesuffix(",").split(",")
    if not all(part.strip().isascii() and part.strip().isdecimal() and len(part) < 18 for part in parts):
        return ()
    numbers = tuple(map(int, parts))
    if "," not in text:
        return tuple(range(1, numbers[0] + 1)) if numbers[0] <= _SEEDS else ()
    return numbers if len(set(numbers)) == len(numbers) <= _SEEDS else ()


def _each(values: tuple[Any, ...], holds: Any) -> bool:
    return bool(values) and len(set(values)) == len(values) and all(map(holds, values))
