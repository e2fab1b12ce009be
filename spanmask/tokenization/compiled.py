"""Tokenizers whose every part is known, compiled: documents in, tokens out, without a Python object for either."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from spanmask.kernels.tokens import Tokens
from spanmask.records import Bytes, Offsets
from spanmask.tokenization.added_tokens import AddedTokens, added_tokens_of
from spanmask.tokenization.agreement import agree
from spanmask.tokenization.bpe import bpe_of
from spanmask.tokenization.library import HIDDEN
from spanmask.tokenization.recognition import recipe_of
from spanmask.tokenization.stretches import Stretches, whole_documents
from spanmask.tokenization.whole_documents import Encoded, WholeDocuments
from spanmask.vocab import Vocabulary


class Model(Protocol):
    """What splits stretches into pre-tokens, and these into tokens."""

    def run(self, stretches: Stretches, *, spots: bool) -> Tokens | None:
        """Return the tokens of P stretches, offsets (P + 1,), with their bytes if wanted; None where the library alone knows them."""
        ...


def compiled_of(content: dict[str, Any], vocabulary: Vocabulary, whole: WholeDocuments) -> Compiled | str:
    """Return a tokenizer, compiled, or in one line why it is not.

    Parameters
    ----------
    content
        Its tokenizer.json, from `spanmask.tokenization.library.content_of`.
    vocabulary
        The same as a vocabulary.
    whole
        The library, given whole documents.
    """
    recipe = recipe_of(content)
    if isinstance(recipe, str):
        return recipe
    listed = content.get("added_tokens", [])
    added = added_tokens_of(listed, lambda name: name)
    if isinstance(added, str):
        return added
    model = bpe_of(recipe.model, vocabulary, recipe.splitter)
    if isinstance(model, str):
        return model
    found = Compiled(added, model, whole)
    if not agree(found, whole, [token["content"].removeprefix(HIDDEN) for token in listed]):
        return f"tokenizers {version('tokenizers')} gives other tokens"
    return found


class Compiled:
    """Added tokens, and a model for the text between them. What these cannot tell goes through the library."""

    def __init__(self, added: AddedTokens, model: Model, whole: WholeDocuments) -> None:
        self._added = added
        self._model = model
        self._whole = whole

    def encode(self, text: Bytes, offsets: Offsets, *, spots: bool) -> Encoded:
        """Tokenize D documents; see `WholeDocuments.encode`."""
        stretches = whole_documents(text, offsets)
        for finder in self._added:
            if finder is not None:
                stretches = finder.find(stretches)
        out = self._model.run(stretches, spots=spots)
        if out is None:
            return self._whole.encode(text, offsets, spots=spots)
        bounds = out.offsets[np.searchsorted(stretches.documents, np.arange(len(offsets)))]
        return Encoded(out.ids, out.word_starts, np.diff(bounds), out.byte_offsets if spots else None)
