"""What decides the figures of a boundary probe; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from spanmask.errors import ConfigError
from spanmask.options import Form, Options
from spanmask.train.config import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundariesConfig(Options):
    """Options of a boundary probe.

    Spans
    -----
    split
        Which split of the dataset. [validation where there is one, else train]
    mask_epoch
        Take the spans of this mask epoch, drawn anew, in place of those stored.
    spans
        Spans that are enough; rows are taken in an order that does not depend on model or seed.
    classes
        Most frequent tokens that the reader tells apart; the rest is one class, and its tokens are told by how often each comes.

    Parts
    -----
    selection
        Share of the documents, by a hash of each one's text, that choose when a reader stops, and of several decays which.
    measured
        Share of the documents, likewise, that the figures are of.

    Reader
    ------
    lr
        Peak of the learning rate.
    decay
        Weight decay of AdamW; of several the best by the share that chooses.
    batch_size
        Spans of an update.
    epochs
        Passes over the spans trained on, at most.
    patience
        Passes without a gain on the share that chooses, after which a reader stops.
    seeds
        Of order, shuffled labels and random weights, one a model, as in 1,2,5: give those that the models were trained with for runs to be
        paired by them. [from 1 on]

    Machine
    -------
    bins
        Bins that are computed at once.
    device
        Where states and readers are computed.
    threads
        Threads of the CPU. [as torch has it]
    """

    split: Annotated[str, Form("train or validation", "NAME")] | None = None
    mask_epoch: int | None = None
    spans: int = 20_000
    classes: int = 1000
    selection: float = 0.15
    measured: float = 0.25
    lr: float = 0.001
    decay: tuple[float, ...] = (0.1,)
    batch_size: int = 256
    epochs: int = 30
    patience: int = 2
    seeds: Annotated[str, Form("seeds, as in 1,2,5", "LIST")] | None = None
    bins: int = 16
    device: Device = Device.AUTO
    threads: int | None = None

    #: What decides no figure of the definition, and may differ between runs that are compared.
    FREE = ("seeds", "bins", "device", "threads")

    def _check(self) -> None:
        counts = ("spans", "classes", "batch_size", "epochs", "patience", "bins", "threads")
        self._require(lambda value: value >= 1, "a whole number, 1 or more", *counts)
        self._require(lambda value: 0 <= value < 1 << 32, "a whole number from 0 to below 2^32", "mask_epoch")
        self._require(lambda value: 0 < value < 1, "a number above 0 and below 1", "selection", "measured", "lr")
        self._require(
            lambda values: bool(values) and all(0 <= one <= 100 for one in values), "numbers from 0 to 100", "decay"
        )
        self._require(lambda value: bool(_numbers(value)), "seeds, each once, as in 1,2,5", "seeds")
        if self.selection + self.measured >= 1:
            raise ConfigError(
                f"selection is {self.selection:g} and measured {self.measured:g}, which leaves nothing to train on: give smaller shares",
                options=("selection", "measured"),
            )

    @property
    def deciding(self) -> dict[str, Any]:
        """The options that decide figures, as plain JSON values."""
        return {name: value for name, value in self.to_json().items() if name not in self.FREE}

    def numbers(self, models: int) -> tuple[int, ...]:
        """Return the seed of each model.

        Raises
        ------
        ConfigError
            There are not as many seeds as models.
        """
        numbers = tuple(range(1, models + 1)) if self.seeds is None else _numbers(self.seeds)
        if len(numbers) != models:
            raise ConfigError(
                f"seeds are {self.seeds}, and models {models}: give one seed a model, in their order",
                options=("seeds",),
            )
        return numbers


def _numbers(text: str) -> tuple[int, ...]:
    """Return the seeds that a text lists; none where it lists none, or one twice."""
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdecimal() and len(part) < 18 for part in parts):
        return ()
    numbers = tuple(map(int, parts))
    return numbers if len(set(numbers)) == len(numbers) else ()
