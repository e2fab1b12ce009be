"""Weights as ``torch.save`` writes them: a pickle, which can name code, with the tensors' bytes behind it. Only tensors are taken of one.

Two layouts hold a model: a zip archive (PyTorch 1.6 on) with ``data.pkl`` and a file for each storage, and pickles one after another with
the storages behind them. A file is looked at before torch's weights-only loader sees it: what its pickles name, how long they are, and that
nothing is compressed. While that reads, no storages are made beyond what the file holds, and none grows.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import torch
from torch import Tensor

from spanmask.errors import ConfigError, SpanmaskError
from spanmask.model.fitting import machine_bytes
from spanmask.model.naming import State
from spanmask.storage import reporting, require_file

#: Bytes of pickles, and of an archive's list of files, at most: those of BERT-large have 0.1 MB.
_LIMIT = 1 << 20
#: What a pickle of tensors names.
_NAMED = {"collections OrderedDict"} | {
    f"torch._utils _rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter")
}
_STORAGES = {
    f"torch {name}Storage"
    for name in ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
}
#: How the layout without an archive begins: a number as a pickle, then that of the layout and the machine's sizes; then the two that tell.
_LEGACY, _PICKLES = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", 5
#: Where a tape archive, PyTorch's before 0.2, says that it is one.
_TAPE = slice(257, 262)

_ELSE = "save the model as safetensors where you trust it (transformers' save_pretrained does)"


def read_pickled(path: Path) -> State:
    """Return the tensors of what ``torch.save`` wrote of a state dictionary, each with memory of its own, on the host.

    Raises
    ------
    ConfigError
        The file is missing, broken, claims more than it holds, or needs more than tensors by name.
    StorageError
        The file system refused.
    """
    require_file(path)
    with reporting(path, "read"):
        try:
            archive, limit = _looked_at(path)
            # Of an archive the storages are the file's, mapped; of the other layout they are read.
            found = torch.load(path, map_location=_within(path, limit), weights_only=True, mmap=archive)
            return _tensors(path, found, limit)
        except (SpanmaskError, OSError):
            raise
        except Exception as error:
            told = str(error).partition("\n")[0]
            raise ConfigError(
                f"{path}: not a whole file of torch.save ({type(error).__name__}: {told:.120}); copy it again, or {_ELSE}"
            ) from None


def _looked_at(path: Path) -> tuple[bool, int]:
    """Refuse what is more than tensors, or torch.save would not write; return whether it is an archive, and its storages' bytes at most."""
    with _Shortly(path) as file:
        start = file.read(512)
        file.seek(0)
        if start.startswith(b"PK\x03\x04"):
            return True, _look_at_archive(path, file)
        if start[_TAPE] == b"ustar":
            _refuse(path, "a tape archive, as PyTorch before 0.2 wrote, which its weights-only loader does not read")
        if not start.startswith(_LEGACY):
            _refuse(path, "it begins as nothing that torch.save writes")
        pickles = io.BytesIO(file.read(_LIMIT))
    for _ in range(_PICKLES):
        _look_at_pickle(path, pickles)
    limit = path.stat().st_size - pickles.tell()
    # A sparse file may be any size, and its storages are read.
    if limit > machine_bytes():
        _refuse(path, f"its storages have {limit:,} bytes, and this machine's memory {machine_bytes():,}")
    return False, limit


def _look_at_archive(path: Path, file: IO[bytes]) -> int:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.orig_filename.lower() for entry in entries]
        told = [entry for entry, name in zip(entries, names, strict=True) if name.endswith("/data.pkl")]
        if any(name.endswith("/constants.pkl") for name in names):
            _refuse(path, "a TorchScript archive, which is code")
        if len(told) != 1:
            _refuse(path, f"an archive with {len(told)} data.pkl, expected one")
        size = path.stat().st_size
        if any(entry.compress_type for entry in entries) or sum(entry.file_size for entry in entries) > size:
            _refuse(path, "what is in the archive is compressed, or lies over another, as torch.save never has it")
        if told[0].file_size > _LIMIT:
            _refuse(path, f"its data.pkl has {told[0].file_size:,} bytes, at most {_LIMIT:,} are read")
        _look_at_pickle(path, io.BytesIO(archive.read(told[0])))
        return sum(entry.file_size for entry, name in zip(entries, names, strict=True) if "/data/" in name)


class _Shortly(io.FileIO):
    """A file of which nobody is given much at once: a list of an archive's files may say any length."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(_LIMIT + 1 if size is None or size < 0 else min(size, _LIMIT + 1))
        if len(data) > _LIMIT:
            raise ValueError(f"more than {_LIMIT:,} bytes of description")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        # The system would refuse, as if the disk were at fault.
        if whence == io.SEEK_SET and offset < 0:
            raise ValueError("a part begins before the file does")
        return super().seek(offset, whence)


def _look_at_pickle(path: Path, pickle: IO[bytes]) -> None:
    """Go through one pickle without doing what it says."""
    for code, value, _ in pickletools.genops(pickle):
        if code.name == "PROTO" and value != 2:
            _refuse(path, f"a pickle of protocol {value}, expected torch.save's, 2")
        if code.name == "GLOBAL" and value not in _NAMED | _STORAGES:
            name = str(value).replace(" ", ".")
            _refuse(path, f"it names {name!r:.80}, and of a pickle, which can run any code, only tensors are read")


def _within(path: Path, limit: int) -> Callable[[Any, str], Any]:
    """Return what torch asks where a storage goes: to the host, without room to grow, together no more than so many bytes."""
    left = limit

    def place(storage: Any, _: str) -> Any:
        nonlocal left
        left -= storage.nbytes()
        if left < 0:
            _refuse(path, f"its storages have more bytes than the {limit:,} that it holds")
        return storage[:]

    return place


def _tensors(path: Path, found: Any, limit: int) -> State:
    """Return the tensors that were read, those that share memory or are not in order copied."""
    if type(found) not in (dict, OrderedDict):
        _refuse(path, f"it holds a {type(found).__name__}, expected tensors by name")
    # By name, as what was unpickled may have other items than it says.
    state = {name: found[name] for name in found}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            _refuse(
                path, f"it holds {name!r:.80}, of type {kind}, expected tensors by name, as of a model's state_dict()"
            )
    # An embedding lies there again as the decoder of each head.
    if sum(tensor.nbytes for tensor in state.values()) > 3 * limit:
        _refuse(path, f"its tensors have more than three times the {limit:,} bytes that it holds")
    taken: set[int] = set()
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        own = tensor.detach().clone(memory_format=torch.contiguous_format) if place in taken else tensor.detach()
        state[name] = own.contiguous()
        taken.add(place)
    return state


def _refuse(path: Path, why: str) -> NoReturn:
    raise ConfigError(f"{path}: {why}; {_ELSE}")
