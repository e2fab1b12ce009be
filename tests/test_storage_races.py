"""Writers that are killed at any moment, and readers of the same names: no name ever has a part of a file."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from figures import figure

from spanmask import storage
from spanmask.storage import remove_temporaries

pytestmark = [pytest.mark.faults, pytest.mark.slow]

WRITERS, NAMES = 8, 20


def _write_on(folder: Path, seed: int, publish: Callable[[Path, bytes], object]) -> None:
    """Publish files that begin with the digest of what follows, without end."""
    rng = random.Random(seed)
    while True:
        body = rng.randbytes(rng.randint(1, 60_000))
        publish(folder / f"{rng.randrange(NAMES)}", hashlib.sha256(body).digest() + body)


def _writer(folder: Path, seed: int, publish: Callable[[Path, bytes], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            _write_on(folder, seed, publish)
        finally:
            os._exit(1)
    return child


def race(folder: Path, kills: int, reads: int, publish: Callable[[Path, bytes], object]) -> tuple[int, int, int]:
    """Kill writers and start others while files are read; return how many were killed, how many reads there were, and how many bad."""
    rng = random.Random(1)
    writers = [_writer(folder, seed, publish) for seed in range(WRITERS)]
    killed = read = bad = 0
    until = time.monotonic() + 120
    try:
        while (killed < kills or read < reads) and time.monotonic() < until:
            for _ in range(reads // kills):
                path = folder / f"{rng.randrange(NAMES)}"
                data = path.read_bytes() if path.exists() else None
                read += data is not None
                bad += data is not None and hashlib.sha256(data[32:]).digest() != data[:32]
            victim = rng.randrange(WRITERS)
            os.kill(writers[victim], signal.SIGKILL)
            os.waitpid(writers[victim], 0)
            killed += 1
            writers[victim] = _writer(folder, WRITERS + killed, publish)
    finally:
        for writer in writers:
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
    return killed, read, bad


def test_no_reader_ever_sees_a_part_of_a_file(tmp_path: Path, count: Callable[[int], None]) -> None:
    kills, reads = figure(40, 200), figure(800, 4400)
    killed, read, bad = race(tmp_path, kills, reads, storage.publish_bytes)
    count(read)
    assert (killed >= kills, read >= reads, bad) == (True, True, 0)
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {str(number) for number in range(NAMES)}


def test_writers_that_do_not_rename_are_found(tmp_path: Path) -> None:
    """The defence taken out: files written under their final names."""

    def publish(path: Path, data: bytes) -> Any:
        return path.write_bytes(data)

    assert race(tmp_path, 40, 2000, publish)[2] > 0
