"""Messages with large buffers: whole, in order, and without a copy, whatever their sizes."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np
import pytest

from spanmask.corpus.cutting import RawBlock
from spanmask.engines.messages import Channel, Memory


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Pipe()
    memory = Memory.new()
    pair = Channel(ours, memory), Channel(theirs, Memory(memory.descriptor))
    yield pair
    pair[0].close()
    theirs.close()


def test_blocks_arrive_whole_as_memory_grows_and_is_written_again(ends: tuple[Channel, Channel]) -> None:
    sender, receiver = ends
    for size in (0, 1, 63, 64, 65, 5000, 3, 1 << 20, 0, 70_000):
        data = bytes(k % 251 for k in range(size))
        sender.lend([RawBlock(number=1, offset=2, data=data, disk_offset=3), "and more", memoryview(data).nbytes])
        block, text, told = receiver.receive()
        assert bytes(block.data) == data
        assert (block.number, block.offset, block.disk_offset, text, told) == (1, 2, 3, "and more", size)


def test_blocks_a_little_larger_than_the_last_need_no_new_memory(ends: tuple[Channel, Channel]) -> None:
    """As blocks of text are: each would be mapped, and its pages made, anew on both sides."""
    sender, receiver = ends
    places = set()
    for size in range(70_000, 70_100, 10):
        sender.lend(RawBlock(number=1, offset=2, data=bytes(size)))
        places.add(np.frombuffer(receiver.receive().data, np.uint8).ctypes.data)
    assert len(places) == 1


def test_several_buffers_of_one_message_stay_apart(ends: tuple[Channel, Channel]) -> None:
    sender, receiver = ends
    blocks = [RawBlock(number=k, offset=0, data=bytes([k]) * (k * 100)) for k in range(20)]
    sender.lend(blocks)
    assert [bytes(block.data) for block in receiver.receive()] == [block.data for block in blocks]


def test_a_large_buffer_does_not_pass_through_the_pipe(ends: tuple[Channel, Channel]) -> None:
    """A pipe holds 64 KiB: sending more would wait for a reader."""
    sender, receiver = ends
    sent = threading.Event()

    def send() -> None:
        sender.lend(RawBlock(number=0, offset=0, data=bytes(8 << 20)))
        sent.set()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    assert sent.wait(30)
    assert len(receiver.receive().data) == 8 << 20
    thread.join()


@pytest.mark.parametrize("data", [b"", b"some text", memoryview(b"a view")], ids=["none", "bytes", "view"])
def test_a_block_survives_plain_pickling(data: Any) -> None:
    """What engines of other libraries do."""
    block = RawBlock(number=4, offset=1 << 40, data=data, disk_offset=9)
    again = pickle.loads(pickle.dumps(block, protocol=5))
    assert bytes(again.data) == bytes(data)
    assert (again.number, again.offset, again.disk_offset) == (4, 1 << 40, 9)


def test_what_is_sent_outlives_what_is_lent_later(ends: tuple[Channel, Channel]) -> None:
    """Arrays pickle as buffers, too: those of a worker's work must not lie where its units come to lie."""
    sender, receiver = ends
    sender.send(np.arange(1000))
    kept = receiver.receive()
    sender.lend(RawBlock(number=0, offset=0, data=b"x" * 100_000))
    receiver.receive()
    assert np.array_equal(kept, np.arange(1000))
