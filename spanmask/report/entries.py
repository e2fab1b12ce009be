"""Entries of a vocabulary as text that people read: without what stands for a space, or for its absence."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

from spanmask.pieces import CONTINUATION, byte_characters, steps_of
from spanmask.vocab import Vocabulary

#: What stands for a space that is a piece of its own.
_SPACE = "␠"
_BYTES = byte_characters()


def raw_entry(vocabulary: Vocabulary, number: int) -> str:
    """Return an entry as the vocabulary writes it."""
    return vocabulary.entries[number] if number < len(vocabulary) else f"[id {number}]"


def readable_entries(vocabulary: Vocabulary) -> Callable[[int], tuple[str, bool]]:
    """Return what gives an id's text, and whether it is attached to the text before it.

    Byte-level entries are decoded; of these, and of those with ``▁``, a leading space becomes the space before a piece.
    Vocabularies of another kind are taken to write continuations with ``##``.
    """
    kinds = _kinds_in(vocabulary.tokenizer or "{}")

    def readable(number: int) -> tuple[str, bool]:
        raw = raw_entry(vocabulary, number)
        if raw in vocabulary.special_tokens:
            return raw, False
        if "ByteLevel" in kinds:
            return _spaced(_decoded(raw))
        if "Metaspace" in kinds:
            return _spaced(raw.replace("▁", " "))
        return raw.removeprefix(CONTINUATION) or raw, raw.startswith(CONTINUATION)

    return readable


@lru_cache(maxsize=1)
def _kinds_in(tokenizer: str) -> frozenset[str]:
    """Return the types of the steps of a tokenizer.json's pre-tokenizer and decoder."""
    content = json.loads(tokenizer)
    return frozenset(step["type"] for part in ("pre_tokenizer", "decoder") for step in steps_of(content.get(part)))


def _spaced(text: str) -> tuple[str, bool]:
    return (text.removeprefix(" ") or " ").replace(" ", _SPACE), not text.startswith(" ")


def _decoded(entry: str) -> str:
    if not all(character in _BYTES for character in entry):
        return entry
    return bytes(_BYTES[character] for character in entry).decode("utf-8", "backslashreplace")
