"""Dropout on a processor drops the share that it says, of each value by itself, and keeps the mean."""

from __future__ import annotations

import math

import pytest
import torch

from spanmask.model.dropout import Dropout, dropout

COUNT = 400_000


def _dropped(share: float, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return dropout(torch.ones(COUNT), share) == 0


def _z(found: torch.Tensor, share: float) -> float:
    """How many standard deviations a count of drops lies from the share: beyond 5 once in a million."""
    return abs(float(found.sum()) - len(found) * share) / math.sqrt(len(found) * share * (1 - share))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_the_share_of_what_is_dropped_is_the_one_asked_for(share: float) -> None:
    dropped = _dropped(share)
    assert _z(dropped, share) < 5
    assert _z(dropped, 1.1 * share if share < 0.9 else 0.89) > 5


def test_values_are_dropped_one_by_one() -> None:
    """Four share a word of random bits: each place in it, and each pair of neighbours, has its share."""
    dropped = _dropped(0.1)
    for lane in range(4):
        assert _z(dropped[lane::4], 0.1) < 5
    for distance in (1, 2, 3, 4, 5):
        assert _z(dropped[:-distance] & dropped[distance:], 0.01) < 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5), (3, 7, 11), (0, 4)])
def test_what_is_kept_is_scaled_and_its_gradient_too(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    values = torch.randn(shape, dtype=dtype, requires_grad=True)
    found = dropout(values, 0.25)
    found.backward(torch.full(shape, 3.0, dtype=dtype))
    kept = found != 0
    assert found.dtype == dtype
    torch.testing.assert_close(found[kept], values.detach()[kept] / 0.75)
    assert values.grad is not None
    torch.testing.assert_close(values.grad, torch.where(kept, 4.0, 0.0).to(dtype))


def test_the_mean_is_exact_though_the_share_is_of_16_bits() -> None:
    found = dropout(torch.ones(COUNT, dtype=torch.float64), 0.1)
    assert found.unique().tolist() == [0, 65536 / (65536 - 6554)]


def test_draws_follow_torchs_seed_and_none_are_made_in_evaluation() -> None:
    assert torch.equal(_dropped(0.1), _dropped(0.1))
    assert not torch.equal(_dropped(0.1), _dropped(0.1, seed=2))
    torch.manual_seed(1)
    assert not torch.equal(dropout(torch.ones(COUNT), 0.1), dropout(torch.ones(COUNT), 0.1))
    module, values = Dropout(0.5), torch.ones(9)
    assert module.eval()(values) is values
    assert Dropout(0.0).train()(values) is values
    assert not torch.equal(module.train()(torch.ones(99)), torch.ones(99))


def test_a_share_just_below_one_leaves_finite_values() -> None:
    torch.manual_seed(3)
    assert dropout(torch.ones(COUNT), 1 - 1e-7).isfinite().all()
