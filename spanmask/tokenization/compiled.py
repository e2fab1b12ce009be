"""Tokenizers whose every part is known, compiled: documents in, tokens out, without a Python object for either."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.kernels.metaspace import FIRST, Metaspace
from spanmask.kernels.patterns import Splitter
from spanmask.kernels.tokens import Tokens
from spanmask.records import Bytes, Offsets
from spanmask.tokenization.added_tokens import AddedTokens, added_tokens_of
from spanmask.tokenization.agreement import Encoder, agree
from spanmask.tokenization.bpe import bpe_of
from spanmask.tokenization.character_bpe import character_bpe_of
from spanmask.tokenization.library import HIDDEN
from spanmask.tokenization.normalizing import Normalization, Normalized, normalization_of
from spanmask.tokenization.probing import are_classes_as_probed
from spanmask.tokenization.recognition import Recipe, recipe_of
from spanmask.tokenization.stretches import Stretches, whole_documents
from spanmask.tokenization.unigram import unigram_of
from spanmask.tokenization.whole_documents import Encoded, WholeDocuments
from spanmask.vocab import Vocabulary


class Model(Protocol):
    """What splits stretches into pre-tokens, and these into tokens."""

    def run(self, stretches: Stretches, *, spots: bool) -> Tokens | None:
        """Return the tokens of P stretches, offsets (P + 1,), with their bytes if wanted; None where the library alone knows them."""
        ...


def compiled_of(content: dict[str, Any], library: Any, vocabulary: Vocabulary, whole: WholeDocuments) -> Compiled | str:
    """Return a tokenizer, compiled, or in one line why it is not.

    Parameters
    ----------
    content, library
        Its tokenizer.json, from `spanmask.tokenization.library.load_for_text`, and the library, loaded for text.
    vocabulary
        The same as a vocabulary.
    whole
        The library, given whole documents.
    """
    recipe = recipe_of(content)
    if isinstance(recipe, str):
        return recipe
    if isinstance(recipe.splitter, Splitter) and not are_classes_as_probed():
        return f"patterns of tokenizers {version('tokenizers')} take characters otherwise"
    normalization = normalization_of(recipe.normalizer, vocabulary)
    if isinstance(normalization, str):
        return normalization
    names = [token for token in content.get("added_tokens", []) if not token["content"].startswith(HIDDEN)]
    added = added_tokens_of(names, library.normalizer.normalize_str if library.normalizer else str)
    if isinstance(added, str):
        return added
    model = _model_of(recipe, vocabulary)
    if isinstance(model, str):
        return model
    # What begins a document does so in the text as it was.
    looks_back = isinstance(recipe.splitter, Metaspace) and recipe.splitter.prepend == FIRST
    found = Compiled(added, normalization, model, whole, looks_back=looks_back)
    if not agree(found, whole, [*vocabulary.special_tokens, *(token["content"] for token in names)]):
        return f"tokenizers {version('tokenizers')} gives other tokens"
    return found


def _model_of(recipe: Recipe, vocabulary: Vocabulary) -> Model | str:
    if isinstance(recipe.splitter, Splitter):
        return bpe_of(recipe.model, vocabulary, recipe.splitter)
    make = unigram_of if recipe.model["type"] == "Unigram" else character_bpe_of
    return make(recipe.model, vocabulary, recipe.splitter)


class Compiled:
    """Added tokens, a normalizer, and a model for the text that these leave. What they cannot tell goes through the library.

    looks_back: whether tokens depend on where in its document text was before it was normalized.
    """

    def __init__(
        self,
        added: AddedTokens,
        normalization: Normalization,
        model: Model,
        whole: WholeDocuments,
        *,
        looks_back: bool,
    ) -> None:
        self._added = added
        self._normalization = normalization
        self._model = model
        self._whole = whole
        self._looks_back = looks_back

    def encode(self, text: Bytes, offsets: Offsets, *, spots: bool) -> Encoded:
        """Tokenize D documents; see `WholeDocuments.encode`."""
        if _holds_hidden(text):
            return self._whole.encode(text, offsets, spots=spots)
        normalized = self._normalized(text, offsets)
        stretches, splices = normalized
        apart = splices.documents if self._looks_back else splices.documents[:0]
        if spots and len(splices.starts):
            origins, lacking = self._normalization.origins(text, normalized)
            apart = np.union1d(apart, lacking)
        if len(apart):
            return _encode_apart(text, offsets, np.unique(apart), (self._whole, self), spots=spots)
        out = self._model.run(stretches, spots=spots)
        if out is None:
            return self._whole.encode(text, offsets, spots=spots)
        bounds = out.offsets[np.searchsorted(stretches.documents, np.arange(len(offsets)))]
        places = None
        if spots:
            places = origins.of(out.byte_offsets) if len(splices.starts) else out.byte_offsets
        return Encoded(out.ids, out.word_starts, np.diff(bounds), places)

    def _normalized(self, text: Bytes, offsets: Offsets) -> Normalized:
        raw, normalized = self._added
        stretches = whole_documents(text, offsets)
        if raw is not None:
            stretches = raw.find(stretches)
        stretches, splices = self._normalization.apply(stretches)
        return Normalized(stretches if normalized is None else normalized.find(stretches), splices)


def _holds_hidden(text: Bytes) -> bool:
    """Tell whether a text holds the noncharacter that hides the names of special tokens: the library finds those behind it."""
    hidden = HIDDEN.encode()
    return bool(text.max(initial=0) >= hidden[0]) and hidden in text.tobytes()


def _encode_apart(
    text: Bytes, offsets: Offsets, numbers: Offsets, encoders: tuple[Encoder, Encoder], *, spots: bool
) -> Encoded:
    """Return the tokens of D documents, of those with these numbers from the first encoder, of the others from the second."""
    rest = np.setdiff1d(np.arange(len(offsets) - 1), numbers)
    found, owners = [], []
    for encoder, mine in zip(encoders, (numbers, rest), strict=True):
        parts = [text[start:end] for start, end in zip(offsets[mine].tolist(), offsets[mine + 1].tolist(), strict=True)]
        bounds = offsets_of(np.array(list(map(len, parts)), np.int64))
        encoded = encoder.encode(np.concatenate([text[:0], *parts]), bounds, spots=spots)
        moved = np.repeat(offsets[mine] - bounds[:-1], encoded.counts)
        shown = np.zeros((len(moved), 2), np.int64) if encoded.spots is None else encoded.spots
        found.append(encoded._replace(spots=shown + moved[:, None]))
        owners.append(np.repeat(mine, encoded.counts))
    order = np.argsort(np.concatenate(owners), kind="stable")
    ids, flags, _, places = (np.concatenate(field) for field in zip(*found, strict=True))
    counts = np.bincount(np.concatenate(owners), minlength=len(offsets) - 1)
    return Encoded(ids[order], flags[order], counts, places[order] if spots else None)
