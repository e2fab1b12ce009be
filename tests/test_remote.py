"""Objects by URL: whole, in ranges, only where nothing is, only as they were; asked again when a store stumbles, and told plainly."""

from __future__ import annotations

import gc
import io
import itertools
import os
import re
import threading
import time
from typing import Any

import pytest
from children import run_child
from object_store import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, ObjectStore, forget_drivers

from spanmask import drivers, remote
from spanmask.corpus.object_listing import expand_url
from spanmask.errors import ConfigError, SpanmaskError, StorageError
from spanmask.places import place_of
from spanmask.presharding.destinations import out_of
from spanmask.urls import shown

pytestmark = pytest.mark.faults


def test_an_object_is_written_and_read_in_one_request_each(object_store: ObjectStore) -> None:
    url = object_store.url("a/b")
    remote.put(url, b"0123456789")
    assert remote.read(url) == b"0123456789"
    assert remote.read(url, 2, 5) == b"234"
    assert remote.read(url, 7, 99) == b"789"
    assert remote.read(url, 10, 20) == remote.read(url, 3, 3) == b""
    assert [one.method for one in object_store.log] == ["PUT", "GET", "GET", "GET", "GET"]


def test_a_name_is_taken_once(object_store: ObjectStore) -> None:
    assert remote.put_new(object_store.url("a"), b"first")
    assert not remote.put_new(object_store.url("a"), b"other")
    object_store.log.clear()
    assert not remote.put_new(object_store.url("a"), b"second")
    # Of another size, so it need not be read.
    assert [one.method for one in object_store.log] == ["PUT", "HEAD"]
    assert object_store.get("a") == b"first"
    assert remote.puts_conditionally(object_store.url("a"))


@pytest.mark.parametrize(("data", "ours"), [(b"mine", True), (b"other", False)])
def test_a_name_whose_answer_was_lost_is_ours_if_it_has_our_bytes(
    object_store: ObjectStore, data: bytes, ours: bool
) -> None:
    if ours:
        object_store.fail("lost", method="PUT")
    else:
        object_store.fail("reset", method="PUT", then=lambda: object_store.put("a", b"theirs"))
    assert remote.put_new(object_store.url("a"), data) is ours


def test_a_listing_is_sorted_and_stays_below_its_prefix(object_store: ObjectStore) -> None:
    for key in ("p/b", "p/a/z", "p/a-", "pp/x", "p", "p/folder/"):
        object_store.put(key, b"x")
    found = remote.listing(object_store.url("p"))
    assert [entry.url for entry in found] == [object_store.url(key) for key in ("p/a-", "p/a/z", "p/b")]
    assert {(entry.size, entry.pin) for entry in found} == {(1, remote.describe(object_store.url("p/b")).pin)}
    assert remote.listing(object_store.url("nothing")) == []


def test_a_driver_that_lists_what_is_elsewhere_is_told(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = drivers.Found(f"{object_store.bucket}/pp/x", 1, "pin")
    monkeypatch.setattr(drivers._S3, "walk", lambda *_: ([found], {}))
    with pytest.raises(StorageError, match=r"/p: its driver lists .*/pp/x, which is not below it"):
        remote.listing(object_store.url("p"))


def test_what_is_too_large_to_name_a_datasets_files_is_not_read(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.put("p/state.json", b'{"_data_files": [{"filename": "missing.arrow"}]}')
    with pytest.raises(ConfigError, match=r"no such object, and state\.json names it"):
        expand_url(object_store.url("p"))
    object_store.log.clear()
    monkeypatch.setattr("spanmask.corpus.object_listing._SAVED_LIMIT", 10)
    assert [met.path for met in expand_url(object_store.url("p"))] == [object_store.url("p/state.json")]
    assert not object_store.requests("GET", "^p/state.json")


def test_a_pinned_object_is_read_or_refused(object_store: ObjectStore) -> None:
    url = object_store.url("a")
    remote.put(url, b"before")
    pin = remote.describe(url).pin
    assert remote.read(url, 0, 3, pin=pin) == b"bef"
    remote.put(url, b"after!")
    with pytest.raises(StorageError, match="it changed while it was read"):
        remote.read(url, 3, 6, pin=pin)


def test_a_download_has_all_bytes(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PIECE_BYTES", 4)
    object_store.fail("cut", times=2, method="GET")
    for data in (b"", b"123", b"1234", b"123456789"):
        object_store.put("a", data)
        told: list[int] = []
        file = io.BytesIO()
        assert remote.download(object_store.url("a"), file, told.append) == len(data) == sum(told)
        assert file.getvalue() == data


def test_deleted_objects_are_gone_and_missing_ones_are_none(object_store: ObjectStore) -> None:
    for key in ("a", "b", "c"):
        object_store.put(key, b"x")
    remote.delete(object_store.url(key) for key in ("a", "b", "not there"))
    assert object_store.keys() == ["c"]


def test_deletions_are_asked_for_again_by_the_thousand(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DELETED_AT_ONCE", 2)
    for number in range(5):
        object_store.put(f"{number}", b"x")
    # Of four requests that follow each other three fail: more than five in all.
    number_of, busy = itertools.count(), object_store.fault("status", 0)
    object_store.fail("call", None, then=lambda: setattr(busy, "times", int(next(number_of) % 4 > 0)))
    object_store.faults.append(busy)
    remote.delete(object_store.url(f"{number}") for number in range(5))
    assert object_store.keys() == []


@pytest.mark.parametrize(
    ("code", "told"),
    [("InternalError", ""), ("SlowDown", ""), ("ServiceUnavailable", ""), ("AccessDenied", "check the credentials")],
)
def test_a_key_whose_deletion_a_store_refuses_is_asked_for_again_where_that_passes(
    object_store: ObjectStore, code: str, told: str
) -> None:
    refused = f"<DeleteResult><Error><Key>a</Key><Code>{code}</Code><Message>planted</Message></Error></DeleteResult>"
    url = object_store.url("a")
    object_store.put("a", b"x")
    object_store.fail("answer", 1 if told else 4, method="POST", body=refused.encode())
    if told:
        with pytest.raises(StorageError, match=rf"could not delete \({code}\); {told}"):
            remote.delete([url])
    else:
        remote.delete([url])
    assert len(object_store.log) == (1 if told else 5)
    assert object_store.keys() == (["a"] if told else [])
    with object_store.failing("answer", None, method="POST", body=refused.encode()), pytest.raises(StorageError):
        remote.delete([url])


def test_each_page_of_a_listing_is_asked_for_by_itself(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        object_store.put(f"p/{number}", b"x")
    page = drivers._S3._page

    def two(*of: Any, **marks: str) -> Any:
        (driver, method, path, begin) = of
        return page(driver, method, path, {**begin, "MaxKeys": 2}, **marks)

    monkeypatch.setattr(drivers._S3, "_page", two)
    object_store.fail("status", 4, key="continuation-token")
    found = remote.listing(object_store.url("p"))
    assert [entry.url for entry in found] == [object_store.url(f"p/{number}") for number in range(5)]
    tokens = [re.findall(r"continuation-token=([^&]*)", one.key) for one in object_store.log]
    # The first page once, the second five times, the third once.
    assert [len(tokens), tokens[0], len(set(map(str, tokens[1:6]))), len(set(map(str, tokens)))] == [7, [], 1, 3]


def test_uploads_that_nobody_ended_are_abandoned_below_the_prefix(object_store: ObjectStore) -> None:
    for key in ("p/a", "p/b", "other"):
        object_store.begin_upload(key)
    remote.abort_uploads(object_store.url("p"))
    assert object_store.uploads() == ["other"]


_STUMBLES: list[dict[str, Any]] = [
    {"kind": "status", "status": 500, "code": "InternalError"},
    {"kind": "status", "status": 503, "code": "ServiceUnavailable"},
    {"kind": "status", "status": 502, "code": "BadGateway"},
    {"kind": "status", "status": 429, "code": "TooManyRequests"},
    {"kind": "reset"},
    {"kind": "lost"},
]


def test_a_read_is_asked_for_again_four_times(object_store: ObjectStore) -> None:
    data, url = bytes(range(200)), object_store.url("a")
    object_store.put("a", data)
    for fault in [*_STUMBLES, {"kind": "cut"}]:
        with object_store.failing(times=4, **fault):
            assert remote.read(url) == data, fault
    for fault in _STUMBLES[::2]:
        object_store.log.clear()
        with (
            object_store.failing(times=None, **fault),
            pytest.raises(StorageError, match=r"/a: could not read \(.*5 times\); check the store"),
        ):
            remote.read(url)
        # The client's own library asks once more by itself where a connection breaks that had served before.
        assert 5 <= len(object_store.log) <= 10


@pytest.mark.slow
def test_a_write_is_tried_again_and_never_half_there(object_store: ObjectStore) -> None:
    data = bytes(range(256)) * 4096
    for number, fault in enumerate([*_STUMBLES, {"kind": "cut_request"}, {"kind": "flip_request"}]):
        with object_store.failing(times=3, **fault):
            remote.put(object_store.url(f"{number}"), data)
        assert object_store.get(f"{number}") == data, fault
    for name in ("cut_request", "flip_request", "lost"):
        with object_store.failing(name, times=None), pytest.raises(StorageError, match="could not write"):
            remote.put(object_store.url(name), data)
    # The server did what its answer was lost of: then it is whole.
    assert set(object_store.keys()) - set(map(str, range(8))) == {"lost"}
    assert object_store.get("lost") == data


@pytest.mark.slow
def test_a_body_that_stands_still_is_asked_for_again_and_a_slow_one_waited_for(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(drivers._S3_OPTIONS["config_kwargs"], "read_timeout", 0.2)
    object_store.put("a", bytes(100))
    object_store.fail("slow", 1, method="GET", seconds=5)
    assert remote.read(object_store.url("a")) == bytes(100)
    assert len(object_store.log) == 2
    object_store.fail("slow", 1, method="GET", seconds=0.5)
    assert remote.read(object_store.url("a")) == bytes(100)
    assert len(object_store.log) == 3


@pytest.mark.slow
def test_a_write_that_nobody_takes_is_tried_again(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "_WRITTEN", 1)
    monkeypatch.setattr(drivers, "_WRITTEN_RATE", 1 << 30)
    data = bytes(range(256)) * 65536
    for put in (remote.put, remote.put_new):
        with object_store.failing("stall_request", 1, method="PUT", seconds=20):
            begun = time.monotonic()
            put(object_store.url(put.__name__), data)
            assert 1 <= time.monotonic() - begun < 15
        assert object_store.get(put.__name__) == data
    monkeypatch.setattr(remote, "TRIES", 2)
    with (
        object_store.failing("stall_request", None, method="PUT", seconds=20),
        pytest.raises(StorageError, match=r"could not write \(FSTimeoutError 2 times\); check the store and the way"),
    ):
        remote.put(object_store.url("a"), data)


def test_a_whole_object_that_changed_on_its_way_is_asked_for_again(object_store: ObjectStore) -> None:
    data, url = bytes(range(200)), object_store.url("a")
    remote.put(url, data)
    for read in (remote.read, lambda url: remote.read_whole(url, 200)):
        with object_store.failing("flip", 4, method="GET"):
            assert read(url) == data
        with object_store.failing("flip", None, method="GET"), pytest.raises(StorageError, match="5 times"):
            read(url)
    object_store.log.clear()
    assert remote.read_whole(url, 199) is None
    assert [one.method for one in object_store.log] == ["GET"]


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "AccessDenied", "check the credentials"),
        (400, "ExpiredToken", "the credentials have expired: renew them"),
        (403, "SignatureDoesNotMatch", "check the credentials"),
        (403, "InvalidObjectState", "archived: have the store restore it"),
    ],
)
def test_what_does_not_pass_is_told_at_once(object_store: ObjectStore, status: int, code: str, told: str) -> None:
    object_store.fail("status", None, status=status, code=code)
    for ask in (remote.read, remote.listing, lambda url: remote.put(url, b"")):
        with pytest.raises(StorageError, match=told) as caught:
            ask(object_store.url("a"))
        assert not any(secret in repr(caught.value) for secret in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN))
    # The answer to HEAD has no body to tell why.
    with pytest.raises(StorageError, match="credentials"):
        remote.describe(object_store.url("a"))
    # Where S3 refuses to describe an object with 400, the library asks which region the bucket is in.
    assert [one.key for one in object_store.log if one.key] == [
        "a",
        "?list-type=2&prefix=a/&encoding-type=url",
        "a",
        "a",
    ]


def test_what_is_not_there_is_a_path_to_mend(object_store: ObjectStore) -> None:
    for ask in (remote.read, remote.describe):
        with pytest.raises(ConfigError, match="no such object or bucket; check the URL"):
            ask(object_store.url("missing"))
    with pytest.raises(ConfigError, match="no such object or bucket"):
        remote.put("s3://no-such-bucket-of-ours/a", b"")


def test_a_profile_that_is_not_there_is_told(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none-such")
    forget_drivers()
    with pytest.raises(StorageError, match=r"\(ProfileNotFound\); no credentials were found: give them as the driver"):
        remote.read(object_store.url("a"))
    forget_drivers()


@pytest.mark.slow
def test_a_store_that_is_gone_is_told(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    forget_drivers()
    with pytest.raises(StorageError, match=r"could not read \(EndpointConnectionError 5 times\); check the store"):
        remote.read(object_store.url("a"))
    forget_drivers()


_FORKED = """
import os, sys
from spanmask import drivers, remote
from spanmask.engines.workers import may_fork

assert may_fork()
assert remote.read(sys.argv[1]) == b"content"
# From then on a thread serves this process, so the engine starts interpreters; whoever forks all the same gets a driver of his own.
assert not may_fork()
child = os.fork()
if child == 0:
    os._exit(remote.read(sys.argv[1]) != b"content")
assert os.waitpid(child, 0)[1] == 0
assert remote.read(sys.argv[1]) == b"content"
"""


@pytest.mark.slow
def test_a_fork_has_a_driver_of_its_own(object_store: ObjectStore) -> None:
    object_store.put("a", b"content")
    ended = run_child("-c", _FORKED, object_store.url("a"))
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@bucket/a",
        "s3://a:b@/x",
        "gs://u:p@b/c?sig=1",
        "s3://AKIAX:ab/cd+secret@bucket/prefix",
        "s3:/AKIAX:se?cret/x/y@bucket",
        "s3://AKIAX:secret/ab",
        "s3://arn:secret@bucket/a",
        "s3://arn:aws:s3:::secret@bucket/a",
        "hf://u:p@datasets/a/b",
    ],
)
def test_a_url_with_a_password_is_refused_without_telling_it(text: str) -> None:
    for ask in (remote.read, remote.listing, place_of, out_of, expand_url):
        with pytest.raises(ConfigError, match="the URL holds a password") as caught:
            ask(text)
        assert not any(secret in str(caught.value) for secret in ("secret", "a:b", "u:p", "sig", "cret", "ab/", "/ab"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://user:secret@host/a", "https://host/a"),
        ("https:/user:secret/x@host/a", "https:/host/a"),
        ("https://secret@host/a.txt", "https://host/a.txt"),
        ("https://host:8080/a.txt?X-Amz-Signature=secret", "https://host:8080/a.txt"),
        ("https://user:secret", "https://user:…"),
    ],
)
def test_a_url_of_no_store_is_refused_without_what_may_be_secret(text: str, told: str) -> None:
    for ask in (place_of, out_of):
        with pytest.raises(ConfigError, match="a URL, and") as caught:
            ask(text)
        assert f"{told}: a URL" in str(caught.value)
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="no URL of an object store") as caught:
        remote.url_of(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://b/a.jsonl?versionId=3", "s3://b/a.jsonl: one version of an object cannot be asked for"),
        (
            "az://texts@account.dfs.core.windows.net/a",
            "write az://CONTAINER/PREFIX, and set AZURE_STORAGE_ACCOUNT_NAME",
        ),
        ("abfss://texts@account/a", "write abfss://CONTAINER/PREFIX"),
    ],
)
def test_what_a_driver_would_drop_of_a_url_is_refused(text: str, told: str) -> None:
    for ask in (remote.read, place_of, expand_url):
        with pytest.raises(ConfigError, match=re.escape(told)):
            ask(text)


@pytest.mark.parametrize(
    "url",
    ["s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/a", "s3://b/a:b@c", "hf://gpt2@main/a", "s3://b/a?.txt"],
)
def test_colons_and_signs_that_are_no_password_are_taken(url: str) -> None:
    assert remote.url_of(url) == url
    assert shown(url) == url.partition("?")[0]


def test_a_driver_that_cannot_be_made_is_told_and_not_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(_: str) -> Any:
        raise ValueError("account_key=secret")

    monkeypatch.setattr(remote, "driver_for", made)
    with pytest.raises(
        ConfigError, match=r"az://b/a: its driver cannot be used as it is set up \(ValueError\)"
    ) as caught:
        remote.read("az://b/a")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["s3://", "s3:/", "S3:///"])
def test_a_url_without_a_bucket_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="names no bucket"):
        remote.describe(text)


@pytest.mark.parametrize("scheme", ["gs", "az", "abfs"])
def test_a_missing_driver_is_named(scheme: str) -> None:
    with pytest.raises(SpanmaskError, match=r"needs a driver that is not installed: pip install (gcsfs|adlfs)"):
        remote.read(f"{scheme}://bucket/a")


def test_urls_are_told_from_paths() -> None:
    assert [text for text in ("s3://b/k", "S3:/b", "gs://b", "hf://datasets/a/b") if not remote.is_url(text)] == []
    assert [text for text in ("a/b", "/s3/b", "c:/x", "file:///a", "s3", "http://x/y") if remote.is_url(text)] == []
    assert remote.url_of("S3:/bucket//") == "s3://bucket"


def test_a_driver_without_conditional_puts_looks_first() -> None:
    url = "memory://places/a"
    assert not remote.puts_conditionally(url)
    assert (remote.put_new(url, b"first"), remote.put_new(url, b"second")) == (True, False)
    assert (remote.read(url), remote.read(url, 1, 3)) == (b"first", b"ir")
    assert [entry.url for entry in remote.listing("memory://places")] == [url]
    remote.delete([url, "memory://places/none"])
    assert remote.listing("memory://places") == []


def test_nothing_of_the_parents_is_closed_in_a_fork(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be waited for, a second each: a thread has to close it that a fork has not."""
    from s3fs import core

    url = object_store.url("a")
    remote.put(url, b"x")
    other = threading.Thread(target=remote.read, args=(url,))
    other.start()
    other.join()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        closed = list[Any]()
        monkeypatch.setattr(core, "sync", lambda *given, **_: closed.append(given))
        drivers.driver_for("s3")
        gc.collect()
        os.write(writing, str(len(closed)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() == "0"
