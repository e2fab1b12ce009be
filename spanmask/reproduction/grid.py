"""A grid under way: its folder, and how each arm is presharded and trained in it."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanmask.config import PreshardConfig
from spanmask.errors import ConfigError, MismatchError
from spanmask.remote import is_url
from spanmask.reproduction.arms import Arm
from spanmask.reproduction.cells import Cell
from spanmask.reproduction.lock import GridLock
from spanmask.reproduction.plan import Plan
from spanmask.reproduction.watching import Watch
from spanmask.shard.reader import ShardSet, open_shards
from spanmask.train.config import TrainConfig
from spanmask.train.record import read_record

CELL, DATASET, TOKENIZER, RUN_FOLDER = "cell.json", "dataset", "tokenizer", "run"
CELL_VERSION = 1

#: What a cell came to, as plain JSON values; None where it was stopped before.
Told = dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A grid under way. texts: what arms are presharded from that name no other. jobs: processes of presharding."""

    plan: Plan
    folder: Path
    lock: GridLock
    texts: tuple[str, ...]
    jobs: int | None
    watch: Watch

    def place(self, cell: Cell) -> Path:
        """Return a cell's folder."""
        return self.folder / cell.name

    def trained(self, cell: Cell) -> Path:
        """Return the run of the training whose model a cell asks."""
        return self.place(cell).parent / "training" / RUN_FOLDER

    def arm_of(self, cell: Cell) -> Arm:
        """Return the arm of a cell that has one."""
        if cell.arm is None:
            raise ConfigError(f"{cell.name}: it is of no arm")
        return cell.arm

    def dataset(self, name: str) -> Path:
        """Return the folder of shards by their name."""
        return self.folder / "shards" / name / DATASET

    def shards(self, name: str, split: str = "train") -> ShardSet:
        """Return open shards by their name."""
        return open_shards(self.dataset(name), split)

    def texts_of(self, arm: Arm) -> tuple[str, ...]:
        """Return what an arm is presharded from.

        Raises
        ------
        ConfigError
            Nothing is named, or a file is not there.
        """
        texts = arm.texts or self.texts
        if not texts:
            raise ConfigError(f"arm {arm.name} has no texts: give some behind the plan, or texts in it")
        for path in texts:
            if not is_url(path) and not glob.has_magic(path) and not Path(path).exists():
                field = arm.preshard_config.corpus.spans_field
                annotating = (
                    ""
                    if field is None
                    else f"; its field {field} is of annotated texts, as spanmask annotate writes them"
                )
                raise ConfigError(
                    f"{path}: no such file or folder, and arm {arm.name} is presharded from it{annotating}"
                )
        return texts

    def preshard_config(self, arm: Arm) -> PreshardConfig:
        """Return how an arm is presharded, with the grid's own vocabulary where it trains one."""
        own = {} if self.plan.vocabulary is None else {"vocab": str(self.folder / "vocabulary" / TOKENIZER)}
        return PreshardConfig.of(**arm.preshard, **own)

    def training(self, arm: Arm, seed: int, **changes: Any) -> TrainConfig:
        """Return how an arm is trained with a seed; order follows from the seed and not from the arm's masks."""
        kept = {"keep_last": 1, "order_key": "grid"}
        return TrainConfig.of(**{**kept, **arm.train, "seed": seed, **changes})


def is_done(folder: Path, cell: Cell) -> bool:
    """Tell whether a cell is done."""
    return (folder / cell.name / CELL).exists()


def read_cell(grid: GridLock, folder: Path, cell: Cell) -> dict[str, Any] | None:
    """Return what a cell came to; None where it is not done.

    Raises
    ------
    ConfigError
        Its file is damaged.
    MismatchError
        It is of another grid.
    """
    path = folder / cell.name / CELL
    if not path.exists():
        return None
    content = read_record(path, dict, by="spanmask reproduce", version=CELL_VERSION, advice="remove the cell's folder")
    if content.get("grid") != grid.digest:
        raise MismatchError(f"{path}: of another grid than {folder}; remove the cell's folder, or put back its own")
    return content
