"""An S3 server on loopback for tests, with a proxy in front that has the faults a test asks for and keeps a log of requests.

Tests have the fixture `object_store` without importing it (`conftest.py`). The server (moto's) is a process
of its own, one a session of tests, stopped by the fixture; the proxy has threads here. Each test has an empty bucket of its own. Commands
in processes of their own reach it through the environment, as this one does.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

#: The credentials that tests use; none of them may be found in what is written or told.
ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "AKIAPLANTEDPLANTED", "planted/secret+key", "planted-session-token"
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""
#: The server asks for a signature, and does not check it.
_SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
}
_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>planted</Message></Error>"


@dataclass
class Fault:
    """What the proxy does to some requests.

    Parameters
    ----------
    kind
        ``status``: answers with a status and a code. ``reset``: breaks the connection before the server hears of it. ``lost``: after that.
        ``cut``: half of the answer's body, then a broken connection. ``flip``: one bit of the answer's body turned. ``slow``: the answer's
        body in ten pieces, in ``seconds``. ``wait``: ``seconds`` of latency. ``cut_request``: breaks the connection after half of the
        request's body; the server hears nothing, as S3 drops it. ``flip_request``: one bit of the request's body turned; refused where the
        request has a checksum, as S3 does and moto does not. ``stall_request``: reads half of the request's body, then nothing for
        ``seconds``, and breaks the connection. ``answer``: status 200 and ``body``; the server hears nothing. ``call``: calls ``then``, as
        all do, before the server hears of it.
    times
        How many requests; None: all.
    method, key
        Which ones: regular expressions that match the whole method, and are found in path and query.
    """

    kind: str
    times: int | None = 1
    method: str = ".*"
    key: str = ""
    status: int = 503
    code: str = "SlowDown"
    seconds: float = 0.0
    body: bytes = b""
    then: Callable[[], object] = lambda: None


@dataclass
class Request:
    """A request as the proxy saw it. key: path in the bucket with the query; status: what was answered, 0 for nothing."""

    method: str
    key: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class ObjectStore:
    """A bucket behind a proxy. endpoint: the proxy's URL; direct: the server's, which has no faults."""

    endpoint: str
    direct: str
    bucket: str
    faults: list[Fault] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)

    def url(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}".rstrip("/")

    @staticmethod
    def fault(kind: str, times: int | None = 1, **options: Any) -> Fault:
        return Fault(kind, times, **options)

    def fail(self, kind: str, times: int | None = 1, **options: Any) -> Fault:
        """Have a fault from now on."""
        self.faults.append(self.fault(kind, times, **options))
        return self.faults[-1]

    @contextlib.contextmanager
    def failing(self, kind: str, times: int | None = 1, **options: Any) -> Iterator[Fault]:
        """Have a fault as long as the body runs."""
        fault = self.fail(kind, times, **options)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    def put(self, key: str, data: bytes) -> None:
        """Write an object past the proxy."""
        self._ask("PUT", key, data)

    def get(self, key: str) -> bytes:
        """Read an object past the proxy."""
        return self._ask("GET", key)

    def delete(self, key: str) -> None:
        self._ask("DELETE", key)

    def keys(self, prefix: str = "") -> list[str]:
        """List the bucket past the proxy."""
        found = self._ask("GET", f"?list-type=2&max-keys=1000000&prefix={prefix}").decode()
        return sorted(re.findall(r"<Key>([^<]*)</Key>", found))

    def tree(self, prefix: str) -> dict[str, bytes]:
        """Return all objects below a prefix, by their names in it."""
        return {key.removeprefix(f"{prefix}/"): self.get(key) for key in self.keys(f"{prefix}/")}

    def uploads(self) -> list[str]:
        """Return the keys of uploads in parts that nobody ended."""
        return re.findall(r"<Key>([^<]*)</Key>", self._ask("GET", "?uploads").decode())

    def begin_upload(self, key: str) -> None:
        """Begin an upload in parts that nobody ends."""
        self._ask("POST", f"{key}?uploads")

    def requests(self, method: str = ".*", key: str = "") -> list[Request]:
        """Return what the proxy saw of some requests; see `Fault`."""
        return [one for one in self.log if re.fullmatch(method, one.method) and re.search(key, one.key)]

    def _ask(self, method: str, key: str, data: bytes = b"") -> bytes:
        place = urlsplit(self.direct)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        connection.request(method, f"/{self.bucket}/{key}" if key else f"/{self.bucket}", body=data, headers=_SIGNED)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status < 300, (answer.status, body)
        return body


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.store: ObjectStore | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed, and go."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy
    timeout = 60

    def log_message(self, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        if not self._served():
            self._break()

    def _served(self) -> bool:
        """Answer a request; tell whether the connection stays."""
        store = self.server.store
        if store is None:
            return False
        key = unquote(self.path).removeprefix(f"/{store.bucket}").lstrip("/")
        if not unquote(self.path).startswith(f"/{store.bucket}"):
            key = f"OUTSIDE {self.path}"
        request = Request(self.command, key, dict(self.headers.items()))
        store.log.append(request)
        faults = [fault for fault in store.faults if self._meant(fault, request)]
        for fault in faults:
            fault.times = None if fault.times is None else fault.times - 1
        kinds = {fault.kind: fault for fault in faults}
        for fault in faults:
            fault.then()
        if "wait" in kinds:
            time.sleep(kinds["wait"].seconds)
        size = int(self.headers.get("Content-Length") or 0)
        if "stall_request" in kinds:
            self.rfile.read(size // 2)
            time.sleep(kinds["stall_request"].seconds)
            return False
        if "cut_request" in kinds:
            self.rfile.read(size // 2)
            return False
        body = self.rfile.read(size)
        if len(body) < size or "reset" in kinds:
            return False
        if "status" in kinds:
            return self._answers(request, kinds["status"].status, {}, _ERROR.format(kinds["status"].code).encode(), {})
        if "answer" in kinds:
            return self._answers(request, 200, {"Content-Type": "application/xml"}, kinds["answer"].body, {})
        if "flip_request" in kinds and body:
            body = flipped(body)
            if _refused(body, self.headers):
                return self._answers(request, 400, {}, _ERROR.format("BadDigest").encode(), {})
        status, headers, data = self._forward(body)
        if "lost" in kinds:
            return False
        return self._answers(request, status, headers, data, kinds)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def _meant(self, fault: Fault, request: Request) -> bool:
        return (
            fault.times != 0
            and re.fullmatch(fault.method, request.method) is not None
            and re.search(fault.key, request.key) is not None
        )

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def _answers(
        self, request: Request, status: int, headers: dict[str, str], data: bytes, kinds: dict[str, Fault]
    ) -> bool:
        request.status = status
        if "flip" in kinds and data:
            data = flipped(data)
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", size)
        self.end_headers()
        if self.command == "HEAD":
            return True
        with contextlib.suppress(OSError):
            if "cut" in kinds:
                self.wfile.write(data[: len(data) // 2])
                return False
            pieces = 10 if "slow" in kinds else 1
            for number in range(pieces):
                if "slow" in kinds:
                    time.sleep(kinds["slow"].seconds / pieces)
                piece = data[len(data) * number // pieces : len(data) * (number + 1) // pieces]
                self.wfile.write(piece)
                request.sent += len(piece)
        return True

    def _break(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            # With what is not yet read of it, the end of a connection is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()


def flipped(data: bytes) -> bytes:
    """Return bytes with one bit in the middle of them turned."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _refused(body: bytes, headers: Any) -> bool:
    """Tell whether S3 would refuse a body by the checksums of its request."""
    found = {
        "x-amz-checksum-crc32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(),
        "Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode(),
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
    }
    return any(headers.get(name, value) != value for name, value in found.items() if headers.get(name) != "UNSIGNED")


@pytest.fixture(scope="session")
def store_server() -> Iterator[_Proxy]:
    """A server of S3 with a proxy in front; most tests want `object_store`."""
    for name in ("moto", "flask", "s3fs"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[servers]'")
    command = [sys.executable, "-W", "ignore", "-c", _SERVER]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdin is not None
    assert server.stdout is not None
    proxy = _Proxy(int(server.stdout.readline()))
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    forget_drivers()
    try:
        yield proxy
    finally:
        forget_drivers()
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        server.stdin.close()
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
def object_store(store_server: _Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket behind the proxy, which the environment leads to; pauses before tries are short here, not in child processes."""
    proxy, direct = f"http://127.0.0.1:{store_server.server_port}", f"http://127.0.0.1:{store_server.port}"
    store = ObjectStore(proxy, direct, f"bucket-{uuid.uuid4().hex}")
    store._ask("PUT", "")
    store_server.store = store
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(store).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("spanmask.remote.PAUSE", 0.001)
    yield store
    store_server.store = None


def environment(store: ObjectStore) -> dict[str, str]:
    """Return what leads a process to a store."""
    return {
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def forget_drivers() -> None:
    """Have the next call read the environment again: fsspec remembers drivers, each with the endpoint it was made for."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
