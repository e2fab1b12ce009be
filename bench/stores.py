"""An S3 server on loopback for measuring (moto's), and a way to it that takes longer."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_PIECE = 1 << 18


@contextmanager
def serving() -> Iterator[int]:
    """Run a server, in a process of its own, while the body runs; yield its port."""
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None  # noqa: S101
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


@contextmanager
def farther(port: int, seconds: float) -> Iterator[int]:
    """Relay connections to a port while the body runs, each answer's bytes so much later; yield the port that leads there."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_connect, args=(client, port, seconds), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def _connect(client: socket.socket, port: int, seconds: float) -> None:
    """Relay one connection to its end."""
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_relay, args=(server, client, seconds), daemon=True)
        back.start()
        _relay(client, server, 0.0)
        back.join()


def _relay(source: socket.socket, target: socket.socket, late: float) -> None:
    """Hand bytes on, each piece so much after it came; how many a second is as it was."""
    pieces: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def send() -> None:
        with suppress(OSError):
            while True:
                due, piece = pieces.get()
                time.sleep(max(due - time.monotonic(), 0))
                if not piece:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(piece)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    piece = b"-"
    while piece:
        try:
            piece = source.recv(_PIECE)
        except OSError:
            piece = b""
        pieces.put((time.monotonic() + late, piece))
    sender.join()
