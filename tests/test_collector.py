"""The garbage collector stands still while a tokenizer is made, and goes on as it was."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

import pytest
import trained

from spanmask import Tokenizer
from spanmask.collector import held_off
from spanmask.vocab import vocabulary_from_tokenizer


@pytest.mark.parametrize("enabled", [True, False])
def test_it_goes_on_as_it_was_after_an_error_too(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    try:
        with suppress(KeyError), held_off(), held_off():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_making_a_tokenizer_collects_nothing() -> None:
    text, seen = trained.byte_level(), list[str]()

    def note(phase: str, _: dict[str, Any]) -> None:
        seen.append(phase)

    gc.callbacks.append(note)
    try:
        Tokenizer(vocabulary_from_tokenizer("x", text))
        # What was put off comes at once: it is once, not each time that some more was made.
        assert seen.count("start") <= 4
    finally:
        gc.callbacks.remove(note)
