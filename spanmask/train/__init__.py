"""A dataset in, a trained encoder out: one process a device, one fixed batch shape, nothing that waits for the device inside a step.

::

    Stream ─feed▶ StepBatches ─forward, backward▶ flat gradients ─all-reduce, clip▶ AdamW ─▶ parameters ─copy▶ RUN/checkpoints/step-…
                                      └▶ sums of losses ─every log_every▶ RUN/metrics.jsonl, curves.html

A run is a function of its datasets, configuration and number of ranks: dropout is seeded by (seed, step, micro-batch, rank), and the stream
by (seed, epoch). Names are imported when first used: ``import spanmask.train`` loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.train.checkpoint import Checkpoint, latest_checkpoint, read_checkpoint
    from spanmask.train.config import TrainConfig
    from spanmask.train.evaluation import Evaluation, evaluate
    from spanmask.train.record import read_run
    from spanmask.train.run import train
    from spanmask.train.run_folder import load_run
    from spanmask.train.step import TrainStep
    from spanmask.train.tensorboard import TensorBoard
    from spanmask.train.watching import Finished, Plan, Progress, Watch

__all__ = [
    "Checkpoint",
    "Evaluation",
    "Finished",
    "Plan",
    "Progress",
    "TensorBoard",
    "TrainConfig",
    "TrainStep",
    "Watch",
    "evaluate",
    "latest_checkpoint",
    "load_run",
    "read_checkpoint",
    "read_run",
    "train",
]

_HOMES = {
    "Checkpoint": "checkpoint",
    "Evaluation": "evaluation",
    "Finished": "watching",
    "Plan": "watching",
    "Progress": "watching",
    "TensorBoard": "tensorboard",
    "TrainConfig": "config",
    "TrainStep": "step",
    "Watch": "watching",
    "evaluate": "evaluation",
    "latest_checkpoint": "checkpoint",
    "load_run": "run_folder",
    "read_checkpoint": "checkpoint",
    "read_run": "record",
    "train": "run",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
