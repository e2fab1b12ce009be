"""Object stores by URL: bytes of objects in and out, asked again when a store stumbles, its refusals as errors of ours.

Credentials are the driver's business, from its own environment. None is ever in a URL that is taken, in a message or in what is written.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from spanmask._lazy import installing
from spanmask.drivers import DELETED_AT_ONCE, Driver, Found, Marks, Upload, driver_for
from spanmask.errors import ConfigError, MissingExtraError, SpanmaskError, StorageError
from spanmask.refusals import passes, told
from spanmask.urls import holds_password, shown

#: How often a store is asked, and the longest pause before the second time, in seconds; each pause may be three times the last.
TRIES, PAUSE = 5, 0.5
#: Bytes of an object that are read at once on their way to a file.
_PIECE_BYTES = 32 << 20

#: What brings the driver of a scheme.
_BROUGHT_BY = {
    "s3": installing("s3"),
    "gs": "pip install gcsfs",
    "gcs": "pip install gcsfs",
    "az": "pip install adlfs",
    "abfs": "pip install adlfs",
    "abfss": "pip install adlfs",
    "hf": "pip install huggingface_hub",
    "memory": "pip install fsspec",
}
_AZURE = ("az", "abfs", "abfss")
#: With one slash where a `Path` was made of it.
_URL = re.compile(rf"(?i:({'|'.join(_BROUGHT_BY)})):/+(.*)", re.DOTALL)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An object's size in bytes and its pin: text that changes with its content, an ETag or the like."""

    size: int
    pin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An object of a listing; see `Described`. written: when, in seconds since 1970; 0 where the driver does not tell."""

    url: str
    size: int
    pin: str
    written: float


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> Any:
        """Take them all."""
        ...


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is the URL of an object store that drivers are known for."""
    return _URL.match(os.fspath(path)) is not None


def url_of(path: str | os.PathLike[str]) -> str:
    """Return a URL as it is written everywhere here: the scheme in small letters, two slashes, none at its end.

    Raises
    ------
    ConfigError
        It names no bucket, or holds a password, an account or a version of an object.
    """
    found = _URL.match(os.fspath(path))
    if found is None:
        raise ConfigError(
            f"{shown(os.fspath(path))}: no URL of an object store; begin it with s3://, gs://, az:// or hf://"
        )
    scheme, rest = found[1].lower(), found[2].rstrip("/")
    url = f"{scheme}://{rest}"
    bucket = rest.partition("/")[0]
    if holds_password(url):
        raise ConfigError(
            f"{shown(url)}: the URL holds a password; credentials are the driver's, from its own environment or files"
        )
    if not bucket:
        raise ConfigError(f"{url}: the URL names no bucket; write {scheme}://BUCKET/PREFIX")
    if "@" in bucket and scheme in _AZURE:
        raise ConfigError(
            f"{shown(url)}: the account is not told in the URL: write {scheme}://CONTAINER/PREFIX, and set AZURE_STORAGE_ACCOUNT_NAME"
        )
    if scheme == "s3" and "?versionId=" in rest:
        raise ConfigError(
            f"{shown(url)}: one version of an object cannot be asked for: copy that version to a name of its own, and give that"
        )
    return url


def driver_of(url: str) -> tuple[Driver, str]:
    """Return the driver of a URL, and the path that it calls the object by; ask anew after a fork.

    Raises
    ------
    ConfigError
        The URL cannot be used, or its driver is not installed.
    """
    url = url_of(url)
    scheme = url.partition(":")[0]
    try:
        driver = driver_for(scheme)
        return driver, driver.path_of(url)
    except ImportError:
        raise MissingExtraError(
            f"{shown(url)}: {scheme}:// needs a driver that is not installed: {_BROUGHT_BY[scheme]}"
        ) from None
    except Exception as error:
        # Without what the driver said in its own words, as below.
        raise ConfigError(
            f"{shown(url)}: its driver cannot be used as it is set up ({type(error).__name__}); check the URL, and the driver's environment"
        ) from None


def read(url: str, start: int | None = None, stop: int | None = None, *, pin: str | None = None) -> bytes:
    """Return bytes [start, stop) of an object, as far as it has them; all of it by default, in one request.

    Parameters
    ----------
    pin
        What `describe` or `listing` told: the object must still be that one.

    Raises
    ------
    ConfigError
        There is no such object, or its driver is not installed.
    StorageError
        The store refused, or the object changed.
    """
    if start is not None and start == stop:
        return b""
    return _asked(url, "read", lambda driver, path: driver.get(path, start, stop, pin))


def read_whole(url: str, limit: int) -> bytes | None:
    """Return an object's bytes, None where it has more than a limit; raises as `read` does.

    In one request, and unlike a range with the checksum that S3 keeps of an object: bytes that changed on their way are asked for again.
    """
    return _asked(url, "read", lambda driver, path: driver.whole(path, limit))


def put(url: str, data: bytes) -> None:
    """Write an object in one request: it is there whole or not at all; one that had the name is replaced. Raises as `read` does."""
    _asked(url, "write", lambda driver, path: driver.put(path, data))


def put_new(url: str, data: bytes) -> bool:
    """Write an object unless its name is taken; tell whether it is there with these bytes then. Raises as `read` does.

    With a driver that has no such request it is looked first, and two that do so at once may both write: `puts_conditionally` tells.
    """

    def write(driver: Driver, path: str) -> bool:
        try:
            driver.put_new(path, data)
        except FileExistsError:
            # By this very call, perhaps: clients ask again by themselves where an answer is lost on its way.
            return driver.head(path).size == len(data) and driver.get(path, None, None, None) == data
        return True

    return _asked(url, "write", write)


def puts_conditionally(url: str) -> bool:
    """Tell whether the store itself refuses `put_new` where a name is taken, so that of two at once one writes."""
    return driver_of(url)[0].conditional


def describe(url: str) -> Described:
    """Return size and pin of an object; raises as `read` does."""
    found = _asked(url, "look at it", lambda driver, path: driver.head(path))
    return Described(size=found.size, pin=found.pin)


def find(url: str) -> Described | None:
    """Return size and pin of an object, None where there is none; raises as `read` does otherwise."""

    def look(driver: Driver, path: str) -> Described | None:
        try:
            found = driver.head(path)
        except FileNotFoundError:
            return None
        return Described(size=found.size, pin=found.pin)

    return _asked(url, "look at it", look)


def listing(prefix: str) -> list[Entry]:
    """Return the objects below a prefix, as ``prefix/name``, sorted bytewise; none where there are none. Raises as `read` does."""

    def walk(begin: Marks, driver: Driver, path: str) -> tuple[list[Found], Marks]:
        try:
            return driver.walk(path, begin)
        except FileNotFoundError:
            return [], {}

    prefix = url_of(prefix)
    scheme = prefix.partition(":")[0]
    entries = [
        Entry(url=f"{scheme}://{one.path.lstrip('/')}", size=one.size, pin=one.pin, written=one.written)
        for one in _paged(prefix, "list", walk)
    ]
    for entry in entries:
        if not entry.url.startswith(f"{prefix}/"):
            raise StorageError(
                f"{shown(prefix)}: its driver lists {shown(entry.url)}, which is not below it; give the URL as the driver writes it"
            )
    return sorted(entries, key=lambda entry: entry.url.encode())


def delete(urls: Iterable[str]) -> None:
    """Delete objects of one bucket, in few requests; those that are not there are none. Raises as `read` does."""
    urls = list(urls)
    for first in range(0, len(urls), DELETED_AT_ONCE):
        _asked(urls[first], "delete", partial(_delete, urls[first : first + DELETED_AT_ONCE]))


def _delete(urls: Sequence[str], driver: Driver, _path: str) -> None:
    driver.delete([driver.path_of(url_of(url)) for url in urls])


def uploads(prefix: str) -> list[Upload]:
    """Return the uploads in parts below a prefix that were begun and not ended, which cost and are no objects; raises as `read` does."""
    return _paged(prefix, "list uploads", lambda begin, driver, path: driver.uploads(path, begin))


def abort_uploads(prefix: str, those: Iterable[Upload] | None = None) -> None:
    """Abandon some of the `uploads` below a prefix, by default all; raises as `read` does."""
    for upload in uploads(prefix) if those is None else those:
        _asked(prefix, "abandon uploads", partial(_abort, upload))


def _abort(upload: Upload, driver: Driver, _path: str) -> None:
    # Its owner may have ended it meanwhile.
    with suppress(FileNotFoundError):
        driver.abort(upload)


def download(
    url: str,
    file: Sink,
    on_bytes: Callable[[int], object] = lambda _: None,
    *,
    pin: str | None = None,
    stop: int = sys.maxsize,
) -> int:
    """Write an object to an open file in pieces, each of which is asked for again by itself; return its bytes.

    Parameters
    ----------
    file
        What has a ``write`` of bytes: a file, or what digests them on their way to one.
    on_bytes
        Called with the bytes of each piece, once it is written.
    pin
        As in `read`; without it the pieces of an object that changes meanwhile are of both.
    stop
        No byte from there on is asked for.

    Raises
    ------
    ConfigError, StorageError
        As `read`.
    """
    size, more = 0, True
    while more:
        piece = read(url, size, min(size + _PIECE_BYTES, stop), pin=pin)
        file.write(piece)
        on_bytes(len(piece))
        size += len(piece)
        more = len(piece) == _PIECE_BYTES
    return size


def _paged(url: str, doing: str, ask: Callable[[Marks, Driver, str], tuple[list[_T], Marks]]) -> list[_T]:
    """Return all pages of a listing, each of which is asked for again by itself."""
    found, marks, more = list[_T](), Marks(), True
    while more:
        some, marks = _asked(url, doing, partial(ask, marks))
        found += some
        more = bool(marks)
    return found


def _asked(url: str, doing: str, ask: Callable[[Driver, str], _T]) -> _T:
    """Ask a store, up to five times where its refusal passes, with pauses that grow and are drawn by chance: many ask at once."""
    driver, path = driver_of(url)
    for number in range(TRIES):
        try:
            return ask(driver, path)
        except SpanmaskError:
            raise
        except Exception as error:
            if not passes(error) or number == TRIES - 1:
                # Without what the driver said in its own words: those may hold anything that it was configured with.
                raise told(shown(url_of(url)), doing, error, number + 1) from None
        time.sleep(random.uniform(0, PAUSE * 3**number))
    raise AssertionError
