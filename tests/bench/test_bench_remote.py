"""What an object store costs: the way to it that takes longer, what is measured, and the table."""

from __future__ import annotations

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from spanmask_bench import remote, stores


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4000000")
        self.end_headers()
        self.wfile.write(bytes(4_000_000))

    def log_message(self, *arguments: object) -> None:
        pass


def test_what_is_farther_away_answers_later_and_as_fast() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with stores.farther(server.server_port, 0.2) as port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            began = time.monotonic()
            connection.request("GET", "/")
            assert connection.getresponse().read() == bytes(4_000_000)
            # Sixteen pieces, and not each of them waited for.
            assert 0.2 <= time.monotonic() - began < 2
            connection.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def result() -> dict[str, Any]:
    names = (
        remote.PLAIN,
        remote.FIRST,
        remote.SHUFFLED,
        remote.CACHED,
        remote.LOCAL,
        remote.MOVED,
        remote.STORE,
        remote.FOLDER,
    )
    contestants = {name: {"seconds": [1.0, 2.0], "processor_seconds": [0.5, 1.0], "bytes": 10**9} for name in names}
    ratios = {name: {"median": 0.95, "min": 0.9, "max": 1.0} for name in remote.GOALS}
    return {
        "input": {"shard_bytes": 10**9},
        "places": {"": {"contestants": contestants}, "30 ms: ": {"contestants": contestants}},
        "ratios": ratios,
        "goals": {name: {"goal": goal, "reached": True} for name, goal in remote.GOALS.items()},
        "parameters": {"rounds": 2, "at_once": 8},
        "versions": {"spanmask": "0"},
        "machine": {"processor": "P", "cores": 2, "system": "S"},
        "commit": None,
        "dirty": None,
    }


def test_a_result_becomes_a_table_with_what_was_asked_for() -> None:
    text = remote.table(result())
    assert "| first epoch, as stored | 750.0 | 500.0 | 1,000.0 | 0.75 |" in text
    assert "| 30 ms: preshard, store |" in text
    assert text.count("reached") == len(remote.GOALS) == 6


@pytest.mark.slow
@pytest.mark.faults
def test_everything_is_measured_on_a_store_of_its_own(tmp_path: Path) -> None:
    for name in ("moto", "flask", "s3fs"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[servers]'")
    found = remote.measure(rounds=1, megabytes=0.5)
    assert set(found["ratios"]) >= set(remote.GOALS)
    assert set(found["places"]) == {"", "30 ms: "}
    for place in found["places"].values():
        assert all(len(one["seconds"]) == len(one["processor_seconds"]) == 1 for one in place["contestants"].values())
    assert remote.table(found)
