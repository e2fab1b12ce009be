"""What a run tells of itself: sums over an interval of steps, as one JSON object a line.

A line of RUN/metrics.jsonl describes the steps since the line before: ``step`` (the last of them), ``loss``, ``mlm_loss`` and ``sbo_loss``
(nats a target; loss is mlm_loss + w · sbo_loss), ``mlm_accuracy`` and ``sbo_accuracy`` (targets predicted right), where it is trained
what follows ``nsp_loss`` (a third part of loss) and ``nsp_accuracy``, ``lr`` and
``gradient_norm`` (of the last step, before clipping), ``tokens`` (trained on so far, no padding), ``tokens_per_second`` (of all ranks),
``mfu``, ``data_wait_seconds`` (spent waiting for batches) and ``memory`` (peak bytes: of the device, or on CPU of the process). What
there is none of is null; waits, memory and MFU are the first rank's.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from spanmask.loading.share import Counts
from spanmask.model.config import SpanBertConfig
from spanmask.train.config import TrainConfig
from spanmask.train.feeding import StepBatches
from spanmask.train.optimizer import learning_rate
from spanmask.train.step import Reading

#: What is added up between two lines: nats, right predictions and targets of both heads; and what no such sum reaches.
_SUMS = {"mlm_sum": 0.0, "sbo_sum": 0.0, "mlm_correct": 0.0, "sbo_correct": 0.0, "mlm": 0, "sbo": 0}
#: The same of what follows, which checkpoints of runs before it was trained lack.
_NSP_SUMS = {"nsp_sum": 0.0, "nsp_correct": 0.0, "nsp": 0}
_MOST = 1 << 62

#: Dense bfloat16 products, FLOP/s, by a part of the device's name (makers' data sheets).
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


def flops(config: SpanBertConfig, work: Counts, squares: int) -> float:
    """Return the FLOPs that training on some sequences needs, forward and backward, without recomputation, padding or unused scores.

    squares: the sum of the squares of their lengths.
    F = 6 · N · tokens + 12 · layers · H · Σ length² + 6 · MLM targets · (H² + H·V) + 6 · SBO targets · ((2·H + D) · H + H² + H·V), with
    N = layers · (4·H² + 2·H·intermediate) weights in the encoder's products, and D the width of the offset table. MFU is F a second over
    the device's peak.
    """
    wide, vocab = config.hidden, config.vocab_size
    encoder = config.layers * (4 * wide**2 + 2 * wide * config.intermediate)
    attention = 12 * config.layers * wide * squares
    mlm = work.mlm * (wide**2 + wide * vocab)
    first = (2 * wide + config.span_offset_dim) * wide
    sbo = work.sbo * (first + wide**2 + wide * vocab) if config.objective.sbo else 0
    return 6 * encoder * work.tokens + attention + 6 * mlm + 6 * sbo


def peak_of(device: torch.device) -> float | None:
    """Return a device's peak in FLOP/s of bfloat16 products, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use so far: on the device, or, on CPU, by the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # What Linux counts of a process elsewhere begins with the size of the one that started it.
    status = Path("/proc/self/status")
    if status.exists():
        sizes = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(sizes["VmHWM"].split()[0])
    # macOS counts bytes, others KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Meter:
    """Adds up what happens between two lines of metrics.

    Its sums go into checkpoints, so that a resumed run writes the same losses; times and speeds do not.
    """

    def __init__(self, config: TrainConfig, model: SpanBertConfig, device: torch.device) -> None:
        self._config, self._model, self._device = config, model, device
        self._peak = peak_of(device)
        self._tokens = 0
        self._sums = _SUMS | _NSP_SUMS
        self._begin()

    def _begin(self) -> None:
        self._began, self._waited, self._flops, self._seen = time.perf_counter(), 0.0, 0.0, 0

    def add(self, step: StepBatches, waited: float) -> None:
        """Count a step. waited: seconds until its batches came."""
        overall = step.overall
        self._sums["mlm"] += overall.mlm
        self._sums["sbo"] += overall.sbo
        self._sums["nsp"] += overall.pairs
        self._tokens += overall.tokens
        self._seen += overall.tokens
        self._flops += flops(self._model, step.own, step.squares)
        self._waited += waited

    def add_reading(self, reading: Reading) -> None:
        """Count what the device told."""
        for name in ("mlm_sum", "sbo_sum", "nsp_sum", "mlm_correct", "sbo_correct", "nsp_correct"):
            self._sums[name] += getattr(reading, name)

    def pause(self, seconds: float) -> None:
        """Leave out seconds that went to something else than training."""
        self._began += seconds

    def line(self, step: int, reading: Reading) -> dict[str, Any]:
        """Return the interval's metrics, and begin the next one."""
        sums, seconds = self._sums, time.perf_counter() - self._began
        mlm, sbo, nsp = (ratio(sums[f"{name}_sum"], sums[name]) for name in ("mlm", "sbo", "nsp"))
        nsp = nsp if self._model.objective.nsp else None
        line = {
            "step": step,
            "loss": (mlm or 0.0) + self._config.sbo_weight * (sbo or 0.0) + (nsp or 0.0),
            "mlm_loss": mlm,
            "sbo_loss": sbo,
            "mlm_accuracy": ratio(sums["mlm_correct"], sums["mlm"]),
            "sbo_accuracy": ratio(sums["sbo_correct"], sums["sbo"]),
            **({"nsp_loss": nsp, "nsp_accuracy": ratio(sums["nsp_correct"], sums["nsp"])} if nsp is not None else {}),
            "lr": learning_rate(step, self._config),
            "gradient_norm": reading.gradient_norm,
            "tokens": self._tokens,
            "tokens_per_second": self._seen / seconds,
            "mfu": None if self._peak is None else self._flops / seconds / self._peak,
            "data_wait_seconds": self._waited,
            "memory": peak_memory(self._device),
        }
        self._sums = dict.fromkeys(sums, 0)
        self._begin()
        return line

    def to_state(self) -> dict[str, Any]:
        """Return the sums so far, as plain values."""
        return {"tokens": self._tokens, "sums": dict(self._sums)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `to_state` returned."""
        self._tokens, self._sums = state["tokens"], _SUMS | _NSP_SUMS | state["sums"]


def ratio(part: float, whole: float) -> float | None:
    """Return a part of a whole, None where there is no whole."""
    return part / whole if whole else None


def is_meter_state(state: Mapping[str, Any]) -> bool:
    """Tell whether plain values are what `Meter.to_state` returns."""
    sums = state.get("sums")
    if not isinstance(sums, dict) or sums.keys() not in (_SUMS.keys(), (_SUMS | _NSP_SUMS).keys()):
        return False
    values = [state.get("tokens"), *sums.values()]
    return all(type(value) in (int, float) and 0 <= value < _MOST for value in values)
