"""URLs as messages have them: without what may be secret, however somebody wrote it there."""

from __future__ import annotations

import re

#: How a run is begun again whose work is of no use: nothing is replaced in an object store.
AFRESH = "with --overwrite, or to another prefix of an object store"

#: With one slash where a `Path` was made of it.
_PARTS = re.compile(r"([^:/]*:/+)([^/?]*)(.*)", re.DOTALL)
#: The one kind of bucket that has colons: an access point of S3.
_ACCESS_POINT = re.compile(r"arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:\d*:[^@]*")
_PORT = re.compile(r"[^:@]*:\d{1,5}")
#: In whose URLs an ``@`` is no user: a revision, or an account.
_WITH_AT = ("hf:", "az:", "abfs:", "abfss:")


def holds_password(url: str) -> bool:
    """Tell whether a colon stands where the bucket does: before it a user, behind it a password, which may have slashes as AWS's do."""
    found = _PARTS.match(url)
    return found is not None and ":" in found[2] and _ACCESS_POINT.fullmatch(found[2]) is None


def shown(url: str) -> str:
    """Return a URL as messages have it: without a user, a password or a query; what is no URL as it is."""
    found = _PARTS.match(url)
    if found is None:
        return url
    scheme, host, rest = found.groups()
    named = "@" in host and not scheme.lower().startswith(_WITH_AT)
    if named or (holds_password(url) and not _PORT.fullmatch(host)):
        _, at, after = (host + rest).rpartition("@")
        # Without an end to it, all that follows may be the secret.
        url = scheme + (after if at else f"{host.partition(':')[0]}:…")
    return url.partition("?")[0]
