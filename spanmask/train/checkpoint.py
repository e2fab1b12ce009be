"""A run's state on disk, whole or not at all.

::

    RUN/checkpoints/step-00000100/model.safetensors       parameters by name, float32
                                  optimizer.safetensors   AdamW's two moments of each
                                  state.json              step, place in the stream, configuration, versions, and the SHA-256 of the two

The folder appears whole or not at all (`spanmask.storage.publish_folder`). state.json holds the digests of the other files and
of its own content, and all are compared before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from spanmask.config import canonical_json, fingerprint
from spanmask.errors import ConfigError, MismatchError, StorageError
from spanmask.escaping import short_digest
from spanmask.folders import publish_folder, retract_folder
from spanmask.model.fitting import read_tensors
from spanmask.storage import AGAIN, advice_for, digest, make_folder, remove_temporaries, reporting, require_file

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
ADVICE = "copy the checkpoint again, or remove its folder to go on from the one before"
_FOLDER = "step-"
#: Bytes of a state at most, and updates: beyond, a float does not count them.
_LIMIT, _STEPS = 64 << 20, 1 << 53
_KINDS = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.int64: "I64"}

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A run after a step. model, optimizer: tensors by name, on the host. state: plain JSON values; ``step`` is one."""

    model: Tensors
    optimizer: Tensors
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """The updates that were made."""
        return int(self.state["step"])


def on_host(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return copies of tensors in the host's memory, which go on unchanged while training does."""
    copies = {}
    for name, tensor in tensors.items():
        cuda = tensor.device.type == "cuda"
        # Pinned memory lets all copies run at once, with one wait at the end.
        copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=cuda)
        copies[name].copy_(tensor.detach(), non_blocking=cuda)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return copies


class CheckpointWriter:
    """Writes checkpoints in a thread, one after the other, and removes older ones.

    Parameters
    ----------
    folder
        ``RUN/checkpoints``.
    keep
        How many of the latest stay.
    keep_every
        Those of steps that are multiples of it stay, too; 0: none.
    """

    def __init__(self, folder: Path, keep: int, keep_every: int = 0) -> None:
        self._folder, self._keep, self._every = folder, keep, keep_every
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        make_folder(folder)
        remove_temporaries(folder)

    def begin(self, checkpoint: Checkpoint, besides: Collection[int] = ()) -> None:
        """Start writing a checkpoint, after the one before. besides: steps whose checkpoints stay this time, whatever their age.

        Raises
        ------
        StorageError
            The one before could not be written.
        """
        self.finish()
        self._thread = threading.Thread(target=self._work, args=(checkpoint, besides), name="spanmask-checkpoint")
        self._thread.start()

    def _work(self, checkpoint: Checkpoint, besides: Collection[int]) -> None:
        try:
            write_checkpoint(self._folder, checkpoint)
            # After the new one is there: never fewer than were promised.
            for step, folder in list(checkpoints_in(self._folder).items())[: -self._keep]:
                if step not in besides and not (self._every and step % self._every == 0):
                    retract_folder(folder)
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Raise what a write that is done met.

        Raises
        ------
        StorageError
            The file system refused.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def finish(self) -> None:
        """Wait for the write under way; raises as `check` does."""
        self.wait()
        self.check()

    def wait(self) -> None:
        """Wait for the write under way, whatever becomes of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into a folder of checkpoints, in the place of one of the same step; return its own folder.

    Raises
    ------
    StorageError
        The file system refused; nothing is left behind.
    """
    final = folder / f"{_FOLDER}{checkpoint.step:08}"
    try:
        with publish_folder(final) as written:
            files = {MODEL: checkpoint.model, OPTIMIZER: checkpoint.optimizer}
            digests = {name: written.write(name, partial(_write, tensors)) for name, tensors in files.items()}
            content = checkpoint.state | {"files": digests}
            written.write_bytes(STATE, canonical_json({"content": content, "sha256": fingerprint(content)}))
    except StorageError as error:
        cause = error.__cause__
        raise StorageError(
            f"{final}: could not write the checkpoint ({cause}); those before it are whole: "
            f"{advice_for(cause).replace(AGAIN, 'go on with --resume')}"
        ) from error
    return final


def _write(tensors: Tensors, file: IO[bytes]) -> str:
    """Write a safetensors file; return its SHA-256."""
    hashed = hashlib.sha256()
    for chunk in _safetensors(tensors):
        file.write(chunk)
        hashed.update(chunk)
    return hashed.hexdigest()


def _safetensors(tensors: Tensors) -> Iterator[memoryview]:
    """Yield a safetensors file in pieces, over the tensors' own memory."""
    yield memoryview(_header(tensors))
    yield from (tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data for tensor in tensors.values())


def _header(tensors: Tensors) -> bytes:
    """Return the start of a safetensors file: the length of what follows, in 8 bytes, and types, shapes and places as JSON."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        entries[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    # So that the tensors after it are aligned, as readers that map the file want.
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Return the checkpoints in a folder of them by step, ascending."""
    named = ((path.name.removeprefix(_FOLDER), path) for path in folder.glob(f"{_FOLDER}*"))
    return dict(sorted((int(step), path) for step, path in named if step.isdecimal()))


def latest_checkpoint(run: str | Path) -> Path | None:
    """Return the folder of a run's latest checkpoint, None if it has none yet."""
    found = checkpoints_in(Path(run) / "checkpoints")
    return found[max(found)] if found else None


def read_checkpoint(folder: str | Path, *, optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint after comparing all its digests. optimizer: whether that part is wanted, too.

    Raises
    ------
    ConfigError
        A file is missing.
    MismatchError
        A file is not what was written: it is truncated or altered.
    StorageError
        The file system refused.
    """
    folder = Path(folder)
    state = read_state_file(folder / STATE)
    wanted = (MODEL, OPTIMIZER) if optimizer else (MODEL,)
    tensors = {name: _read_tensors(folder / name, state["files"].get(name)) for name in wanted}
    return Checkpoint(model=tensors[MODEL], optimizer=tensors.get(OPTIMIZER, {}), state=state)


def read_state_file(path: Path) -> dict[str, Any]:
    """Read a ``state.json`` after comparing its digest; raises as `read_checkpoint` does."""
    require_file(path, _LIMIT)
    with reporting(path, "read"):
        data = path.read_bytes()
    try:
        whole = json.loads(data)
        content: dict[str, Any] = whole["content"]
        told = whole["sha256"]
        found = fingerprint(content)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MismatchError(f"{path}: not a checkpoint's state; {ADVICE}") from None
    if told != found:
        raise MismatchError(
            f"{path}: its content hashes to {short_digest(found)}, and it says {short_digest(told)}: it was altered; {ADVICE}"
        )
    step, files = (content.get(name) if isinstance(content, dict) else None for name in ("step", "files"))
    if type(step) is not int or not 0 <= step < _STEPS or not isinstance(files, dict):
        raise MismatchError(f"{path}: it does not tell a step and the digests of files; {ADVICE}")
    return content


def _read_tensors(path: Path, told: Any) -> Tensors:
    if not path.exists():
        raise ConfigError(f"{path}: the file is missing; {ADVICE}")
    require_file(path)
    found = digest(path)
    if found != told:
        raise MismatchError(
            f"{path}: its SHA-256 begins with {short_digest(found)}, and {STATE} says {short_digest(told)}: "
            f"it is truncated or altered; {ADVICE}"
        )
    return read_tensors(path)
