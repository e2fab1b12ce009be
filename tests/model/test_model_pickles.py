"""Pickles that anyone may have written: of one nothing is taken but tensors that its file holds, and nothing that it names is done."""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import struct
import tarfile
import time
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import changed_bytes

from spanmask.errors import ConfigError
from spanmask.model.pickled_weights import read_pickled

STATE = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(4).half()}
BOMB_BYTES = 96 << 20


class Call:
    """What calls something when it is unpickled."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.function, self.given = function, given

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.given


class Storage:
    """So many numbers of float32 under a key, whatever is there."""

    def __init__(self, numbers: Any, key: str = "0") -> None:
        self.numbers, self.key = numbers, key


def _tensor(numbers: Any, size: Sequence[int], stride: Sequence[int], key: str = "0", offset: int = 0) -> Call:
    storage = Storage(numbers, key)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, tuple(size), tuple(stride), False, OrderedDict())


def _pickled(content: Any, *more: Any) -> bytes:
    """more: what follows the number of a storage's elements in its name."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 2)
    pickler.persistent_id = lambda one: (  # type: ignore[method-assign,assignment]
        ("storage", torch.FloatStorage, one.key, "cpu", one.numbers, *more) if isinstance(one, Storage) else None
    )
    pickler.dump(content)
    return file.getvalue()


def _archive(path: Path, content: Any, stored: bytes = bytes(24), **files: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", content if isinstance(content, bytes) else _pickled(content))
        archive.writestr("m/byteorder", "little")
        archive.writestr("m/data/0", stored)
        archive.writestr("m/version", "3\n")
        for name, data in files.items():
            archive.writestr(f"m/{name}", data)


def _legacy(path: Path, content: Any, stored: bytes = bytes(24)) -> None:
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [_pickled(one) for one in (0x1950A86A20F9469CFC6C, 1001, sizes)]
    parts += [_pickled(content, None), _pickled(["0"]), struct.pack("<q", len(stored) // 4), stored]
    path.write_bytes(b"".join(parts))


LAYOUTS: dict[str, Callable[..., None]] = {"archive": _archive, "legacy": _legacy}
each_layout = pytest.mark.parametrize("write", list(LAYOUTS.values()), ids=list(LAYOUTS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pytorch_model.bin"


@each_layout
def test_what_is_written_here_by_hand_is_as_torch_writes_it(path: Path, write: Callable[..., None]) -> None:
    write(path, {"a": _tensor(6, (2, 3), (3, 1))}, torch.arange(6.0).numpy().tobytes())
    for read in (read_pickled(path), torch.load(path, weights_only=True)):
        assert torch.equal(read["a"], STATE["a"])


# --- Code


@each_layout
def test_no_command_of_a_pickle_is_run(path: Path, write: Callable[..., None], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    write(path, {"a": _tensor(6, (2, 3), (3, 1)), "b": Call(os.system, f"touch {ran}")})
    with pytest.raises(ConfigError, match=r"it names 'posix.system', and of a pickle, which can run any code, only"):
        read_pickled(path)
    assert not ran.exists()
    torch.load(path, weights_only=False)
    assert ran.exists(), "the attack is none"


@each_layout
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call(eval, "1"), "__builtin__.eval"),
        (Call(bytearray, 1 << 40), "__builtin__.bytearray"),
        (Call(torch.UntypedStorage, 1 << 40), "torch.storage.UntypedStorage"),
        (Call(torch.device, "meta"), "torch.device"),
        (Call(Counter, "aaa"), "collections.Counter"),
        (Call(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, ()), "torch._utils._rebuild_sparse_tensor"),
    ],
)
def test_what_is_more_than_tensors_is_refused_by_its_name(
    path: Path, write: Callable[..., None], call: Any, name: str
) -> None:
    """Most of them torch's own loader would do."""
    write(path, {"a": call})
    with pytest.raises(ConfigError, match=rf"it names '{name}', and of a pickle, .* only tensors are read; save the"):
        read_pickled(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "it holds a list, expected tensors by name"),
        ({"model": {"a": 1}, "epoch": 3}, "it holds 'model', of type dict, expected tensors by name, as of a model's"),
        ({1: _tensor(6, (2, 3), (3, 1))}, "it holds 1, of type Tensor, expected tensors by name"),
        (torch.Size([3]), "it names 'torch.Size'"),
    ],
)
def test_what_is_no_state_dictionary_is_refused(path: Path, content: Any, told: str) -> None:
    _archive(path, content)
    with pytest.raises(ConfigError, match=told):
        read_pickled(path)


def test_a_whole_model_is_refused_as_the_code_it_is(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ConfigError, match=r"it names 'torch.nn.modules.linear.Linear'"):
        read_pickled(path)


def test_other_files_are_refused_by_what_they_are(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ConfigError, match=r"it begins as nothing that torch.save writes"):
        read_pickled(path)
    torch.save(STATE, path, pickle_protocol=4)
    with pytest.raises(ConfigError, match=r"a pickle of protocol 4, expected torch.save's, 2"):
        read_pickled(path)
    _archive(path, {"a": _tensor(6, (2, 3), (3, 1))}, **{"constants.pkl": _pickled(())})
    with pytest.raises(ConfigError, match="a TorchScript archive, which is code"):
        read_pickled(path)
    with tarfile.open(path, "w") as tape:
        tape.add(__file__, "pickle")
    with pytest.raises(ConfigError, match=r"a tape archive, as PyTorch before 0.2 wrote"):
        read_pickled(path)


# --- Sizes


def _refused(path: Path, told: str = "pytorch_model.bin: ") -> None:
    """In little time and memory."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(ConfigError, match=told):
        read_pickled(path)
    assert time.perf_counter() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


@each_layout
@pytest.mark.parametrize(
    "claims",
    [
        [_tensor(1 << 40, (1 << 40,), (1,))],
        [_tensor(1 << 60, (1 << 60,), (1,))],
        [_tensor(1 << 33, (1 << 33,), (1,))],
        [_tensor(6, (1 << 33,), (1,))],
        [_tensor(6, (1 << 20, 1 << 20), (0, 0))],
        [_tensor(6, (6,), (1,), offset=1 << 40)],
        [_tensor(6, (6,), (1,), offset=-1)],
        [_tensor(-1, (1,), (1,))],
        [_tensor(1.5, (1,), (1,))],
        [_tensor("6", (1,), (1,))],
        [_tensor(7, (6,), (1,))],
        [_tensor(6, (2, 3), (3, 1), key="1")],
        [_tensor(6, (2, 3), (3,))],
        [_tensor(6, (2, -3), (3, 1))],
        [_tensor(6, (6,), (1,))] * 5,
    ],
)
def test_tensors_that_claim_more_than_the_file_has_are_refused(
    path: Path, write: Callable[..., None], claims: list[Any]
) -> None:
    write(path, {f"{number}": claim for number, claim in enumerate(claims)})
    _refused(path)


def test_a_storage_that_is_to_grow_is_refused_before_it_is_copied(path: Path) -> None:
    """Growing copies what was there, pages that were never written too, each time that a tensor asks for more."""
    numbers = BOMB_BYTES // 4
    _legacy(path, Call(OrderedDict, [("a", _tensor(numbers, (numbers + 1,), (1,)))]), b"")
    os.truncate(path, path.stat().st_size + BOMB_BYTES)
    _refused(path, "not resizable")


def test_a_part_that_is_compressed_is_refused_where_others_are_not(path: Path) -> None:
    """Mapped, its bytes as they lie would be weights."""
    _archive(path, {"a": _tensor(6, (6,), (1,))}, noise=os.urandom(1 << 12))
    with zipfile.ZipFile(path) as made, zipfile.ZipFile(f"{path}.new", "w") as changed:
        for entry in made.infolist():
            packed = zipfile.ZIP_DEFLATED if entry.filename == "m/data/0" else zipfile.ZIP_STORED
            changed.writestr(entry.filename, made.read(entry), packed)
    Path(f"{path}.new").replace(path)
    _refused(path, "what is in the archive is compressed")


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_tensors_that_share_memory_are_apart_once_read(path: Path, archive: bool) -> None:
    words = torch.randn(4, 3)
    torch.save({"a": words, "b": words, "c": words.t()}, path, _use_new_zipfile_serialization=archive)
    read = read_pickled(path)
    assert len({tensor.untyped_storage().data_ptr() for tensor in read.values()}) == 3
    assert all(torch.equal(read[name], tensor) for name, tensor in {"a": words, "b": words, "c": words.t()}.items())
    assert all(tensor.is_contiguous() for tensor in read.values())


def test_what_unpacks_into_more_is_refused_before_it_does(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("m/data.pkl", _pickled({"a": _tensor(BOMB_BYTES // 4, (BOMB_BYTES // 4,), (1,))}))
        with archive.open("m/data/0", "w") as file:
            for _ in range(BOMB_BYTES >> 24):
                file.write(bytes(1 << 24))
    assert path.stat().st_size < 2 << 20
    _refused(path, "what is in the archive is compressed, or lies over another")


def test_files_that_lie_over_each_other_are_refused(path: Path) -> None:
    """All entries of the list of files point to the first one."""
    _archive(path, {"a": _tensor(6, (6,), (1,))}, bytes(1 << 16), **{f"data/{n}": bytes(1) for n in range(1, 9)})
    data = bytearray(path.read_bytes())
    one = data.index(b"PK\x01\x02", data.index(b"m/version") + 20)
    entries = [at for at in range(one, len(data)) if data[at : at + 4] == b"PK\x01\x02"]
    first = next(at for at in entries if data[at + 46 :].startswith(b"m/data/0"))
    for at in entries:
        if data[at + 46 :].startswith(b"m/data/"):
            data[at + 20 : at + 28], data[at + 42 : at + 46] = (
                data[first + 20 : first + 28],
                data[first + 42 : first + 46],
            )
    path.write_bytes(data)
    _refused(path, "is compressed, or lies over another")


@pytest.mark.parametrize("names", [["data.pkl"], ["DATA.PKL"], ["sub/data.pkl"]])
def test_an_archive_with_two_descriptions_is_refused(path: Path, names: list[str]) -> None:
    hidden = _pickled({"a": Call(bytearray, 1 << 40)})
    with pytest.warns(UserWarning, match="Duplicate") if names == ["data.pkl"] else nullcontext():
        _archive(path, {"a": _tensor(6, (6,), (1,))}, **dict.fromkeys(names, hidden))
    _refused(path, "an archive with 2 data.pkl, expected one")


def test_descriptions_without_end_are_refused(path: Path) -> None:
    _archive(path, b"\x80\x02" + b"(" * (2 << 20) + b".")
    _refused(path, "its data.pkl has 2,097,155 bytes, at most 1,048,576 are read")
    path.write_bytes(_pickled(0x1950A86A20F9469CFC6C) + b"\x80\x02" + b"(" * (2 << 20) + b".")
    _refused(path, "not a whole file of torch.save")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            archive.writestr(f"m/{number:060000}", b"")
    _refused(path, r"more than 1,048,576 bytes of description")


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_a_file_that_is_cut_anywhere_is_refused(path: Path, archive: bool) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=archive)
    data = path.read_bytes()
    for size in [*range(0, len(data), 41), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ConfigError, match=r"pytorch_model.bin: .*; (copy it again|save the model as safetensors)"):
            read_pickled(path)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_a_file_with_any_bytes_changed_is_read_or_refused(path: Path, archive: bool) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=archive)
    data = path.read_bytes()
    found: Counter[str] = Counter()
    for seed in range(150):
        path.write_bytes(changed_bytes(data, random.Random(seed)))
        try:
            read_pickled(path)
            found["read"] += 1
        except ConfigError:
            found["refused"] += 1
    assert found["refused"] > 50


@pytest.mark.parametrize("kind", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_and_not_waited_for(path: Path, kind: Callable[[Path], object]) -> None:
    kind(path)
    _refused(path, "a folder, pipe or device, expected a file")
