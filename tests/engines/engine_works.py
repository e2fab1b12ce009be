"""Works for the tests of engines. Worker processes import this module by name, so it is no test module."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanmask.config import CorpusConfig
from spanmask.corpus.inputs import Part
from spanmask.corpus.reading import read_part
from spanmask.errors import CorpusError


@dataclass(frozen=True)
class Squares:
    """Squares numbers; dies, fails, or waits at those named. Tries are counted in files."""

    folder: str
    poison: tuple[int, ...] = ()
    weak: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()
    drowsy: tuple[int, ...] = ()
    bad: tuple[int, ...] = ()
    buggy: tuple[int, ...] = ()
    ballast: bytes = b""
    dies_at_start: bool = False

    def prepare(self) -> Callable[[int, Any], int]:
        if self.dies_at_start:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.run

    def run(self, unit: int, report: Callable[..., None]) -> int:
        tries = Path(self.folder, f"tries-{unit}")
        with tries.open("a") as file:
            file.write("x")
        first = tries.stat().st_size == 1
        if unit in self.poison or (unit in self.weak and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if unit in self.stuck or (unit in self.drowsy and first):
            os.kill(os.getpid(), signal.SIGSTOP)
        if unit in self.bad:
            raise CorpusError("the unit is bad", path="some.txt", line=unit)
        if unit in self.buggy:
            raise KeyError("not foreseen")
        report(unit, 1)
        return unit * unit


@dataclass(frozen=True)
class Labours(Squares):
    """Squares that take their time, or memory; who made itself ready and who ran a unit is kept in files."""

    seconds: float = 0.0
    long: tuple[int, ...] = ()
    hungry: tuple[int, ...] = ()

    def prepare(self) -> Callable[[int, Any], int]:
        Path(self.folder, f"prepared-{os.getpid()}-{threading.get_ident()}").open("x").close()
        return Squares.prepare(self)

    def run(self, unit: int, report: Callable[..., None]) -> int:
        Path(self.folder, f"ran-{os.getpid()}-{unit}").touch()
        time.sleep(self.seconds * (20 if unit in self.long else 1))
        eaten = []
        while unit in self.hungry:
            eaten.append(b"x" * (32 << 20))
            time.sleep(0.05)
        return Squares.run(self, unit, report)


@dataclass(frozen=True)
class Surroundings:
    """Tells of its process: whether a descriptor is open, how it answers SIGTERM, what it reads, and signals of all being held back."""

    descriptor: int

    def prepare(self) -> Callable[[int, Any], tuple[Any, ...]]:
        return self.run

    def run(self, unit: int, report: Callable[..., None]) -> tuple[Any, ...]:
        answer = signal.getsignal(signal.SIGTERM)
        held = {signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return Path(f"/proc/self/fd/{self.descriptor}").exists(), answer == signal.SIG_DFL, os.read(0, 1), held


@dataclass(frozen=True)
class Cutting:
    """Reads an input, half of which is cut off when its first block is there. Tries are counted in a file."""

    part: Part
    folder: str

    def prepare(self) -> Callable[[int, Any], int]:
        return self.run

    def run(self, unit: int, report: Callable[..., None]) -> int:
        with Path(self.folder, f"tries-{unit}").open("a") as file:
            file.write("x")
        blocks = read_part(self.part, CorpusConfig())
        size = len(next(blocks))
        os.truncate(self.part.file.path, self.part.file.size // 2)
        return size + sum(map(len, blocks))
