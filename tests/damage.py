"""Damage to a file in place: every bit, bits drawn by a seed, and blocks as disks lose them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What a disk writes at once.
BLOCK = 4096


@contextmanager
def _written(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def flips(path: Path) -> Iterator[tuple[int, int]]:
    """Flip every bit of a file in place, one at a time; yield its byte and bit."""
    data = path.read_bytes()
    with _written(path) as descriptor:
        for place, byte in enumerate(data):
            for bit in range(8):
                os.pwrite(descriptor, bytes([byte ^ 1 << bit]), place)
                yield place, bit
            os.pwrite(descriptor, bytes([byte]), place)
    assert path.read_bytes() == data


def random_flips(path: Path, count: int) -> Iterator[int]:
    """Flip bits of a file in place, one at a time; yield the byte of each."""
    rng, data = random.Random(count), path.read_bytes()
    with _written(path) as descriptor:
        for _ in range(count):
            place = rng.randrange(len(data))
            os.pwrite(descriptor, bytes([data[place] ^ 1 << rng.randrange(8)]), place)
            yield place
            os.pwrite(descriptor, data[place : place + 1], place)


def bad_blocks(path: Path, stale: bytes, count: int) -> Iterator[int]:
    """Zero a block of a file, put another of its blocks there, or what stood there before; yield where it begins, one at a time."""
    rng, data = random.Random(count), path.read_bytes()
    with _written(path) as descriptor:
        for number in range(count):
            while True:
                place, other = (BLOCK * rng.randrange(len(data) // BLOCK) for _ in range(2))
                held = data[place : place + BLOCK]
                block = (bytes(BLOCK), data[other : other + BLOCK], stale[place : place + BLOCK])[number % 3]
                if len(block) == BLOCK and block != held:
                    break
            os.pwrite(descriptor, block, place)
            yield place
            os.pwrite(descriptor, held, place)
