"""A library that takes characters otherwise than the one that was asked is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tokenization.variants import vocabulary_of

from spanmask.tokenization import probing
from spanmask.tokenization.normalizing import normalization_of
from spanmask.tokenization.probing import is_as_probed
from spanmask.tokenization.traits import STEPS, UNASSIGNED, having

_NEW = chr(np.flatnonzero(having(UNASSIGNED))[100])


class _Otherwise:
    def __init__(self, normalizer: Any, change: Callable[[str], str]) -> None:
        self._normalizer, self._change = normalizer, change

    def normalize_str(self, text: str) -> str:
        return str(self._normalizer.normalize_str(self._change(text)))


@pytest.mark.parametrize("step", [*STEPS, "Precompiled", "Strip", "Replace"])
def test_the_installed_library_is_as_it_was_probed(step: str) -> None:
    assert is_as_probed(step)


@pytest.mark.parametrize("step", [*STEPS, "Precompiled"])
@pytest.mark.parametrize("change", [lambda text: text.replace(_NEW, "ab"), lambda text: text.replace(_NEW, "\u0301")])
def test_a_library_that_knows_another_character_is_noticed(
    step: str, change: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = probing.normalizer_of
    monkeypatch.setattr(probing, "normalizer_of", lambda steps: _Otherwise(real(steps), change))
    assert not is_as_probed.__wrapped__(step)
    monkeypatch.setattr("spanmask.tokenization.normalizing.is_as_probed", is_as_probed.__wrapped__)
    told = normalization_of([{"type": "NFC"}], vocabulary_of("modernbert"), visible_spaces=False)
    assert isinstance(told, str)
    assert "NFC of tokenizers" in told
