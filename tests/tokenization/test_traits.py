"""The traits of code points that ship are what the installed library shows."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import tokenizers
from tokenizers import normalizers

from spanmask.tokenization.derive_traits import derive
from spanmask.tokenization.traits import BLOCK, RANK_MASK, STEPS, WHITE, changes, having, traits


@pytest.mark.slow
def test_the_traits_that_ship_are_the_librarys() -> None:
    asked = derive()
    found = asked["traits"].reshape(-1, BLOCK)[asked["blocks"]].reshape(-1)
    message = f"tokenizers {tokenizers.__version__} differs; python -m spanmask.tokenization.derive_traits"
    np.testing.assert_array_equal(traits(), found, err_msg=message)


@pytest.mark.parametrize("step", STEPS)
def test_what_a_step_is_said_to_leave_alone_it_does(step: str) -> None:
    kept = np.flatnonzero(~having(changes(step)))
    text = "0".join(chr(point) for point in kept if not 0xD800 <= point < 0xE000 and point < 0x30000)
    assert getattr(normalizers, step)().normalize_str(text) == text


def test_ranks_of_marks_are_in_the_order_of_unicodes_classes() -> None:
    ranks = traits() & RANK_MASK
    points = [point for point in np.flatnonzero(ranks) if len(unicodedata.normalize("NFD", chr(point))) == 1]
    known = [(unicodedata.combining(chr(point)), int(ranks[point])) for point in points]
    pairs = sorted({pair for pair in known if pair[0]})
    assert [rank for _, rank in pairs] == sorted({rank for _, rank in pairs})
    assert np.flatnonzero(having(WHITE)).tolist() == [
        p for p in range(0x3001) if chr(p).isspace() and p not in range(28, 32)
    ]
