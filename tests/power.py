"""What a disk may hold after a power cut: the steps of a run played up to some place, what was not flushed being there or not.

A file's bytes are sure once the file was flushed, a folder's entries once that folder was. What is not sure may be lost one by one, in any
combination; a rename is one change of two folders, lost or kept as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from steps import Step

Tree = dict[str, bytes]
#: What has a name in a folder, by the numbers of both.
Entries = dict[tuple[int, str], int]


@dataclass(slots=True)
class _File:
    """What was written to a file: its bytes, and how many of them were written and flushed after which step."""

    data: bytes = b""
    written: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    flushed: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])

    def at(self, cut: int, *, kept: bool) -> bytes:
        return self.data[: max(size for step, size in (self.written if kept else self.flushed) if step <= cut)]


@dataclass(frozen=True, slots=True)
class _Change:
    """A step that changed entries: each with what had the name from then on."""

    step: int
    entries: tuple[tuple[tuple[int, str], int | None], ...]


class Disk:
    """A folder as it was when all of it was flushed, and the steps of a run since."""

    def __init__(self, root: Path, before: Tree, steps: Iterable[Step]) -> None:
        self.root = PurePath(root)
        self.files: dict[int, _File] = {}
        self.entries: Entries = {}
        self.nodes = 1
        self.changes: list[_Change] = []
        self.flushes: dict[int, list[int]] = {}
        for path, data in before.items():
            key = self._key(self.root / path.rstrip("/"))
            self.entries[key] = self._new(file=not path.endswith("/"))
            if not path.endswith("/"):
                size = len(data)
                self.files[self.entries[key]] = _File(data, [(0, size)], [(0, size)])
        self.before = dict(self.entries)
        self.steps = 0
        for step in steps:
            self.steps += 1
            self._play(step)

    def _new(self, *, file: bool) -> int:
        self.nodes += 1
        if file:
            self.files[self.nodes] = _File()
        return self.nodes

    def _node(self, path: PurePath) -> int:
        """Return the number of what stands at a path now; 0 is the folder itself."""
        node = 0
        for name in path.relative_to(self.root).parts:
            node = self.entries[node, name]
        return node

    def _key(self, path: PurePath) -> tuple[int, str]:
        return self._node(path.parent), path.name

    def _play(self, step: Step) -> None:
        path = PurePath(step.path)
        if self.root not in (path, *path.parents):
            return
        if step.kind == "write":
            file = self.files[self._node(path)]
            file.data += step.data
            file.written.append((self.steps, len(file.data)))
        elif step.kind == "fsync" and (node := self._node(path)) in self.files:
            self.files[node].flushed.append((self.steps, len(self.files[node].data)))
        elif step.kind == "fsync":
            self.flushes.setdefault(node, []).append(self.steps)
        elif path != self.root:
            # A step is told before it is taken, and some are in vain: what is missing is made or left out then.
            with suppress(KeyError):
                self._change(self._changed(step, self._key(path)))

    def _changed(self, step: Step, key: tuple[int, str]) -> dict[tuple[int, str], int | None]:
        if step.kind == "rename":
            return {self._key(PurePath(step.to)): self.entries[key], key: None}
        if step.kind == "link":
            return {self._key(PurePath(step.to)): self.entries[key]}
        if step.kind in ("remove", "rmdir"):
            return {key: None}
        return {} if key in self.entries else {key: self._new(file=step.kind == "open")}

    def _change(self, changed: dict[tuple[int, str], int | None]) -> None:
        self.changes.append(_Change(self.steps, tuple(changed.items())))
        _apply(self.entries, self.changes[-1])

    def _is_sure(self, change: _Change, cut: int) -> bool:
        return any(
            change.step < flush <= cut for (folder, _), _ in change.entries for flush in self.flushes.get(folder, ())
        )

    def after(self, cut: int, keeps: Callable[[], bool]) -> Tree:
        """Return the files there may be, and folders, which end in a slash, where the power goes after so many steps.

        keeps: asked of each thing that is not sure.
        """
        entries = dict(self.before)
        for change in self.changes:
            if change.step <= cut and (self._is_sure(change, cut) or keeps()):
                _apply(entries, change)
        return {
            path: self.files[node].at(cut, kept=keeps()) if node in self.files else b""
            for path, node in self._below(0, "", entries)
        }

    def _below(self, folder: int, path: str, entries: Entries) -> Iterator[tuple[str, int]]:
        for (parent, name), node in entries.items():
            if parent == folder and node in self.files:
                yield f"{path}{name}", node
            elif parent == folder:
                yield f"{path}{name}/", node
                yield from self._below(node, f"{path}{name}/", entries)


def _apply(entries: Entries, change: _Change) -> None:
    for key, node in change.entries:
        if node is None:
            entries.pop(key, None)
        else:
            entries[key] = node
