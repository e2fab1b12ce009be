"""What stands for entities and their types: names in, tokens out, by a mapping that is stored with the model.

Names are ``SUBJ-PERSON`` and ``OBJ-TITLE`` of the types that training files have, ``SUBJ`` and ``OBJ`` of any other type, or
``SUBJ-START``, ``SUBJ-END``, ``OBJ-START`` and ``OBJ-END`` of markers. Sorted, they get the vocabulary's unused entries in the order of
their ids, so that files in another order, or more files of the same types, change nothing; the paper's released code gives them out as it
meets types. Where a vocabulary has no unused entries, names can be written with what it has (`Marks.WORDS`): a type as the words "subject
person", a marker as ``@`` around the subject and ``#`` around the object, as Zhou and Chen 2022 (arXiv 2102.01373, §3.1) do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from spanmask.errors import ConfigError
from spanmask.probes.relation.config import Entities, Marks
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

#: What names begin with, subject first, and the words that are their types' where they are written out.
ROLES = ("SUBJ", "OBJ")
_ROLE_WORDS, _SIGNS = ("subject", "object"), ("@", "#")
_START, _END = "START", "END"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marking:
    """Tokens by what they stand for. entities: never auto. tokens: ids of each name."""

    entities: Entities
    tokens: Mapping[str, tuple[int, ...]]

    def of_type(self, role: int, name: str) -> tuple[int, ...]:
        """Return what stands for an entity of a type. role: 0 for the subject, 1 for the object."""
        any_type = self.tokens[ROLES[role]]
        return self.tokens.get(f"{ROLES[role]}-{name}", any_type) if name else any_type

    def knows(self, role: int, name: str) -> bool:
        """Tell whether a type has tokens of its own."""
        return bool(name) and f"{ROLES[role]}-{name}" in self.tokens

    def markers(self, role: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what begins and what ends an entity."""
        start, end = (self.tokens[f"{ROLES[role]}-{place}"] for place in (_START, _END))
        return start, end

    def to_json(self, vocabulary: Vocabulary) -> dict[str, Any]:
        """Return the mapping as plain JSON values: by name the vocabulary's entries."""
        named = {name: [vocabulary.entries[number] for number in ids] for name, ids in self.tokens.items()}
        return {"entities": str(self.entities), "tokens": named}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], vocabulary: Vocabulary) -> Marking:
        """Build what `to_json` returned.

        Raises
        ------
        ConfigError
            It is no such mapping, or the vocabulary lacks one of its entries.
        """
        try:
            named = {name: tuple(vocabulary.ids[entry] for entry in held) for name, held in content["tokens"].items()}
            return cls(entities=Entities(content["entities"]), tokens=named)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"vocabulary {vocabulary.name}: it does not fit what stands for entities ({type(error).__name__}: {error}); "
                "give the vocabulary that lies beside the model"
            ) from None


def mark(types: Iterable[tuple[str, str]], entities: Entities, marks: Marks, tokenizer: Tokenizer) -> Marking:
    """Give tokens to what stands for entities.

    Parameters
    ----------
    types
        Of subject and object of all training pairs, in any order; an empty name is none.
    entities
        Types or markers, not auto.
    marks
        What they are written with.
    tokenizer
        The model's.

    Raises
    ------
    ConfigError
        The vocabulary has fewer unused entries than there are names, or does not know the words.
    """
    names = _names(types) if entities is Entities.TYPES else [f"{r}-{p}" for r, p in product(ROLES, (_START, _END))]
    given = _unused(names, tokenizer.vocabulary) if marks is Marks.UNUSED else _written(names, entities, tokenizer)
    return Marking(entities=entities, tokens=given)


def _names(types: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names of types that there are, sorted behind those of any other type."""
    met = {f"{role}-{name}" for pair in types for role, name in zip(ROLES, pair, strict=True) if name}
    return [*ROLES, *sorted(met)]


def _unused(names: list[str], vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
    there = vocabulary.unused_ids.tolist()
    if len(there) < len(names):
        raise ConfigError(
            f"vocabulary {vocabulary.name}: {len(there)} unused entries ([unusedN]), and {len(names)} are wanted, one each for "
            f"{', '.join(names[:4])}{' and others' * (len(names) > 4)}; write them with words that it has (--marks words)",
            options=("marks",),
        )
    return {name: (number,) for name, number in zip(names, there, strict=False)}


def _written(names: list[str], entities: Entities, tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
    texts = [
        _words(name) if entities is Entities.TYPES else _SIGNS[ROLES.index(name.partition("-")[0])] for name in names
    ]
    block = tokenizer.encode(texts)
    ids = np.split(block.token_ids, block.document_offsets[1:-1])
    unknown = tokenizer.vocabulary.special.unk
    for text, held in zip(texts, ids, strict=True):
        if not len(held) or unknown in held.tolist():
            raise ConfigError(
                f"vocabulary {tokenizer.vocabulary.name}: it has no pieces for {text!r}, which would stand for an entity; "
                "give a model whose vocabulary has unused entries, or letters and punctuation",
                options=("marks",),
            )
    return {name: tuple(held.tolist()) for name, held in zip(names, ids, strict=True)}


def _words(name: str) -> str:
    """Return the words of a type's name."""
    role, _, kind = name.partition("-")
    return f"{_ROLE_WORDS[ROLES.index(role)]} {kind.lower().replace('_', ' ')}".rstrip()
