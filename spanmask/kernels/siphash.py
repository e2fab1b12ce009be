"""SipHash-2-4 (Aumasson & Bernstein 2012, https://www.aumasson.jp/siphash/siphash.pdf): the keyed hash that holds documents out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Ints, kernel

_FF = np.uint64(0xFF)


@kernel
def _rotated(x: np.uint64, bits: int) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@kernel
def _round(v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64) -> Any:
    v0 = v0 + v1
    v1 = _rotated(v1, 13) ^ v0
    v0 = _rotated(v0, 32)
    v2 = v2 + v3
    v3 = _rotated(v3, 16) ^ v2
    v0 = v0 + v3
    v3 = _rotated(v3, 21) ^ v0
    v2 = v2 + v1
    v1 = _rotated(v1, 17) ^ v2
    v2 = _rotated(v2, 32)
    return v0, v1, v2, v3


@kernel
def _word(data: Bytes, start: int, count: int) -> Any:
    word = np.uint64(0)
    for k in range(count):
        word |= np.uint64(data[start + k]) << np.uint64(8 * k)
    return word


@kernel
def siphash(data: Bytes, start: int, end: int, key0: np.uint64, key1: np.uint64) -> Any:
    """Return the 64-bit hash of ``data[start:end]`` under a 128-bit key. Oracle: ``siphash24``."""
    v0 = np.uint64(0x736F6D6570736575) ^ key0
    v1 = np.uint64(0x646F72616E646F6D) ^ key1
    v2 = np.uint64(0x6C7967656E657261) ^ key0
    v3 = np.uint64(0x7465646279746573) ^ key1
    full = (end - start) // 8
    for k in range(full + 1):
        if k < full:
            word = _word(data, start + 8 * k, 8)
        else:
            word = _word(data, start + 8 * full, (end - start) % 8)
            word |= (np.uint64(end - start) & _FF) << np.uint64(56)
        v3 ^= word
        for _ in range(2):
            v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
    v2 ^= _FF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def _is_blank(byte: np.uint8) -> Any:
    return byte == 32 or 9 <= byte <= 13


@kernel
def hash_documents(
    data: Bytes,
    offsets: Ints,
    key0: np.uint64,
    key1: np.uint64,
    out: npt.NDArray[np.uint64],
) -> None:
    """Hash each of D documents without the ASCII white space around it. offsets: (D + 1,); out: (D,)."""
    for i in range(len(out)):
        start, end = offsets[i], offsets[i + 1]
        while start < end and _is_blank(data[start]):
            start += 1
        while start < end and _is_blank(data[end - 1]):
            end -= 1
        out[i] = siphash(data, start, end, key0, key1)
