"""Object stores as fsspec's drivers have them, each request made once: paths and bytes in and out, errors as the drivers raise them.

S3 is asked directly where fsspec's common face would ask twice, or cannot ask at all: an object of this ETag only, a name that nothing has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

#: An object in one request: the most that S3 takes.
_ONE_PUT = 5 << 30
#: Objects that one request deletes at most.
DELETED_AT_ONCE = 1000
#: Seconds until S3 has to take a connection, and between two of its answer's bytes.
_CONNECT, _READ = 5, 30
#: Seconds that an object may take to be written, and bytes for each of which there is one more: a store that takes none has no other limit.
_WRITTEN, _WRITTEN_RATE = 30, 1 << 20
#: How an S3 driver is made: retries are the caller's alone, and no listing is ever remembered.
_S3_OPTIONS: dict[str, Any] = {
    "max_concurrency": 1,
    "config_kwargs": {
        "connect_timeout": _CONNECT,
        "read_timeout": _READ,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": 64,
    },
}
#: What tells two states of an object apart, by the names drivers give it, best first.
_PINS = ("ETag", "etag", "blob_id", "generation", "md5Hash", "LastModified", "mtime", "created")

#: When an object was written, by the names drivers give it.
_TIMES = ("LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True, slots=True)
class Found:
    """An object as a driver describes it. pin: changes with its content. written: when, in seconds since 1970, where a listing tells."""

    path: str
    size: int
    pin: str
    written: float = 0.0


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that is under way, or was given up. begun: when, in seconds since 1970."""

    path: str
    number: str
    begun: float


#: Where the next page of a listing begins, as the driver calls it; empty at the beginning, and after the last one.
Marks = dict[str, str]


class ChangedError(Exception):
    """An object is not the one that was pinned."""


class RefusedError(Exception):
    """A store did all but something of what it was asked for, and has a code for why; read it by `answered`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


class Driver:
    """Any driver of fsspec, by the methods that all have.

    Attributes
    ----------
    conditional
        Whether `put_new` is one request, which the store itself refuses where something has the name; else it looks first.
    """

    conditional: ClassVar[bool] = False
    #: What the driver calls writing where nothing is; without it `pipe_file` looks first, or does not look at all.
    _create: ClassVar[dict[str, Any]] = {}

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def path_of(self, url: str) -> str:
        """Return the path that the driver calls an object by."""
        return str(self._fs._strip_protocol(url))

    def get(self, path: str, start: int | None, stop: int | None, pin: str | None) -> bytes:
        """Return bytes [start, stop) of an object, as far as it has them."""
        if pin is not None and self.head(path).pin != pin:
            raise ChangedError
        return bytes(self._fs.cat_file(path, start=start, end=stop))

    def whole(self, path: str, limit: int) -> bytes | None:
        """Return an object's bytes, None where it has more than a limit."""
        return None if self.head(path).size > limit else self.get(path, None, None, None)

    def put(self, path: str, data: bytes) -> None:
        """Write an object."""
        self._fs.pipe_file(path, data)

    def put_new(self, path: str, data: bytes) -> None:
        """Write an object whose name nothing has; raises FileExistsError where something has."""
        if not self.conditional and self._fs.exists(path):
            raise FileExistsError(path)
        self._fs.pipe_file(path, data, **self._create)

    def head(self, path: str) -> Found:
        """Describe an object."""
        self._fs.invalidate_cache(path)
        info = self._fs.info(path)
        if info["type"] != "file":
            raise FileNotFoundError(path)
        return _found(info)

    def walk(self, path: str, begin: Marks) -> tuple[list[Found], Marks]:  # noqa: ARG002
        """Return a page of what lies below a prefix, in any order, and where the next one begins."""
        self._fs.invalidate_cache()
        return [_found(info) for info in self._fs.find(path, detail=True).values()], {}

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, `DELETED_AT_ONCE` at most; those that are not there are none."""
        for path in paths:
            try:
                self._fs.rm_file(path)
            except FileNotFoundError:
                continue

    def uploads(self, path: str, begin: Marks) -> tuple[list[Upload], Marks]:  # noqa: ARG002
        """Return a page of uploads in parts below a prefix that were begun and not ended; none, where the store forgets them by itself."""
        return [], {}

    def abort(self, upload: Upload) -> None:
        """Abandon an upload in parts."""


class _Conditional(Driver):
    """Drivers whose store refuses by itself: gcsfs (generation 0 asked for) and adlfs (no overwriting), by the word both have for it."""

    conditional = True
    _create: ClassVar[dict[str, Any]] = {"mode": "create"}


class _S3(Driver):
    """S3, and what speaks as it does: one request each."""

    conditional = True

    def get(self, path: str, start: int | None, stop: int | None, pin: str | None) -> bytes:
        from fsspec.asyn import sync

        wanted = {} if pin is None else {"IfMatch": f'"{pin}"'}
        if (start, stop) != (None, None):
            wanted["Range"] = f"bytes={start or 0}-{'' if stop is None else stop - 1}"
        try:
            answer = self._fs.call_s3("get_object", **self._key(path), **wanted)
        except OSError as error:
            code = answered(error)[1]
            if code == "InvalidRange":
                return b""
            if code == "PreconditionFailed":
                raise ChangedError from None
            raise
        return bytes(sync(self._fs.loop, _all_of, answer["Body"]))

    def whole(self, path: str, limit: int) -> bytes | None:
        from fsspec.asyn import sync

        answer = self._fs.call_s3("get_object", **self._key(path))
        fits = answer["ContentLength"] <= limit
        data = sync(self._fs.loop, _all_of if fits else _none_of, answer["Body"])
        return bytes(data) if fits else None

    def put(self, path: str, data: bytes) -> None:
        self._put(path, data)

    def put_new(self, path: str, data: bytes) -> None:
        try:
            self._put(path, data, IfNoneMatch="*")
        except OSError as error:
            if answered(error)[1] == "PreconditionFailed":
                raise FileExistsError(path) from None
            raise

    def _put(self, path: str, data: bytes, **wanted: str) -> None:
        from fsspec.asyn import sync

        seconds = _WRITTEN + len(data) / _WRITTEN_RATE
        sync(self._fs.loop, self._fs._call_s3, "put_object", **self._key(path), Body=data, **wanted, timeout=seconds)

    def head(self, path: str) -> Found:
        answer = self._fs.call_s3("head_object", **self._key(path))
        return Found(path, answer["ContentLength"], answer["ETag"].strip('"'))

    def walk(self, path: str, begin: Marks) -> tuple[list[Found], Marks]:
        page, following = self._page("list_objects_v2", path, begin, ContinuationToken="NextContinuationToken")
        bucket = self._key(path)["Bucket"]
        found = [
            Found(f"{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp())
            for item in page.get("Contents", ())
            # What consoles put where a folder would be.
            if not item["Key"].endswith("/")
        ]
        return found, following

    def delete(self, paths: Sequence[str]) -> None:
        keys = [self._key(path) for path in paths]
        wanted = {"Objects": [{"Key": one["Key"]} for one in keys], "Quiet": True}
        answer = self._fs.call_s3("delete_objects", Bucket=keys[0]["Bucket"], Delete=wanted)
        for error in answer.get("Errors", ()):
            raise RefusedError(str(error.get("Code", "")))

    def uploads(self, path: str, begin: Marks) -> tuple[list[Upload], Marks]:
        marks = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        page, following = self._page("list_multipart_uploads", path, begin, **marks)
        bucket = self._key(path)["Bucket"]
        found = [
            Upload(f"{bucket}/{item['Key']}", item["UploadId"], item["Initiated"].timestamp())
            for item in page.get("Uploads", ())
        ]
        return found, following

    def abort(self, upload: Upload) -> None:
        self._fs.call_s3("abort_multipart_upload", **self._key(upload.path), UploadId=upload.number)

    def _page(self, method: str, path: str, begin: Marks, **marks: str) -> tuple[dict[str, Any], Marks]:
        """Return a page of a listing, and where the next one begins. marks: what says so, by what the answer calls it."""
        bucket, key, _ = self._fs.split_path(path)
        page = self._fs.call_s3(method, Bucket=bucket, Prefix=f"{key}/" if key else "", **begin)
        return page, {name: page[mark] for name, mark in marks.items()} if page.get("IsTruncated") else {}

    def _key(self, path: str) -> dict[str, str]:
        bucket, key, _ = self._fs.split_path(path)
        return {"Bucket": bucket, "Key": key}


#: Whatever fsspec made here. It lets go of it where a process forks, and what is collected there waits a second for a thread to close it.
_MADE: dict[int, Any] = {}
_KINDS: dict[str, type[Driver]] = {"s3": _S3} | dict.fromkeys(("gs", "gcs", "az", "abfs", "abfss"), _Conditional)


def driver_for(scheme: str) -> Driver:
    """Return the driver of a scheme; raises ImportError where it is not installed.

    One is asked for each time: fsspec remembers them by process, and one that a fork inherited would wait for a thread that it has not.
    """
    import fsspec

    kind = _KINDS.get(scheme, Driver)
    fs = fsspec.filesystem(scheme, use_listings_cache=False, **(_S3_OPTIONS if kind is _S3 else {}))
    if kind is _S3:
        fs.retries = 1
    _MADE[id(fs)] = fs
    return kind(fs)


def answered(error: BaseException | None) -> tuple[int | None, str]:
    """Return the HTTP status and the store's code, as far as an error or what it came from tells them."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            told = response.get("Error", {})
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), str(told.get("Code", ""))
        for of, name in ((response, "status_code"), (error, "status_code"), (error, "status"), (error, "code")):
            status = getattr(of, name, None)
            if isinstance(status, int):
                return status, ""
        error = error.__cause__
    return None, ""


async def _none_of(body: Any) -> None:
    body.close()


async def _all_of(body: Any) -> Any:
    # Closed where the reading fails, too: the connection would wait for somebody to read on.
    try:
        return await body.read()
    finally:
        body.close()


def _found(info: dict[str, Any]) -> Found:
    pin = next((str(info[name]) for name in _PINS if info.get(name) is not None), "")
    times = (getattr(info.get(name), "timestamp", None) for name in _TIMES)
    written = next((float(told()) for told in times if told), 0.0)
    return Found(str(info["name"]), int(info["size"]), pin.strip('"'), written)
