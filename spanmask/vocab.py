"""Vocabularies: entries in, the tables that tokenizing and masking need out.

A vocabulary is a WordPiece list: entry number i is id i, a piece inside a word begins with ``##``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError, StorageError

#: Vocabularies that ship with the package, with their SHA-256: BERT's (Apache-2.0).
BUILT_IN = {
    "cased": "eeaa9875b23b04b4c54ef759d03db9d1ba1554838f8fb26c5d96fa551df93d02",
    "uncased": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
#: What a piece that continues a word begins with.
CONTINUATION = "##"
#: The special tokens by role.
ROLES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}

#: The most entries whose ids fit in 16 bits.
_NARROW = 65_536
_UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """The ids of the special tokens."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int

    def as_dict(self) -> dict[str, int]:
        """Return the ids by role."""
        return {role: getattr(self, role) for role in ROLES}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A WordPiece vocabulary: its entries, their order being the ids, and whether text keeps its case.

    Raises
    ------
    ConfigError
        It is empty, holds an entry twice or an empty one, or lacks a special token.
    """

    name: str
    entries: tuple[str, ...]
    cased: bool

    def __post_init__(self) -> None:
        if not self.entries:
            raise ConfigError(f"vocabulary {self.name}: it is empty; give a file with one entry a line")
        _refuse_doubles(self.name, self.entries)
        missing = [token for token in ROLES.values() if token not in self.ids]
        if missing:
            raise ConfigError(f"vocabulary {self.name}: it lacks {', '.join(missing)}; add an entry for each")

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Each entry's id."""
        return {entry: number for number, entry in enumerate(self.entries)}

    @cached_property
    def special(self) -> SpecialIds:
        """The ids of the special tokens."""
        return SpecialIds(**{role: self.ids[token] for role, token in ROLES.items()})

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the entries, each followed by a newline, in UTF-8."""
        return hashlib.sha256("".join(f"{entry}\n" for entry in self.entries).encode()).hexdigest()

    @cached_property
    def word_start_table(self) -> npt.NDArray[np.bool_]:
        """(V,) bool: whether an id starts a word."""
        return np.array([not entry.startswith(CONTINUATION) for entry in self.entries])

    @cached_property
    def ordinary_ids(self) -> npt.NDArray[Any]:
        """Ascending ids that may replace a token at random: neither special nor unused.

        Raises
        ------
        ConfigError
            There are none.
        """
        special = set(self.special.as_dict().values())
        ordinary = [
            number
            for number, entry in enumerate(self.entries)
            if number not in special and not _UNUSED.fullmatch(entry)
        ]
        if not ordinary:
            raise ConfigError(f"vocabulary {self.name}: it holds special and unused entries only; add ordinary ones")
        return np.array(ordinary, dtype=self.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that ids are stored in."""
        return token_dtype(len(self.entries))

    @property
    def built_in(self) -> bool:
        """Whether this is one of the vocabularies that ship with the package."""
        return BUILT_IN.get(self.name) == self.sha256


def token_dtype(size: int) -> np.dtype[Any]:
    """Return the dtype of the ids of a vocabulary: uint16, or uint32 beyond 65,536 entries."""
    return np.dtype(np.uint16 if size <= _NARROW else np.uint32)


def _refuse_doubles(name: str, entries: Iterable[str]) -> None:
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if not entry:
            raise ConfigError(f"vocabulary {name}: entry {number} (line {number + 1}) is empty; remove the line")
        if entry in seen:
            raise ConfigError(f"vocabulary {name}: {entry!r} is there twice, as {seen[entry]} and {number}; remove one")
        seen[entry] = number


def load_vocabulary(config: VocabularyConfig) -> Vocabulary:
    """Load a vocabulary that ships with the package, a ``vocab.txt`` or a WordPiece ``tokenizer.json``.

    Raises
    ------
    ConfigError
        The file is missing, cannot be used, or its casing is not known or contradicts the one given.
    """
    if config.vocab in BUILT_IN:
        _agree(config.vocab, config.vocab == "cased", config.cased)
        return _built_in(config.vocab)
    return _load_file(Path(config.vocab), config.cased)


@cache
def _built_in(name: str) -> Vocabulary:
    text = resources.files("spanmask.data").joinpath(f"bert-base-{name}-vocab.txt").read_text("utf-8")
    return Vocabulary(name=name, entries=_lines(text), cased=name == "cased")


def vocabulary_from_entries(name: str, entries: Sequence[str] | None, *, cased: bool) -> Vocabulary:
    """Return the vocabulary a manifest describes: one that ships with the package, or the entries it holds."""
    if entries is None:
        return load_vocabulary(VocabularyConfig(vocab=name, cased=cased))
    return Vocabulary(name=name, entries=tuple(entries), cased=cased)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")) if text else ()


def _agree(name: str, known: bool, given: bool | None) -> bool:
    if given is not None and given != known:
        words = {True: "cased", False: "uncased"}
        raise ConfigError(f"vocabulary {name} is {words[known]}, and --{words[given]} was given: leave it out")
    return known


def _load_file(path: Path, cased: bool | None) -> Vocabulary:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"vocabulary {path}: no such file; give cased, uncased or a path") from None
    except OSError as error:
        raise StorageError(f"vocabulary {path}: could not read it ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"vocabulary {path}: not UTF-8 at byte {error.start}; convert it to UTF-8") from None
    if path.suffix == ".json":
        return _from_tokenizer_json(path, text, cased)
    if cased is None:
        raise ConfigError(f"vocabulary {path}: say with --cased or --uncased whether its text keeps its case")
    return Vocabulary(name=path.name, entries=_lines(text), cased=cased)


def _from_tokenizer_json(path: Path, text: str, cased: bool | None) -> Vocabulary:
    try:
        content = json.loads(text)
        model, normalizer = content["model"], content["normalizer"] or {}
        kind, vocab, lowercase = model["type"], model["vocab"], normalizer.get("lowercase")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"vocabulary {path}: not a tokenizer.json ({error})") from None
    if kind != "WordPiece" or model.get("continuing_subword_prefix", CONTINUATION) != CONTINUATION:
        raise ConfigError(f"vocabulary {path}: its model is {kind}; only WordPiece with ## can be used")
    if normalizer.get("type") != "BertNormalizer" or normalizer.get("strip_accents") not in (None, lowercase):
        raise ConfigError(
            f"vocabulary {path}: its normalizer is not BERT's, with case and accents kept or removed together"
        )
    entries = sorted(vocab, key=vocab.__getitem__)
    if [vocab[entry] for entry in entries] != list(range(len(entries))):
        raise ConfigError(f"vocabulary {path}: its ids are not 0 to {len(entries) - 1} without gaps")
    return Vocabulary(name=path.name, entries=tuple(entries), cased=_agree(path.name, not lowercase, cased))
