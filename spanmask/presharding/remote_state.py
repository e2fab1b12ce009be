"""The state of a run whose dataset goes to an object store: the same files as in a folder, without a lock and without a rename.

Shards have their final names at once: before the manifest they are no dataset. Who has the same plan may run beside it, and writes the same
bytes; the name of the plan is given once, so another plan finds it taken. The manifest is the last object that gets a name, then the state
goes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from spanmask import remote
from spanmask.asking import in_order
from spanmask.config import canonical_json
from spanmask.errors import ConfigError, IncompleteShards, MismatchError, StorageError
from spanmask.places import RemotePlace
from spanmask.presharding.plan_file import key_of, require_writer, saved_identity
from spanmask.presharding.receipt import UNIT, Receipt
from spanmask.presharding.state import CARD, FAILED, FOLDER, PLAN, RECEIPTS, receipt_of, sealed, unsealed
from spanmask.shard.manifest import MANIFEST, Manifest
from spanmask.shard.parts import SKIPPED, SPLITS
from spanmask.shard.table import SHARDS, table_bytes

_RECEIPTS, _FAILED, _PLAN = (f"{FOLDER}/{name}" for name in (RECEIPTS, FAILED, PLAN))
#: What a plan says of the request that began it, which no other one shares.
BEGUN = "begun"
#: Seconds after which an upload in parts that was begun, and not ended, is taken to be given up.
_GIVEN_UP = 86400
#: Units whose shards are looked at one by one: a listing has a thousand at a time, whoever's they are.
_FEW = 100


class RemoteState:
    """The prefix of a run; see `spanmask.presharding.state.RunState`."""

    def __init__(self, place: RemotePlace) -> None:
        self.out = place
        self.root = place.url
        self._waiting: Manifest | None = None

    def saved_plan(self) -> dict[str, Any] | None:
        """Return the plan of the run that was started here, if any; an empty one where it is damaged."""
        data = self._read(_PLAN)
        return None if data is None else unsealed(data) or {}

    @property
    def plan_key(self) -> str | None:
        """The `Plan.key` of the run that was started here, None where none was."""
        found = remote.find(f"{self.root}/{_PLAN}")
        return None if found is None else _key_of(self.out, found.pin)

    def may_discard(self, *, overwrite: bool) -> bool:  # noqa: ARG002
        """Return False: without a lock nobody can tell whether the run that began here still lives."""
        return False

    def start(self, plan: dict[str, Any]) -> None:
        """Give the plan its name, unless a run with the same one did.

        Raises
        ------
        MismatchError
            A run with another plan began there, or one of another pyarrow, whose shards would be other bytes under the same names.
        """
        if not self.out.publish_new(_PLAN, sealed(plan)):
            saved = self.saved_plan()
            if saved is not None and saved_identity(saved) != saved_identity(plan):
                require_writer(saved, str(self.out))
                raise MismatchError(f"{self.out}: a run of another configuration began there; choose another --out")

    def discard(self) -> None:
        """Remove what this run left, the plan last; a finished dataset stays."""
        if not self.is_finished:
            self.out.remove(*(name for split in SPLITS for name in self.out.names(split)))
        self.clear()

    def abandon(self, begun: str) -> None:
        """Take back a plan, if the request of this name began it, and nothing else lies there: what does may be another's."""
        saved = self.saved_plan()
        if saved and saved.get(BEGUN) == begun and self.out.names() == [_PLAN]:
            self.out.remove(_PLAN)

    def save_receipt(self, receipt: Receipt) -> None:
        """Publish a unit's receipt: from then on it is done."""
        self.out.publish(f"{_RECEIPTS}/{receipt.unit}.json", sealed(receipt.to_json()))

    def save_failure(self, unit: str, reason: str) -> None:
        """Publish that a unit was given up, and why."""
        self.out.publish(f"{_FAILED}/{unit}.json", canonical_json({"unit": unit, "reason": reason}))

    def units(self, task: int | None = None) -> list[str]:
        """Return the names of the units that have receipts, sorted; those of one task, or all."""
        names = [name.rpartition("/")[2].removesuffix(".json") for name in self.out.names(_RECEIPTS)]
        return [name for name in names if UNIT.fullmatch(name) and task in (None, int(name.split("-")[0]))]

    def receipts(self, units: Iterable[str], plan: str) -> Iterator[Receipt]:
        """Yield the receipts of units of a plan, by its key, whose shards are there with their sizes: no object is ever there in part."""
        units = list(units)
        if not units:
            return
        size = self.out.size if len(units) <= _FEW else self._sizes().get
        for receipt in in_order(partial(self._receipt, plan), units, lambda _: True):
            if receipt is not None and all(size(record.path) == record.bytes for record in receipt.records):
                yield receipt

    def _sizes(self) -> dict[str, int]:
        return {name: size for split in SPLITS for name, size in self.out.sizes(split).items()}

    @property
    def is_finished(self) -> bool:
        """Whether a finished dataset stands here."""
        return self.out.size(MANIFEST) is not None

    @property
    def staged(self) -> bool:
        """Whether the dataset only waits to be committed: never, since nothing is renamed."""
        return False

    @property
    def is_under_way(self) -> bool:
        """Whether a run began here and has not ended."""
        return not self.is_finished and self.out.size(_PLAN) is not None

    def stage(self, manifest: Manifest, card: str, skipped: bytes) -> None:
        """Write what lies beside the shards, but for the manifest, which `commit` gives its name."""
        self.out.publish(CARD, card.encode())
        if skipped:
            self.out.publish(SKIPPED, skipped)
        self.out.publish(SHARDS, table_bytes(manifest.splits))
        self._waiting = manifest

    def commit(self) -> None:
        """Give the manifest its name, and remove the state, and uploads that others began a day ago or earlier, where that is allowed.

        Raises
        ------
        IncompleteShards
            A shard is not there, or has another size.
        MismatchError
            Another dataset was finished there meanwhile.
        """
        manifest = self._waiting
        if manifest is None:
            return
        sizes = {name: size for split in manifest.splits for name, size in self.out.sizes(split).items()}
        for split in manifest.splits.values():
            for record in split.shards:
                if sizes.get(record.path) != record.bytes:
                    raise IncompleteShards("it is gone from the store; run the same command again", path=record.path)
        if not self.out.publish_new(MANIFEST, manifest.to_bytes()):
            raise MismatchError(f"{self.out}: another dataset was finished there meanwhile; choose another --out")
        self.clear()
        with suppress(StorageError):
            old = [upload for upload in remote.uploads(self.root) if time.time() - upload.begun > _GIVEN_UP]
            remote.abort_uploads(self.root, old)

    def clear(self) -> None:
        """Remove the state, the plan last."""
        names = self.out.names(FOLDER)
        self.out.remove(*(name for name in names if name != _PLAN))
        self.out.remove(_PLAN)

    def _read(self, name: str) -> bytes | None:
        try:
            return self.out.read(name)
        except ConfigError:
            return None

    def _receipt(self, plan: str, unit: str) -> Receipt | None:
        return receipt_of(self._read(f"{_RECEIPTS}/{unit}.json"), unit, plan)


@lru_cache(maxsize=8)
def _key_of(place: RemotePlace, _: str) -> str:
    """Return the key of a saved plan, which is read once as long as its pin is the same: each of many tasks would download it."""
    return key_of(saved_identity(unsealed(place.read(_PLAN)) or {}))
