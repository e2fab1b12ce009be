"""Values, files and changes that nobody would write by mistake, drawn from a seed: for tests of whatever reads what others wrote."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 255, 1 << 24, (1 << 24) + 1, 1 << 31, 1 << 40, 1 << 63, 1 << 64, -(1 << 63), 10**30,
    0.0, -0.5, 0.5, 1e-300, 1e300, float("nan"), float("inf"), float("-inf"), "", "x", "1", "../../x", "\x00", "x" * 1000, "\ud800",
    [], [[]], [1], [None], ["x"], {}, {"x": 1}, {"": []},
]  # fmt: skip


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value, itself left out."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in pairs:
        yield (*path, name)
        yield from places(value, (*path, name))


def changed_json(content: Any, rng: random.Random) -> Any:
    """A JSON value with one place changed: another value, none, a neighbour's, or one more name."""
    content = json.loads(json.dumps(content))
    *path, last = rng.choice(list(places(content)))
    parent = content
    for name in path:
        parent = parent[name]
    way = rng.randrange(6)
    if way == 0:
        del parent[last]
    elif way == 1 and isinstance(parent, dict):
        parent[f"{last}x"] = parent.pop(last)
    elif way == 2 and isinstance(parent[last], (int, float)):
        parent[last] += rng.choice([-1, 1, 0.5, 1 << 33])
    else:
        parent[last] = rng.choice(VALUES)
    return content


def split_tensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what follows it."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined_tensors(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def changed_tensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header, numbers or bytes are changed."""
    header, body = split_tensors(data)
    way = rng.randrange(7)
    if way == 0:
        return bytes(rng.randbytes(rng.randrange(64)))
    if way == 1:
        return data[: rng.randrange(len(data))]
    if way == 2:
        return joined_tensors(changed_json(header, rng), body)
    names = [name for name in header if name != "__metadata__"]
    one, other = (header[name] for name in rng.choices(names, k=2))
    start, end = one["data_offsets"]
    if way == 3:
        one |= {name: other[name] for name in rng.sample(["dtype", "shape", "data_offsets"], rng.randint(1, 2))}
    elif way == 4:
        one["dtype"] = rng.choice(["F64", "F16", "BF16", "I32", "I64", "U8", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "C64"])
        one["shape"] = rng.choice([one["shape"], [end - start], [(end - start) // 2], [(end - start) // 8], []])
    elif way == 5:
        size = end - start
        one["shape"] = rng.choice([[size // 4], [1, size // 4], [size // 4, 1], [2, size // 8], one["shape"][::-1]])
    else:
        number = struct.pack("<f", rng.choice([float("nan"), float("inf"), float("-inf"), 3e38, -1.0, 0.0]))
        place = start + 4 * rng.randrange((end - start) // 4)
        body = body[:place] + number + body[place + 4 :]
    return joined_tensors(header, body)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes of which some are others, gone, or there twice: near one of their ends, where most files say what they hold, or anywhere."""
    size = len(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        span = rng.choice([size, min(size, 4096), min(size, 400)])
        place = rng.randrange(span) if rng.random() < 0.6 else size - 1 - rng.randrange(span)
        piece = rng.choice([b"", rng.randbytes(1), rng.randbytes(4), b"\xff" * 8, data[place : place + 50] * 2])
        data = data[:place] + piece + data[place + rng.choice([len(piece), 1]) :]
    return data


def no_file(path: Path, rng: random.Random) -> None:
    """Put something that is no regular file in a file's place."""
    path.unlink(missing_ok=True)
    way = rng.randrange(5)
    if way == 0:
        os.mkfifo(path)
    elif way == 1:
        path.mkdir()
    elif way < 4:
        path.symlink_to(["/dev/zero", "/dev/full"][way - 2])


def changed_file(path: Path, rng: random.Random, seal: Callable[[Any], Any] = lambda content: content) -> None:
    """Change a file in place, by its kind; seal: what JSON goes through, so that digests are right."""
    way = rng.randrange(12)
    if way == 0:
        no_file(path, rng)
    elif way == 1:
        path.write_bytes(
            rng.choice([b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"\xef\xbb\xbf{}"])
        )
    elif path.suffix == ".json":
        path.write_text(json.dumps(seal(changed_json(json.loads(path.read_bytes()), rng))))
    elif path.suffix == ".safetensors":
        path.write_bytes(changed_tensors(path.read_bytes(), rng))
    elif path.suffix == ".bin":
        path.write_bytes(changed_bytes(path.read_bytes(), rng))
    else:
        lines = path.read_bytes().split(b"\n")
        lines[rng.randrange(len(lines))] = rng.choice([b"", b"\xff", lines[0], b"x" * 1000, b" [MASK]"])
        path.write_bytes(b"\n".join(lines))
