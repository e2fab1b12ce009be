"""How much a test tries: enough for every commit, or what the fault matrix asks of a long run (SPANMASK_THOROUGH in the environment)."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

THOROUGH = bool(os.environ.get("SPANMASK_THOROUGH"))


def figure(usual: T, thorough: T) -> T:
    """Return what is tried at every commit, or in a long run."""
    return thorough if THOROUGH else usual
