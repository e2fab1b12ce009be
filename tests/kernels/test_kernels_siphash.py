"""SipHash-2-4 against its paper and the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import siphash24

from spanmask.kernels.siphash import hash_documents, siphash

KEY = bytes(range(16))
BLANKS = b" \t\n\v\f\r"


def halves(key: bytes) -> tuple[np.uint64, np.uint64]:
    return np.uint64(int.from_bytes(key[:8], "little")), np.uint64(int.from_bytes(key[8:], "little"))


def hashes(texts: list[bytes], key: bytes) -> list[int]:
    out = np.zeros(len(texts), np.uint64)
    data = np.frombuffer(b"".join(texts) or b"\0", np.uint8)
    hash_documents(data, np.cumsum([0, *map(len, texts)]), *halves(key), out)
    return out.tolist()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 0x726FDB47DD0E0E31),
        (1, 0x74F839C593DC67FD),
        (7, 0xAB0200F58B01D137),
        (8, 0x93F5F5799A932462),
        (15, 0xA129CA6149BE45E5),
        (63, 0x958A324CEB064572),
    ],
)
def test_the_published_vectors_hold(size: int, expected: int) -> None:
    data = np.arange(max(size, 1), dtype=np.uint8)
    assert int(siphash(data, 0, size, *halves(KEY))) == expected == siphash24(KEY, bytes(range(size)))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=80), before=st.binary(max_size=9), key=st.binary(min_size=16, max_size=16))
def test_any_slice_hashes_as_the_oracle_says(data: bytes, before: bytes, key: bytes) -> None:
    held = np.frombuffer(before + data + b"\xff", np.uint8)
    assert int(siphash(held, len(before), len(before) + len(data), *halves(key))) == siphash24(key, data)


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.binary(max_size=20), max_size=6), key=st.binary(min_size=16, max_size=16))
def test_documents_hash_without_the_white_space_around_them(texts: list[bytes], key: bytes) -> None:
    assert hashes(texts, key) == [siphash24(key, text.strip(BLANKS)) for text in texts]


def test_a_length_beyond_a_byte_counts_modulo_256() -> None:
    data = bytes(range(256)) * 3
    assert int(siphash(np.frombuffer(data, np.uint8), 0, len(data), *halves(KEY))) == siphash24(KEY, data)
