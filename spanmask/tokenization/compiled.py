"""Tokenizers whose every part is known, compiled: documents in, tokens out, without a Python object for either."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from spanmask.kernels.patterns import Splitter
from spanmask.records import Bytes, Offsets
from spanmask.tokenization.agreement import agree
from spanmask.tokenization.bpe import BytePairs, bpe_of
from spanmask.tokenization.library import HIDDEN
from spanmask.tokenization.recognition import recipe_of
from spanmask.tokenization.whole_documents import Encoded, WholeDocuments
from spanmask.vocab import Vocabulary


def compiled_of(content: dict[str, Any], vocabulary: Vocabulary, whole: WholeDocuments) -> Compiled | str:
    """Return a tokenizer, compiled, or in one line why it is not.

    Parameters
    ----------
    content, whole
        Its tokenizer.json, from `spanmask.tokenization.library.content_of`, and the library, loaded for text.
    vocabulary
        The same as a vocabulary.
    """
    recipe = recipe_of(content)
    if isinstance(recipe, str):
        return recipe
    model = bpe_of(recipe.model, vocabulary)
    if isinstance(model, str):
        return model
    found = Compiled(recipe.splitter, model, whole)
    if not agree(found, whole, [*vocabulary.special_tokens]):
        return f"tokenizers {version('tokenizers')} gives other tokens"
    return found


class Compiled:
    """A splitter and a model. What they cannot tell goes through the library: bytes of tokens where some have none of their own."""

    def __init__(self, splitter: Splitter, model: BytePairs, whole: WholeDocuments) -> None:
        self._splitter = splitter
        self._model = model
        self._whole = whole

    def encode(self, text: Bytes, offsets: Offsets, *, spots: bool) -> Encoded:
        """Tokenize D documents; see `WholeDocuments.encode`."""
        if (spots and not self._model.complete) or _holds_hidden(text):
            return self._whole.encode(text, offsets, spots=spots)
        added = np.full(len(offsets) - 1, -1)
        out, size = self._model.run(text, offsets[:-1], offsets[1:], added, self._splitter, spots=spots)
        places = out.byte_offsets[:size] if spots else None
        return Encoded(out.ids[:size], out.word_starts[:size], np.diff(out.offsets), places)


def _holds_hidden(text: Bytes) -> bool:
    """Tell whether a text holds the noncharacter that hides the names of special tokens: the library finds those behind it."""
    hidden = HIDDEN.encode()
    return bool((text == hidden[0]).any()) and hidden in text.tobytes()
