"""A library that takes characters otherwise than the one that was asked is noticed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from tokenization.variants import vocabulary_of

from spanmask.kernels.patterns import CAPITAL, LETTER, NUMBER
from spanmask.tokenization import Tokenizer, probing
from spanmask.tokenization.derive_classes import classes_of
from spanmask.tokenization.normalizing import normalization_of
from spanmask.tokenization.patterns import MARK
from spanmask.tokenization.probing import are_classes_as_probed, is_as_probed
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
    told = normalization_of([{"type": "NFC"}], vocabulary_of("modernbert"))
    assert isinstance(told, str)
    assert "NFC of tokenizers" in told


def test_the_installed_library_counts_characters_to_classes_as_it_was_probed() -> None:
    assert are_classes_as_probed()


@pytest.mark.parametrize(
    ("character", "bit"), [("\u0378", LETTER), ("\u1c8b", CAPITAL), ("\u0cf4", MARK), ("\U00011de0", NUMBER)]
)
def test_a_library_whose_patterns_know_another_character_goes_the_slow_way(
    character: str, bit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a later Unicode has them, each behind some of its kind."""

    def otherwise(text: str) -> Any:
        found = classes_of(text)
        found[[point == character for point in text]] |= bit
        return found

    monkeypatch.setattr(probing, "classes_of", otherwise)
    assert not are_classes_as_probed.__wrapped__()
    monkeypatch.setattr("spanmask.tokenization.compiled.are_classes_as_probed", are_classes_as_probed.__wrapped__)
    told = Tokenizer(vocabulary_of("modernbert")).through_library
    assert told == f"patterns of tokenizers {version('tokenizers')} take characters otherwise"
