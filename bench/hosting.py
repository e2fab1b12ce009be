"""Contestants of `training`, each in a process of its own that works only when told: so that they take turns, and share no allocator.

The process answers each line of JSON on its standard input with one on its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import child

if TYPE_CHECKING:
    from .training_contestants import Contestant
    from .training_variants import Setting, Variant

#: Steps after the first, before anything counts; steps that a profile takes, and that loading alone is measured on.
WARM_UP, PROFILED, LOADED = 2, 4, 8


class HostError(Exception):
    """A contestant's process ended, or had no more time."""


class Hosted:
    """A contestant in a process of its own.

    Parameters
    ----------
    setting, variant
        What `training_contestants.build` takes.
    deadline
        When the process is killed if it has not answered, by `time.monotonic`.
    """

    def __init__(self, setting: Setting, variant: Variant, deadline: float) -> None:
        self._deadline = deadline
        quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **child.threads(setting.threads), **quiet},
            text=True,
        )
        self._given = {"setting": asdict(setting), "variant": asdict(variant)}

    def prepare(self) -> dict[str, Any]:
        """Build the contestant and take its first steps; see `_Host.prepare`."""
        return self.ask("prepare", **self._given)

    def ask(self, what: str, **parameters: Any) -> dict[str, Any]:
        """Return what a method of `_Host` returns.

        Raises
        ------
        HostError
            The process ended, or had no more time; what it wrote went to standard error.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        watchdog = threading.Timer(max(self._deadline - time.monotonic(), 0), process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps({"what": what, "parameters": parameters}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            late = time.monotonic() >= self._deadline
            raise HostError("out of time" if late else f"its process ended with exit code {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Host:
    """The other side: the contestant, and what it can be asked."""

    def __init__(self) -> None:
        self._contestant: Contestant | None = None
        self._device, self._place = "cpu", 0
        self._tokens: tuple[int, ...] = ()

    def prepare(self, setting: dict[str, Any], variant: dict[str, Any]) -> dict[str, Any]:
        """Build the contestant, and take its first steps.

        Returns
        -------
        dict
            ``loss`` of the first step; ``first_seconds`` it took, compiling included; ``tokens`` and ``flops`` of each different step;
            ``slots_per_token``; ``target_slots``, of what is packed; ``loader_seconds``, of the processor, for a million tokens.
        """
        import torch

        from .training_contestants import build, ground_of
        from .training_variants import Setting, Variant, Way

        torch.set_num_threads(setting["threads"])
        peer = variant.pop("peer")
        asked, chosen = Setting(**setting), Variant(**variant, peer=peer and Way(**peer))
        ground = ground_of(asked, chosen)
        contestant = self._contestant = build(asked, chosen, ground)
        self._device, self._tokens = asked.device, ground.tokens
        loader = _processor_seconds(lambda: contestant.load(LOADED))
        taken, loss = self._timed(1)
        self._timed(WARM_UP)
        return {
            "loss": loss,
            "first_seconds": taken,
            "tokens": list(ground.tokens),
            "flops": list(ground.flops),
            "slots_per_token": contestant.slots() / sum(ground.tokens),
            "target_slots": ground.target_slots if chosen.peer is None else None,
            "loader_seconds": 1e6 * loader / sum(ground.tokens[step % len(ground.tokens)] for step in range(LOADED)),
        }

    def turn(self, steps: int) -> dict[str, Any]:
        """Take steps; return their ``seconds`` and ``tokens``, mean ``loss``, seconds ``waited`` for batches, and ``peak_bytes``."""
        from spanmask.train.metrics import peak_memory

        contestant, first = self._built(), self._place
        contestant.waited = 0.0
        taken, loss = self._timed(steps)
        tokens = [self._tokens[number % len(self._tokens)] for number in range(first, first + steps)]
        found = {"seconds": taken, "tokens": sum(tokens), "loss": loss, "waited": contestant.waited}
        found["peak_bytes"] = peak_memory(self._torch_device())
        self._give_back()
        return found

    def profile(self) -> dict[str, Any]:
        """Take some steps under torch's profiler; return the share of the time in which the device did nothing, None on CPU."""
        if self._device != "cuda":
            return {"idle": None}
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
            taken, _ = self._timed(PROFILED)
        on_device = [
            (event.time_range.start, event.time_range.end)
            for event in profiled.events() or []
            if event.device_type.name == "CUDA" and not event.is_user_annotation
        ]
        return {"idle": 1 - union(on_device) / 1e6 / taken}

    def _timed(self, steps: int) -> tuple[float, float]:
        """Take steps; return the seconds until the last was done, and their mean loss."""
        contestant = self._built()
        began = time.perf_counter()
        for _ in range(steps):
            contestant.step()
        loss = contestant.loss()
        self._place += steps
        return time.perf_counter() - began, loss

    def _built(self) -> Contestant:
        if self._contestant is None:
            raise AssertionError("prepare comes first")
        return self._contestant

    def _torch_device(self) -> Any:
        import torch

        return torch.device(self._device)

    def _give_back(self) -> None:
        """Leave the device's memory to the others."""
        if self._device == "cuda":
            import torch

            torch.cuda.empty_cache()


def union(intervals: list[tuple[float, float]]) -> float:
    """Return the length of what some intervals cover together."""
    covered, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        covered += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return covered


def _processor_seconds(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


@contextmanager
def _answers() -> Iterator[Any]:
    """Yield standard output, and send whatever libraries print there to standard error."""
    with os.fdopen(os.dup(1), "w") as kept:
        os.dup2(2, 1)
        yield kept


def _serve() -> None:
    host = _Host()
    with _answers() as out:
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(host, request["what"])(**request["parameters"])
            print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    _serve()
