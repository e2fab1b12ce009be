"""Which process a file under way belongs to, and whether that one still lives: of a process of this host it can be told."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

#: Characters of a host's name that are kept, for people; a host may have 64, and a file's name no more than 255 bytes.
_HOST_CHARACTERS = 32
#: Characters of the digest that tells hosts apart.
_DIGEST_CHARACTERS = 12
#: What a Linux system has anew each time it starts: machines may share their names, as those made of one image do.
_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: The process namespace, by its number: what runs in another one, as in a container, is not seen from here.
_NAMESPACE = Path("/proc/self/ns/pid")
_OWNER = re.compile(r"(?P<host>[A-Za-z0-9._]+)-(?P<pid>[0-9]{1,9})-(?P<started>[0-9]{1,15})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process: its host, its number there, and when it was started, in the system's ticks since that booted (0: not known).

    A number is given again once its process is gone, so the start is what tells two processes of one number apart.
    """

    host: str
    pid: int
    started: int

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        pid = os.getpid()
        return cls(host=_host(), pid=pid, started=_started(pid) or 0)

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return the process that `str` of one begins a text with, None where none does."""
        found = _OWNER.match(text)
        return found and cls(host=found["host"], pid=int(found["pid"]), started=int(found["started"]))

    def __str__(self) -> str:
        return f"{self.host}-{self.pid}-{self.started}"

    @property
    def lives(self) -> bool | None:
        """Whether the process is still there; None for one of another host, of which that cannot be told."""
        if self.host != _host():
            return None
        started = _started(self.pid)
        if started is not None and self.started:
            return started == self.started
        return _is_there(self.pid)


def host_name() -> str:
    """Return this host's name, as names of files have it."""
    return re.sub(r"[^A-Za-z0-9.]|^\.+", "_", socket.gethostname())[:_HOST_CHARACTERS] or "_"


@cache
def _host() -> str:
    """Return what processes share that see each other: the host's name, and a digest of all of it, the boot and the process namespace."""
    told = [socket.gethostname()]
    with suppress(OSError):
        told += [_BOOT.read_text(), str(_NAMESPACE.stat().st_ino)]
    content = hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{host_name()}_{content[:_DIGEST_CHARACTERS]}"


def _started(pid: int) -> int | None:
    """Return when a process was started, -1 of one that has ended, None where it is gone or the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        # The second field is the command's name in parentheses, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        # Its parent has not yet asked what became of it, and may never do so.
        return -1 if fields[0] in (b"Z", b"X") else int(fields[19])
    return None


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
