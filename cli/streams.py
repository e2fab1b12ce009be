"""Standard streams that are closed or full: a command does its work all the same, and a file it opens never takes their place.

A closed stream becomes the null device. Nothing that standard error refuses is an error, since nobody is left to be told; what standard
output refuses is one of it by name.
"""

from __future__ import annotations

import io
import os
import sys

OUTPUT = "standard output"
_NAMES = ("stdin", "stdout", "stderr")


class _Raw(io.FileIO):
    """A standard stream, which is never closed. Text of the whole program goes through here."""

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type] # a buffer, as its caller gives it
        except OSError as error:
            if self.fileno() == 2:
                return memoryview(data).nbytes  # type: ignore[arg-type]
            error.filename = OUTPUT
            raise


def prepare_streams() -> None:
    """Put the null device where a standard stream is closed, and writers that know their names in place of Python's own."""
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one; inherited by workers, as a standard stream is.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        before = getattr(sys, name)
        if before is getattr(sys, f"__{name}__") and (number or before is None):
            setattr(sys, name, _text(number, before))


def _text(number: int, before: io.TextIOWrapper | None) -> io.TextIOWrapper:
    if number == 0:
        return open(0, encoding="utf-8", closefd=False)
    buffer = io.BufferedWriter(_Raw(number, "w", closefd=False))
    encoding, buffered = (before.encoding, before.line_buffering) if before else ("utf-8", False)
    # What an encoding, or a name that is none in UTF-8, has no character for is told by its number.
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=number == 2 or buffered)
