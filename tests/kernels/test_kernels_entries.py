"""Entries found by their bytes: those that are there, and no others."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmask.kernels.entries import entries_of, entry_of


@settings(deadline=None, max_examples=50)
@given(st.sets(st.binary(max_size=40), max_size=60), st.lists(st.binary(max_size=41), max_size=20))
def test_entries_are_found_by_all_of_their_bytes(pieces: set[bytes], others: list[bytes]) -> None:
    listed = sorted(pieces)
    found = entries_of(np.frombuffer(b"".join(listed), np.uint8), np.cumsum([0, *map(len, listed)]))
    with np.errstate(over="ignore"):
        for word in [*listed, *others, *(piece[:-1] for piece in listed), *(piece + b"\0" for piece in listed)]:
            text = np.frombuffer(b"<" + word + b">", np.uint8)
            expected = listed.index(word) if word and word in pieces else -1
            assert entry_of(found, text, 1, 1 + len(word)) == expected
