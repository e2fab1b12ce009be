"""The state of a run under way, in a hidden folder beside its output: its plan, and a part for each unit that is done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from spanmask.annotating.units import Unit
from spanmask.errors import ConfigError, MismatchError
from spanmask.folders import LOCK
from spanmask.options import differing
from spanmask.presharding.state import FOLDER, sealed, unsealed
from spanmask.storage import digest, make_folder, publish, publish_bytes, remove, remove_temporaries, reporting

_PLAN, _PARTS, _WHOLE, _RECORD = "plan.json", "parts", "whole", "record"
_PIECE_BYTES = 1 << 20


def state_folder(out: Path) -> Path:
    """Return where the state of an output's run is kept."""
    return out.with_name(f"{FOLDER}-{out.name}")


class Parts:
    """The parts of a run in their folder; a part is a line that says what it is, and the unit's lines, compressed."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = state_folder(out)
        self._parts = self.folder / _PARTS

    def plan(self) -> dict[str, Any] | None:
        """Return the plan of the run that was begun, None where none was; an empty one where it is damaged."""
        path = self.folder / _PLAN
        with reporting(path, "read"), suppress(FileNotFoundError):
            return unsealed(path.read_bytes()) or {}
        return None

    def count(self) -> int:
        """Return how many units are done."""
        return sum(not path.name.startswith(".") for path in self._parts.iterdir()) if self._parts.is_dir() else 0

    def begin(self, plan: dict[str, Any]) -> None:
        """Begin a run; what another one left goes, its plan first."""
        remove(self.folder / _PLAN)
        remove(self._parts)
        make_folder(self._parts)
        publish_bytes(self.folder / _PLAN, sealed(plan))
        self.go_on()

    def go_on(self) -> None:
        """Remove what a killed process had under way."""
        remove_temporaries(self.folder)
        remove_temporaries(self._parts)
        for name in (_WHOLE, _RECORD):
            remove(self.folder / name)

    def require_same(self, identity: dict[str, Any]) -> None:
        """Refuse to go on with the run that was begun where it is another one.

        Raises
        ------
        MismatchError
            It is.
        """
        found = self.plan() or {}
        known = found.get("identity", {})
        if known != identity:
            names = ", ".join(name for name, _ in differing([known, identity]))
            raise MismatchError(
                f"{self.out}: another run was begun there (other {names}), and {self.count():,} units of it are done; go on with its own "
                "options and inputs, or begin anew with --overwrite"
            )

    def save(self, unit: Unit, data: bytes, counts: dict[str, Any]) -> None:
        """Publish the lines of a unit, compressed: from then on it is done."""
        head = sealed(
            {
                "unit": unit.number,
                "read": unit.digest(),
                "sha256": hashlib.sha256(data).hexdigest(),
                "counts": counts,
            }
        )
        publish_bytes(self._path(unit.number), head + b"\n" + data)

    def counts(self, unit: Unit) -> dict[str, Any] | None:
        """Return the counts of a unit that is done, None where it is not, or its part is damaged or of other text."""
        path = self._path(unit.number)
        with reporting(path, "read"), suppress(FileNotFoundError):
            head, _, data = path.read_bytes().partition(b"\n")
            said = unsealed(head) or {}
            wanted = {"unit": unit.number, "read": unit.digest(), "sha256": hashlib.sha256(data).hexdigest()}
            if {name: said.get(name) for name in wanted} == wanted:
                counts: dict[str, Any] = said["counts"]
                return counts
        return None

    def join(self, count: int, *, replace: bool) -> tuple[int, str]:
        """Publish the first so many parts, one after another, as the output; return its bytes and SHA-256.

        Raises
        ------
        ConfigError
            Another file has come there since the run was begun, and `replace` does not say that it goes.
        """
        content, size = hashlib.sha256(), 0

        def write(file: IO[bytes]) -> None:
            nonlocal size
            for data in (data for number in range(count) for data in self._data(number)):
                content.update(data)
                size += len(data)
                file.write(data)
            if not replace and self.out.exists() and digest(self.out) != content.hexdigest():
                raise ConfigError(
                    f"{self.out}: a file has come there since the run was begun; move it, or give --overwrite"
                )

        publish(self.out, write, self.folder / _WHOLE)
        return size, content.hexdigest()

    def _data(self, number: int) -> Iterator[bytes]:
        with self._path(number).open("rb") as file:
            file.readline()
            yield from iter(lambda: file.read(_PIECE_BYTES), b"")

    def _path(self, number: int) -> Path:
        return self._parts / f"{number:08}"

    def save_record(self, path: Path, data: bytes) -> None:
        """Publish the record of the output."""
        publish(path, lambda file: file.write(data), self.folder / _RECORD)

    def clear(self) -> None:
        """Remove everything but the lock, the plan first: what is left then belongs to no run."""
        with reporting(self.folder, "remove"):
            (self.folder / _PLAN).unlink(missing_ok=True)
            for path in self.folder.iterdir():
                if path.name != LOCK:
                    remove(path)
