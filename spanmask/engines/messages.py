"""Messages between two processes of this machine, whose large buffers lie in memory that both map.

A pipe would copy a block of text six times, each time into memory that the system must clear first: as much work as masking it.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from multiprocessing.connection import Connection
from typing import Any


class Memory:
    """Memory under a descriptor, mapped by all who hold that; it grows as it is written to.

    What was read from it lasts until it is written to again: the two sides take turns.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def new(cls) -> Memory:
        """Return memory of a new descriptor: memory where the system has such files, else a file that has no name."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("spanmask"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def write(self, buffers: list[memoryview]) -> list[int]:
        """Put buffers one after another, each at a multiple of 64 bytes; return their sizes."""
        sizes = [buffer.nbytes for buffer in buffers]
        whole = sum(map(_padded, sizes))
        if buffers and (self._map is None or len(self._map) < whole):
            os.ftruncate(self.descriptor, _room(whole))
        at = 0
        for buffer in buffers:
            self._mapped(whole)[at : at + buffer.nbytes] = buffer
            at += _padded(buffer.nbytes)
        return sizes

    def read(self, sizes: list[int]) -> list[memoryview]:
        """Return what was written, by the sizes that `write` returned, without copying it."""
        whole = sum(map(_padded, sizes))
        found, at = [], 0
        for size in sizes:
            found.append(self._mapped(whole)[at : at + size].toreadonly())
            at += _padded(size)
        return found

    def close(self) -> None:
        """Close the descriptor; what is mapped goes with the last view of it."""
        self._map = None
        os.close(self.descriptor)

    def _mapped(self, size: int) -> memoryview:
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.descriptor, _room(size))
        return memoryview(self._map)


def lay_down(message: Any) -> int:
    """Return the descriptor of memory that holds a message for a process yet to start: nobody has to read it meanwhile."""
    memory = Memory.new()
    with open(memory.descriptor, "wb", closefd=False) as file:
        file.write(pickle.dumps(message, protocol=5))
    os.lseek(memory.descriptor, 0, os.SEEK_SET)
    return memory.descriptor


def pick_up(descriptor: int) -> Any:
    """Return the message that was laid down, and close its memory."""
    with open(descriptor, "rb") as file:
        return pickle.loads(file.read())  # noqa: S301 - from a process of this run


def _padded(size: int) -> int:
    return max(-(-size // 64), 1) * 64


def _room(size: int) -> int:
    """Return how much to map for so many bytes: a power of two, so that a message a little larger than the last needs no new pages."""
    return 1 << (size - 1).bit_length()


class Channel:
    """One end of a connection, with memory that one side lends the buffers of its messages in."""

    def __init__(self, connection: Connection[Any, Any], memory: Memory) -> None:
        self.connection = connection
        self._memory = memory

    def send(self, message: Any) -> None:
        """Send a message, all of it a copy.

        Raises
        ------
        BrokenPipeError, ConnectionResetError
            The other side is gone.
        """
        self.connection.send((pickle.dumps(message, protocol=5), []))

    def lend(self, message: Any) -> None:
        """Send a message whose buffers (`pickle.PickleBuffer`, NumPy arrays) the other side reads in place, until the next one is lent.

        Raises
        ------
        BrokenPipeError, ConnectionResetError
            The other side is gone.
        """
        buffers: list[pickle.PickleBuffer] = []
        body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        sizes = self._memory.write([buffer.raw() for buffer in buffers])
        self.connection.send((body, sizes))

    def receive(self) -> Any:
        """Return the next message.

        Raises
        ------
        EOFError, ConnectionResetError
            The other side is gone.
        """
        body, sizes = self.connection.recv()
        return pickle.loads(body, buffers=self._memory.read(sizes))  # noqa: S301 - from a process of this run

    def close(self) -> None:
        """Close this end."""
        self.connection.close()
        self._memory.close()
