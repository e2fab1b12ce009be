"""What the first call of the kernels costs; run in a fresh process by ``masking``."""

from __future__ import annotations

from .protocol import seconds


def first_call() -> dict[str, float]:
    """Return seconds of importing spanmask's masking, and of masking one sequence of eight tokens."""
    return {"import": seconds(_import), "first_call": seconds(_mask)}


def _import() -> None:
    import spanmask.masking  # noqa: F401


def _mask() -> None:
    import numpy as np

    import spanmask

    spanmask.mask(np.full(8, 1000, np.uint16), np.array([0, 8]), spanmask.MaskingConfig(seed=1))
