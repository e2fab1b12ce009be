"""Philox 4×32-10 (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405) and the streams drawn from it (FORMAT.md §6.1).

Every intermediate value fits in 64 bits, so that compiled and interpreted runs agree without wrap-around.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import inlined

LENGTHS, STARTS, REPLACEMENT, RANDOM, PAIRS, PARTNERS = 0, 1, 2, 3, 4, 5

#: Blocks generated at once: enough for most 512-token sequences, and a length that the compiler turns into vector code.
BATCH_BLOCKS = 8
BATCH_DRAWS = 4 * BATCH_BLOCKS

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)

#: A stream of random words under way, see `open_stream`; also words on their own.
RandomStream = npt.NDArray[np.uint64]


class Key(NamedTuple):
    """What the masks of a block are keyed by. seed: 64 bits; mask_epoch: 16 bits."""

    seed: np.uint64
    mask_epoch: np.uint64


@inlined
def philox_blocks(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, seed: np.uint64, out: RandomStream
) -> None:
    """Fill ``out`` (4·n,) with n consecutive blocks, the first with counter (c0, c1, c2, c3); c3 counts up.

    The words of block j are ``out[4j:4j + 4]``. Oracle: ``philox4x32``.
    """
    key0 = seed & _LOW
    key1 = seed >> _32
    for j in range(len(out) // 4):
        x0, x1, x2, x3 = c0, c1, c2, (c3 + np.uint64(j)) & _LOW
        k0, k1 = key0, key1
        for _ in range(10):
            product0 = _M0 * x0
            product1 = _M1 * x2
            x0 = (product1 >> _32) ^ x1 ^ k0
            x1 = product1 & _LOW
            x2 = (product0 >> _32) ^ x3 ^ k1
            x3 = product0 & _LOW
            k0 = (k0 + _W0) & _LOW
            k1 = (k1 + _W1) & _LOW
        out[4 * j] = x0
        out[4 * j + 1] = x1
        out[4 * j + 2] = x2
        out[4 * j + 3] = x3


@inlined
def open_stream(document_id: np.uint64, segment: np.uint64, purpose: int, key: Key, stream: RandomStream) -> None:
    """Make ``stream`` (6 + BATCH_DRAWS,) the stream of a purpose of a sequence, before its first draw.

    It holds the position in the batch, the counter (four words, the last that of the next batch), the seed and the batch.
    """
    epoch = key.mask_epoch
    stream[0] = np.uint64(BATCH_DRAWS)
    stream[1] = document_id & _LOW
    stream[2] = document_id >> _32
    stream[3] = (segment << np.uint64(8)) | np.uint64(purpose << 5) | (epoch >> np.uint64(11))
    stream[4] = (epoch & np.uint64(0x7FF)) << np.uint64(21)
    stream[5] = key.seed


@inlined
def _refill(stream: RandomStream) -> None:
    """Generate the stream's next batch."""
    philox_blocks(stream[1], stream[2], stream[3], stream[4], stream[5], stream[6:])
    block = (stream[4] + np.uint64(BATCH_BLOCKS)) & np.uint64(0x1FFFFF)
    stream[4] = (stream[4] & np.uint64(0xFFE00000)) | block
    stream[0] = 0


@inlined
def _take(stream: RandomStream) -> np.uint64:
    place = stream[0]
    stream[0] = place + np.uint64(1)
    return np.uint64(stream[np.uint64(6) + place])


@inlined
def next_draw(stream: RandomStream) -> np.uint64:
    """Take the stream's next 32-bit word. Draws: one."""
    if stream[0] == np.uint64(BATCH_DRAWS):
        _refill(stream)
    return _take(stream)


@inlined
def draw_below(bound: int, stream: RandomStream) -> int:
    """Draw exactly uniformly below ``bound`` (< 2³²) (Lemire 2019, https://doi.org/10.1145/3230636). Draws: one, rarely more."""
    k = np.uint64(bound)
    product = next_draw(stream) * k
    if product & _LOW < k:
        threshold = ((_LOW - k) + np.uint64(1)) % k
        while product & _LOW < threshold:
            product = next_draw(stream) * k
    return np.int64(product >> _32)  # type: ignore[return-value]


@inlined
def _count_thresholds(thresholds: RandomStream, draws: RandomStream) -> None:
    """Count in the upper half of each draw the thresholds that it reaches. The inner loop becomes vector code."""
    for threshold in thresholds:
        for j in range(len(draws)):
            draws[j] += np.uint64((draws[j] & _LOW) >= threshold) << _32


@inlined
def draw_length(thresholds: RandomStream, stream: RandomStream) -> int:
    """Draw a span length in words from its law's thresholds (max_words − 1,). Draws: one.

    A batch is turned into lengths as a whole, so that the stream must be used for nothing else.
    """
    if stream[0] == np.uint64(BATCH_DRAWS):
        _refill(stream)
        _count_thresholds(thresholds, stream[6:])
    return np.int64(_take(stream) >> _32) + 1  # type: ignore[return-value]
