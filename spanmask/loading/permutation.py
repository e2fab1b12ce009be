"""Shuffling without a table: a keyed bijection of whole numbers, computed place by place."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from spanmask.config import canonical_json
from spanmask.records import Offsets

#: Rounds of mixing. Four are enough for a Feistel network to look random; half of the numbers here may be two bits wide.
ROUNDS = 8

_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_32 = np.uint64(32)


class Permutation:
    """A bijection of [0, size) that a key picks; time and memory do not depend on the size.

    A number is written in two digits, x = l·b + r with l < a, r < b and a·b barely above the size; each round adds to one of them,
    modulo its base, a hash of the other. Numbers that leave the range are sent round again until they are back ("cycle walking", Black
    and Rogaway 2002).

    Parameters
    ----------
    size
        How many numbers, below 2^62.
    key
        Anything that JSON writes.
    """

    def __init__(self, size: int, key: Any) -> None:
        self.size = size
        high = math.isqrt(max(size - 1, 0)) + 1
        self._high, self._low = np.uint64(high), np.uint64(max(-(-size // high), 1))
        self._keys = np.frombuffer(hashlib.blake2b(canonical_json(key), digest_size=8 * ROUNDS).digest(), "<u8")

    def __call__(self, places: Offsets) -> Offsets:
        """Return what stands at places, (n,) each in [0, size)."""
        return self._walk(places, self._forward)

    def inverse(self, numbers: Offsets) -> Offsets:
        """Return the places at which numbers stand, (n,) each in [0, size)."""
        return self._walk(numbers, self._backward)

    def _walk(self, given: Offsets, step: Any) -> Offsets:
        values = step(np.asarray(given).astype(np.uint64))
        limit = np.uint64(self.size)
        outside = np.flatnonzero(values >= limit)
        while len(outside):
            values[outside] = step(values[outside])
            outside = outside[values[outside] >= limit]
        found: Offsets = values.astype(np.int64)
        return found

    def _forward(self, values: Any) -> Any:
        left = values // self._low
        right = values - left * self._low
        for number in range(0, ROUNDS, 2):
            left = _wrapped(left + self._hash(right, number, self._high), self._high)
            right = _wrapped(right + self._hash(left, number + 1, self._low), self._low)
        return left * self._low + right

    def _backward(self, values: Any) -> Any:
        left = values // self._low
        right = values - left * self._low
        for number in range(ROUNDS - 2, -1, -2):
            right = _wrapped(right + (self._low - self._hash(left, number + 1, self._low)), self._low)
            left = _wrapped(left + (self._high - self._hash(right, number, self._high)), self._high)
        return left * self._low + right

    def _hash(self, values: Any, number: int, base: np.uint64) -> Any:
        """Return numbers below a base that look drawn anew for each value (the finaliser of SplitMix64; Steele et al. 2014)."""
        mixed = values * _FACTORS[0] + self._keys[number]
        mixed = (mixed ^ mixed >> _SHIFTS[0]) * _FACTORS[0]
        mixed = (mixed ^ mixed >> _SHIFTS[1]) * _FACTORS[1]
        mixed ^= mixed >> _SHIFTS[2]
        return (mixed >> _32) * base >> _32


def _wrapped(sums: Any, base: np.uint64) -> Any:
    """Return sums of two numbers up to a base modulo it, without a division: what is below it becomes huge when the base is taken off."""
    return np.minimum(sums, sums - base)
