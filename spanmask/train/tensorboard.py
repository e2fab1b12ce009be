"""Metrics for TensorBoard, through torch's own writer: an example of what `train`'s ``on_metrics`` is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spanmask._lazy import installing
from spanmask.errors import MissingExtraError


class TensorBoard:
    """Called with each line of metrics, writes its figures below a folder: as ``train/…``, an evaluation's as ``validation/…``.

    Raises
    ------
    MissingExtraError
        TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"--tensorboard needs {error.name}, which is not installed: {installing('tensorboard')}"
            ) from None
        self._folder, self._kind = folder, SummaryWriter
        self._writer: Any = None

    def __call__(self, line: dict[str, Any]) -> None:
        """Write the figures of a line."""
        step = line["step"]
        if self._writer is None:
            # A run that goes on writes again what came after its checkpoint.
            self._writer = self._kind(str(self._folder), purge_step=step)
        told = ("validation", line["evaluation"]) if "evaluation" in line else ("train", line)
        for name, value in told[1].items():
            if name != "step" and isinstance(value, (int, float)):
                self._writer.add_scalar(f"{told[0]}/{name}", value, step)
        self._writer.flush()
