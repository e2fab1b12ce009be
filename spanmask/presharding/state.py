"""The state of a run under way, in ``DIR/.spanmask``: lock, plan, receipts. Gone when the dataset is finished."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanmask.config import canonical_json, fingerprint
from spanmask.errors import MismatchError
from spanmask.shard.manifest import MANIFEST, SPLITS, Manifest, ShardRecord
from spanmask.storage import make_folder, publish_bytes, remove_temporaries, reporting, sync_folder

FOLDER = ".spanmask"
CARD = "README.md"


class RunState:
    """The folder of a run: where its shards go, which units are done, and how it becomes a finished dataset.

    Parameters
    ----------
    out
        The dataset's folder.
    replacing
        Whether a finished dataset stands there; the new shards then wait in the state folder until they are complete.
    """

    def __init__(self, out: Path, *, replacing: bool) -> None:
        self.out = out
        self.folder = out / FOLDER
        self.receipts_folder = self.folder / "receipts"
        self.root = self.folder / "replacement" if replacing else out

    def saved_plan(self) -> dict[str, Any] | None:
        """Return the plan of the run that was started here, if any."""
        plan: dict[str, Any] | None = _read_json(self.folder / "plan.json")
        return plan

    def start(self, plan: dict[str, Any]) -> None:
        """Make the folders and save the plan, unless it is there."""
        for folder in (self.receipts_folder, *(self.root / split for split in SPLITS)):
            make_folder(folder)
            remove_temporaries(folder)
        if self.saved_plan() is None:
            publish_bytes(self.folder / "plan.json", canonical_json(plan))

    def discard(self) -> None:
        """Remove what an unfinished run left, but for the lock."""
        with reporting(self.folder, "remove"):
            for path in self.folder.iterdir():
                if path.name != "lock":
                    _remove(path)
            if not (self.out / MANIFEST).exists():
                for split in SPLITS:
                    _remove(self.out / split)

    def save_receipt(self, receipt: dict[str, Any]) -> None:
        """Publish a unit's receipt: from then on it is done."""
        body = {**receipt, "digest": fingerprint(receipt)}
        publish_bytes(self.receipts_folder / f"{receipt['unit']}.json", canonical_json(body))

    def receipts(self) -> Iterator[dict[str, Any]]:
        """Yield the receipts whose shards are there with the size they had, in order of units."""
        for path in sorted(self.receipts_folder.glob("*.json")):
            receipt = _read_json(path)
            if receipt is None:
                continue
            digest = receipt.pop("digest", None)
            if digest == fingerprint(receipt) and all(self._is_there(record) for record in _records(receipt)):
                yield receipt

    def _is_there(self, record: ShardRecord) -> bool:
        path = self.root / record.path
        return path.is_file() and path.stat().st_size == record.bytes

    def stage(self, manifest: Manifest, card: str) -> None:
        """Write down the finished dataset's manifest and card; `commit` may then be repeated until it ends."""
        publish_bytes(self.folder / CARD, card.encode())
        publish_bytes(self.folder / MANIFEST, manifest.to_bytes())

    @property
    def staged(self) -> bool:
        """Whether the dataset only waits to be committed."""
        return (self.folder / MANIFEST).exists()

    def commit(self) -> None:
        """Put everything in its place, the manifest last, and remove the state."""
        with reporting(self.out, "finish the dataset"):
            if self.staged:
                self._place_shards()
                os.replace(self.folder / CARD, self.out / CARD)
                os.replace(self.folder / MANIFEST, self.out / MANIFEST)
                sync_folder(self.out)
            shutil.rmtree(self.folder)

    def _place_shards(self) -> None:
        if self.root != self.out:
            (self.out / MANIFEST).unlink(missing_ok=True)
            for split in SPLITS:
                if (self.root / split).is_dir():
                    _remove(self.out / split)
                    os.replace(self.root / split, self.out / split)
        for split in SPLITS:
            folder = self.out / split
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if not (self.folder / CARD).exists():
            publish_bytes(self.folder / CARD, (self.out / CARD).read_bytes())


def _records(receipt: dict[str, Any]) -> Iterator[ShardRecord]:
    for records in receipt["shards"].values():
        for record in records:
            yield ShardRecord.from_json(record)


def _read_json(path: Path) -> Any:
    """Return a state file's content, or None where it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run's lock, which dies with the process.

    Raises
    ------
    MismatchError
        Another process is writing this dataset.
    """
    path = out / FOLDER / "lock"
    with reporting(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MismatchError(
                f"{out}: another spanmask process is writing it; wait for it, or choose another --out"
            ) from None
        yield
    finally:
        os.close(descriptor)
