"""The state of a run under way, in ``DIR/.spanmask``: lock, plan, receipts. Gone when the dataset is finished."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from spanmask.collector import held_off
from spanmask.config import canonical_json, fingerprint
from spanmask.errors import MismatchError, SpanmaskError
from spanmask.folders import LOCK, sole_writer
from spanmask.presharding.plan_file import key_of, saved_identity
from spanmask.presharding.receipt import UNIT, Receipt
from spanmask.shard.manifest import MANIFEST, Manifest, write_manifest
from spanmask.shard.parts import SKIPPED, SPLITS
from spanmask.shard.table import SHARDS, ShardRecord
from spanmask.storage import digest, make_folder, publish_bytes, remove, remove_temporaries, reporting, sync_folder

FOLDER = ".spanmask"
CARD = "README.md"
PLAN = "plan.json"
STDIN_FOLDER, RECEIPTS, FAILED = "stdin", "receipts", "failed"
#: Locked by the one of several processes that finishes their work.
FINISHING = "finishing"
#: Seconds that one of several processes waits for one that works alone.
PATIENCE = 60.0


class _UnderWay(Protocol):
    out: Any

    @property
    def staged(self) -> bool: ...
    @property
    def is_under_way(self) -> bool: ...
    @property
    def plan_key(self) -> str | None: ...


class RunState:
    """The folder of a run: where its shards go, which units are done, and how it becomes a finished dataset.

    Parameters
    ----------
    out
        The dataset's folder. Where a finished dataset stands in it, new shards wait in the state folder until they are complete.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / FOLDER
        self.receipts_folder = self.folder / RECEIPTS
        self.failures_folder = self.folder / FAILED
        waiting = self.folder / "replacement"
        self.root = waiting if _exists(waiting) or _exists(out / MANIFEST) else out

    def saved_plan(self) -> dict[str, Any] | None:
        """Return the plan of the run that was started here, if any; an empty one where it is damaged."""
        path = self.folder / PLAN
        with reporting(path, "read"), suppress(FileNotFoundError, NotADirectoryError):
            return unsealed(path.read_bytes()) or {}
        return None

    @property
    def plan_key(self) -> str | None:
        """The `Plan.key` of the run that was started here, None where none was."""
        path = self.folder / PLAN
        with reporting(path, "read"), suppress(FileNotFoundError, NotADirectoryError):
            found = path.stat()
            return _key_of(path, found.st_ino, found.st_mtime_ns, found.st_size)
        return None

    def start(self, plan: dict[str, Any]) -> None:
        """Make the folders and save the plan."""
        for folder in (self.receipts_folder, *(self.root / split for split in SPLITS)):
            make_folder(folder)
            remove_temporaries(folder)
        publish_bytes(self.folder / PLAN, sealed(plan))
        # Else a power cut could leave shards and nothing that says whose they are, or receipts without the folder of their shards.
        with reporting(self.out, "write"):
            for folder in (self.root, self.out):
                sync_folder(folder)

    def discard(self) -> None:
        """Remove what an unfinished run left, but for lock and standard input."""
        if not _exists(self.out / MANIFEST):
            for split in SPLITS:
                remove(self.out / split)
        self.clear(STDIN_FOLDER)

    def abandon(self) -> None:
        """Remove what a run left that failed before anything was done; where some was, a later run goes on."""
        if not (self.staged or self.has_receipts):
            self.discard()

    def save_receipt(self, receipt: Receipt) -> None:
        """Publish a unit's receipt: from then on it is done."""
        publish_bytes(self.receipts_folder / f"{receipt.unit}.json", sealed(receipt.to_json()))
        remove(self.failures_folder / f"{receipt.unit}.json")

    def save_failure(self, unit: str, reason: str) -> None:
        """Publish that a unit was given up, and why; its receipt, if a later run has one, takes that back."""
        make_folder(self.failures_folder)
        publish_bytes(self.failures_folder / f"{unit}.json", canonical_json({"unit": unit, "reason": reason}))

    def units(self, task: int | None = None) -> list[str]:
        """Return the names of the units that have receipts, sorted; those of one task, or all."""
        names = (name.removesuffix(".json") for name in self._names_of_receipts() if name.endswith(".json"))
        return sorted(name for name in names if UNIT.fullmatch(name) and task in (None, int(name.split("-")[0])))

    def _names_of_receipts(self) -> list[str]:
        # A glob would take a file system that does not answer for a folder of nothing, and what is done for nothing to lose.
        with reporting(self.receipts_folder, "list"), suppress(FileNotFoundError):
            return os.listdir(self.receipts_folder)
        return []

    def receipts(self, units: Iterable[str], plan: str) -> Iterator[Receipt]:
        """Yield the receipts of units of a plan, by its key, whose shards are there as they were written; another one's is done again."""
        for unit in units:
            path = self.receipts_folder / f"{unit}.json"
            receipt = _read_receipt(path, plan)
            if receipt is not None and all(self._is_there(record, path) for record in receipt.records):
                yield receipt

    @property
    def has_receipts(self) -> bool:
        """Whether a run that began here has done anything."""
        return any(name.endswith(".json") for name in self._names_of_receipts())

    def _is_there(self, record: ShardRecord, receipt: Path) -> bool:
        """Say whether a shard is as its receipt has it, without reading those that nobody wrote since: they may be ten terabytes.

        A shard has its name before its receipt is written, and had it whole. `verify` reads all.
        """
        path = self.root / record.path
        if not path.is_file() or path.stat().st_size != record.bytes:
            return False
        return path.stat().st_mtime_ns <= receipt.stat().st_mtime_ns or digest(path) == record.sha256

    def stage(self, manifest: Manifest, card: str, skipped: bytes) -> None:
        """Write down what will lie beside the shards, the manifest last; `commit` may then be repeated until it ends."""
        publish_bytes(self.folder / CARD, card.encode())
        if skipped:
            publish_bytes(self.folder / SKIPPED, skipped)
        write_manifest(self.folder, manifest)

    @property
    def staged(self) -> bool:
        """Whether the dataset only waits to be committed."""
        return _exists(self.folder / MANIFEST)

    def may_discard(self, *, overwrite: bool) -> bool:
        """Return whether what a run left may go: a plan without a receipt has nothing to lose, and its process is gone."""
        return overwrite or not self.has_receipts

    @property
    def is_finished(self) -> bool:
        """Whether a finished dataset stands here, which no run under way is replacing: then it is not what will stand here."""
        return _exists(self.out / MANIFEST) and not self.is_under_way

    @property
    def is_under_way(self) -> bool:
        """Whether a run began here and has not ended."""
        return self.staged or _exists(self.folder / PLAN)

    def commit(self) -> None:
        """Put everything in its place, the manifest last, and remove the state but for the locks."""
        with reporting(self.out, "finish the dataset"):
            self._place_shards()
            self._place_files()
            # The staged manifest says that a run waits to be committed: it goes last, so that a kill before it only repeats this.
            (self.folder / PLAN).unlink(missing_ok=True)
            # Else a power cut could leave the manifest's name, and not those that it lists.
            sync_folder(self.out)
            os.replace(self.folder / MANIFEST, self.out / MANIFEST)
            sync_folder(self.out)
            self.clear()

    def clear(self, *kept: str) -> None:
        """Remove everything in the state folder but locks and what is kept; the plan last, so that a kill leaves no orphans."""
        with reporting(self.folder, "remove"):
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name == PLAN):
                if path.name not in (LOCK, FINISHING, *kept):
                    remove(path)

    def _place_shards(self) -> None:
        """Move the shards to their final folders, where those of a dataset that is replaced go first, and remove empty splits.

        Every step may have been done by a run that was killed, so each looks at what is there. The manifest of a dataset that is replaced
        goes before its shards: from then on it counts as unfinished, never as whole with another's rows.
        """
        if self.root != self.out:
            (self.out / MANIFEST).unlink(missing_ok=True)
            sync_folder(self.out)
            for split in SPLITS:
                if (self.root / split).is_dir():
                    remove(self.out / split)
                    os.replace(self.root / split, self.out / split)
        for split in SPLITS:
            folder = self.out / split
            if folder.is_dir():
                remove_temporaries(folder)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _place_files(self) -> None:
        """Move what the staged manifest lists to its place, and the card; a file that a replaced dataset had and this one has not goes."""
        staged = _read_json(self.folder / MANIFEST)
        listed = staged.get("files") if isinstance(staged, dict) else None
        if not isinstance(listed, dict):
            where = self.folder / MANIFEST
            raise MismatchError(f"{where}: the manifest that waits there is damaged; remove it, and run again")
        for name in (CARD, SHARDS, SKIPPED):
            if name == SKIPPED and name not in listed:
                remove(self.out / name)
            elif (self.folder / name).exists():
                os.replace(self.folder / name, self.out / name)


def _exists(path: Path) -> bool:
    """Say whether there is something under a name; unlike `Path.exists`, which takes what does not answer for nothing."""
    with reporting(path, "look at"), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()
        return True
    return False


def receipt_of(data: bytes | None, unit: str, plan: str) -> Receipt | None:
    """Return the receipt that a unit's file holds; None where it is missing, damaged, an earlier release's, another unit's or plan's."""
    content = None if data is None else unsealed(data)
    if content is None:
        return None
    with suppress(ValueError):
        receipt = Receipt.from_json(content)
        return receipt if (receipt.unit, receipt.plan) == (unit, plan) else None
    return None


def sealed(content: dict[str, Any]) -> bytes:
    """Return a state file's bytes, with a digest of what it holds."""
    return canonical_json({**content, "digest": fingerprint(content)})


@held_off()
def unsealed(data: bytes) -> dict[str, Any] | None:
    """Return what a state file holds, or None where it is damaged."""
    try:
        content = json.loads(data)
    except ValueError:
        return None
    if not isinstance(content, dict) or content.pop("digest", None) != fingerprint(content):
        return None
    return content


def _read_receipt(path: Path, plan: str) -> Receipt | None:
    with suppress(FileNotFoundError):
        return receipt_of(path.read_bytes(), path.stem, plan)
    return None


@lru_cache(maxsize=8)
def _key_of(path: Path, *_: int) -> str:
    """Return the key of a saved plan, which is read once as long as its file is the same: one may be tens of megabytes."""
    return key_of(saved_identity(unsealed(path.read_bytes()) or {}))


def _read_json(path: Path) -> Any:
    """Return a state file's content, or None where it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def locked(out: Path, *, patience: float = 0) -> Iterator[None]:
    """Be the only process that writes a dataset; at the end the state folder goes, unless a run is under way in it.

    patience: seconds to wait for others.

    Raises
    ------
    MismatchError
        Another process is writing this dataset.
    """
    with sole_writer(out, out / FOLDER, patience=patience):
        try:
            yield
        except MismatchError:
            raise  # What stands there is another's.
        except SpanmaskError:
            with suppress(SpanmaskError, OSError):
                RunState(out).abandon()
            raise
        finally:
            if not RunState(out).is_under_way:
                shutil.rmtree(out / FOLDER, ignore_errors=True)


@contextmanager
def joined(out: Path, plan: str) -> Iterator[RunState]:
    """Be one of several processes that run units of a plan, by its key, and yield the state of its run.

    Raises
    ------
    MismatchError
        A process that writes it alone is at work, or no run of the plan is under way.
    """
    require_under_way(RunState(out))
    with _sharing(out):
        state = RunState(out)
        # Who was waited for may have finished it, or planned another.
        require_under_way(state)
        require_same(state, plan)
        yield state


@contextmanager
def finisher(out: Path) -> Iterator[RunState]:
    """Be the one of several processes that finishes their work, however long another is at that, and yield its state.

    Who runs units goes on beside it, or stands still: their work is done, or told to be missing.

    Raises
    ------
    MismatchError
        A process that writes it alone is at work.
    """
    with _sharing(out), sole_writer(out, out / FOLDER / FINISHING, patience=math.inf):
        yield RunState(out)


@contextmanager
def _sharing(out: Path) -> Iterator[None]:
    """Share the lock of a dataset; the state folder goes with the last one that does, unless a run is under way in it."""
    with sole_writer(out, out / FOLDER, shared=True, patience=PATIENCE) as alone:
        try:
            yield
        finally:
            state = RunState(out)
            # While others hold the lock, whoever comes must find its file. Once nobody does, somebody may have planned anew.
            if not state.is_under_way and alone() and not state.is_under_way:
                shutil.rmtree(out / FOLDER, ignore_errors=True)


def require_same(state: _UnderWay, plan: str) -> None:
    """Refuse where the run under way is not that of a plan, by its key.

    Raises
    ------
    MismatchError
        It is another's.
    """
    if state.plan_key != plan:
        raise MismatchError(f"{state.out}: another run was begun there meanwhile; nothing was written")


def require_under_way(state: _UnderWay) -> None:
    """Refuse where no run is under way.

    Raises
    ------
    MismatchError
        None is.
    """
    if state.staged:
        raise MismatchError(
            f"{state.out}: all its work is done; `spanmask finalize {shlex.quote(str(state.out))}` puts the dataset in its place"
        )
    if not state.is_under_way:
        raise MismatchError(
            f"{state.out}: no run is under way there: it was finished, or was not planned; nothing was written"
        )
