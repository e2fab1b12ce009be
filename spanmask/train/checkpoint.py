"""A run's state on disk, whole or not at all.

::

    RUN/checkpoints/step-00000100/model.safetensors       parameters by name, float32
                                  optimizer.safetensors   AdamW's two moments of each
                                  state.json              step, place in the stream, configuration, versions, and the SHA-256 of the two

Files are written under a temporary folder's name, flushed, and the folder is renamed. state.json holds the digests of the other files and
of its own content, and all are compared before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from spanmask.config import canonical_json, fingerprint
from spanmask.errors import ConfigError, MismatchError, StorageError
from spanmask.storage import digest, make_folder, reporting, sync_folder

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_FOLDER = "step-"
_TEMPORARY = ".tmp-"
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
        copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=cuda)
        copies[name].copy_(tensor.detach(), non_blocking=cuda)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return copies


class CheckpointWriter:
    """Writes checkpoints in a thread, one after the other, and removes all but the latest.

    Parameters
    ----------
    folder
        ``RUN/checkpoints``.
    keep
        How many stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        make_folder(folder)
        _remove_leftovers(folder)

    def begin(self, checkpoint: Checkpoint) -> None:
        """Start writing a checkpoint, after the one before.

        Raises
        ------
        StorageError
            The one before could not be written.
        """
        self.finish()
        self._thread = threading.Thread(target=self._work, args=(checkpoint,), name="spanmask-checkpoint")
        self._thread.start()

    def _work(self, checkpoint: Checkpoint) -> None:
        try:
            write_checkpoint(self._folder, checkpoint)
            for folder in checkpoints_in(self._folder)[: -self._keep]:
                remove_checkpoint(folder)
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
    temporary = folder / f"{_TEMPORARY}{secrets.token_hex(8)}-{final.name}"
    try:
        temporary.mkdir()
        files = {MODEL: checkpoint.model, OPTIMIZER: checkpoint.optimizer}
        digests = {name: _write(temporary / name, _safetensors(tensors)) for name, tensors in files.items()}
        content = checkpoint.state | {"files": digests}
        whole = {"content": content, "sha256": fingerprint(content)}
        _write(temporary / STATE, [memoryview(canonical_json(whole))])
        sync_folder(temporary)
        if final.exists():
            remove_checkpoint(final)
        temporary.rename(final)
        sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{final}: could not write the checkpoint ({error.strerror or error}); those before it are whole: "
            "free some space or check the disk, then go on with --resume"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _write(path: Path, chunks: Iterable[memoryview]) -> str:
    """Write a file and flush it to disk; return its SHA-256."""
    hashed = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
            hashed.update(chunk)
        file.flush()
        os.fsync(file.fileno())
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
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder of them, the latest last."""
    names = (path for path in folder.glob(f"{_FOLDER}*") if path.name.removeprefix(_FOLDER).isdigit())
    return sorted(names, key=lambda path: int(path.name.removeprefix(_FOLDER)))


def latest_checkpoint(run: str | Path) -> Path | None:
    """Return the folder of a run's latest checkpoint, None if it has none yet."""
    found = checkpoints_in(Path(run) / "checkpoints")
    return found[-1] if found else None


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
    tensors = {name: _read_tensors(folder / name, state["files"][name]) for name in wanted}
    return Checkpoint(model=tensors[MODEL], optimizer=tensors.get(OPTIMIZER, {}), state=state)


def read_state_file(path: Path) -> dict[str, Any]:
    """Read a ``state.json`` after comparing its digest; raises as `read_checkpoint` does."""
    with reporting(path, "read"):
        data = path.read_bytes()
    try:
        whole = json.loads(data)
        content: dict[str, Any] = whole["content"]
        told = whole["sha256"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MismatchError(f"{path}: not a checkpoint's state; {_ADVICE}") from None
    found = fingerprint(content)
    if told != found:
        raise MismatchError(f"{path}: its content hashes to {found}, and it says {told}: it was altered; {_ADVICE}")
    return content


_ADVICE = "copy the checkpoint again, or remove its folder to go on from the one before"


def _read_tensors(path: Path, told: str) -> Tensors:
    if not path.exists():
        raise ConfigError(f"{path}: the file is missing; {_ADVICE}")
    found = digest(path)
    if found != told:
        raise MismatchError(
            f"{path}: its SHA-256 is {found}, and {STATE} says {told}: it is truncated or altered; {_ADVICE}"
        )
    return load_file(path)


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint; it is renamed first, so that no part of one is ever taken for the whole.

    Raises
    ------
    StorageError
        The file system refused.
    """
    with reporting(folder, "remove"):
        shutil.rmtree(folder.rename(folder.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}-{folder.name}")))


def _remove_leftovers(folder: Path) -> None:
    with reporting(folder, "clean"):
        for path in folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path)
