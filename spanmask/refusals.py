"""What drivers of object stores raise: whether it passes, and what it is as an error of ours."""

from __future__ import annotations

import re

from spanmask.drivers import ChangedError, answered
from spanmask.errors import ConfigError, SpanmaskError, StorageError
from spanmask.urls import AFRESH

#: Refusals that pass, by their HTTP status or the store's code: it is busy, or bytes were lost or changed on the way to it.
_PASSING_STATUS = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
_PASSING_CODES = frozenset(
    (
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    )
)
#: Errors of drivers that pass, by the names of their kinds: no connection, or one that broke.
_PASSING_KINDS = frozenset((
    "HTTPClientError", "IncompleteReadError", "ResponseParserError", "FlexibleChecksumError", "ClientPayloadError",
    "ClientConnectionError", "ConnectionError", "TransportError", "ServiceRequestError", "ServiceResponseError", "IncompleteRead",
))  # fmt: skip
_NO_CREDENTIALS = frozenset(
    ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound")
)


def passes(error: Exception) -> bool:
    """Tell whether the same request may well be answered a little later."""
    if isinstance(error, (FileNotFoundError, PermissionError, FileExistsError, ChangedError)):
        return False
    if _is_of(error, _PASSING_KINDS):
        return True
    status, code = answered(error)
    if status is not None or code:
        return status in _PASSING_STATUS or code in _PASSING_CODES
    return isinstance(error, OSError)


def _is_of(error: Exception, kinds: frozenset[str]) -> bool:
    """Tell whether an error is of one of these kinds, by name: the modules that have them need not be there."""
    return not kinds.isdisjoint(kind.__name__ for kind in type(error).__mro__)


def told(url: str, doing: str, error: Exception, tries: int) -> SpanmaskError:
    """Return an error of ours: what was asked, what came of it, what to do; without the driver's words, which may hold anything.

    url: as messages have it. tries: how often was asked.
    """
    status, code = (None, "") if _is_of(error, _PASSING_KINDS) else answered(error)
    if isinstance(error, FileNotFoundError) or status == 404:
        return ConfigError(f"{url}: no such object or bucket; check the URL")
    if isinstance(error, ChangedError):
        return StorageError(f"{url}: it changed while it was read; run again when it is at rest, {AFRESH}")
    # A store that has no room for a code, as in the answer to HEAD, repeats the status.
    reason = " ".join(dict.fromkeys(filter(None, (str(status or ""), re.sub(r"\W", "", code))))) or type(error).__name__
    times = f" {tries} times" if tries > 1 else ""
    return StorageError(f"{url}: could not {doing} ({reason}{times}); {_advice(error, status, code, tries)}")


def _advice(error: Exception, status: int | None, code: str, tries: int) -> str:
    if _is_of(error, _NO_CREDENTIALS):
        return (
            "no credentials were found: give them as the driver takes them, for S3 as AWS_PROFILE or AWS_ACCESS_KEY_ID"
        )
    if code == "InvalidObjectState":
        return "it is archived: have the store restore it, or leave it out"
    if "Expired" in code or code == "TokenRefreshRequired":
        return "the credentials have expired: renew them, then run the same command again"
    if status in (401, 403) or code == "AccessDenied" or isinstance(error, PermissionError):
        return "check the credentials in the driver's environment, and what they may do there"
    if tries > 1:
        return "check the store and the way to it, then run the same command again"
    return "check the URL, and that the credentials have not expired"
