"""Vocabularies: entries in, the tables that tokenizing and masking need out.

A vocabulary is BERT's WordPiece list (entry number i is id i, a piece inside a word begins with ``##``), or that of any other Hugging Face
``tokenizer.json``, whose text it keeps, since that says how to tokenize. This module reads it as JSON; `spanmask.tokenization` runs it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.collector import held_off
from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError, StorageError
from spanmask.pieces import CONTINUATION, LONGEST_WORD, MARK, SPACELESS, Speller, first_classes
from spanmask.tokenizer_folder import chosen_file
from spanmask.tokenizer_json import ROLES, entries_of, is_berts, roles_of, spares, special_added

#: Vocabularies that ship with the package, with their SHA-256: BERT's (Apache-2.0).
BUILT_IN = {
    "cased": "eeaa9875b23b04b4c54ef759d03db9d1ba1554838f8fb26c5d96fa551df93d02",
    "uncased": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
#: What is said of a vocabulary's ``cased``.
CASINGS = {True: "cased", False: "uncased", None: "cased as its tokenizer says"}

#: The most entries whose ids fit in 16 bits.
_NARROW = 65_536
_UNUSED = re.compile(r"\[unused\d+\]")
#: What an entry that no text shall become is called.
_SPARE = "[unusedN]"
#: Characters of a tokenizer.json at most: it goes into the manifest, whose size is limited.
_TOKENIZER_LIMIT = 24 << 20
#: Bytes of a file at most: what so many characters have in UTF-8.
_FILE_LIMIT = 4 * _TOKENIZER_LIMIT
_BYTE_ORDER_MARK = "\ufeff"
#: What libraries take off the end of a line: Unicode's White_Space, from which Python's differs.
_WHITE_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """The ids of the special tokens. unk is None where a tokenizer has none, since every byte is known to it."""

    pad: int
    unk: int | None
    cls: int
    sep: int
    mask: int

    def as_dict(self) -> dict[str, int | None]:
        """Return the ids by role."""
        return {role: getattr(self, role) for role in ROLES}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Entries, their order being the ids, and how text becomes them.

    cased: whether text keeps its case; None with a ``tokenizer``, whose normalizer decides. tokenizer: the text of a ``tokenizer.json``
    that is not BERT's; None for BERT's WordPiece. base_words: whether words are the tokenizer's own, as in datasets of algorithm version 1,
    rather than by the rule of FORMAT.md §6.7.

    Raises
    ------
    ConfigError
        It is empty, holds an entry twice or an empty one, or lacks a special token.
    """

    name: str
    entries: tuple[str, ...]
    cased: bool | None
    tokenizer: str | None = None
    base_words: bool = False

    def __post_init__(self) -> None:
        if not self.entries:
            raise ConfigError(f"vocabulary {self.name}: it is empty; give a file with one entry a line")
        if self.tokenizer is None:
            _refuse_doubles(self.name, self.entries)
            missing = [token for token in ROLES.values() if token not in self.ids]
            if missing:
                raise ConfigError(
                    f"vocabulary {self.name}: it lacks {', '.join(missing)}; add an entry for each at its end"
                )

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Each entry's id."""
        return {entry: number for number, entry in enumerate(self.entries)}

    @cached_property
    def special(self) -> SpecialIds:
        """The ids of the special tokens.

        Raises
        ------
        ConfigError
            A ``tokenizer`` lacks one other than unk.
        """
        if self.tokenizer is None:
            return SpecialIds(**{role: self.ids[token] for role, token in ROLES.items()})
        return self._stated[0]

    @cached_property
    def _stated(self) -> tuple[SpecialIds, dict[str, int], Speller]:
        """What a ``tokenizer`` says of its entries: ids by role, special ones, what they spell; at once, since reading it takes long."""
        with _reading(self.name):
            content = json.loads(self.tokenizer or "")
            roles = SpecialIds(**roles_of(self.name, self.ids, content, len(self)))
            return roles, special_added(content), Speller.of(content)

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Special tokens with their ids: those with a role, which no text becomes, and a tokenizer's others."""
        roles = {self.entries[number]: number for number in self.special.as_dict().values() if number is not None}
        return roles | (self._stated[1] if self.tokenizer else {})

    @cached_property
    def sha256(self) -> str:
        """SHA-256 in UTF-8 of the entries, each followed by a newline, or of the ``tokenizer``."""
        text = self.tokenizer or "".join(f"{entry}\n" for entry in self.entries)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def tells_words(self) -> bool:
        """Whether word starts follow from the ids."""
        return self.tokenizer is None

    @cached_property
    def base_word_table(self) -> npt.NDArray[np.bool_]:
        """(V,) bool: whether an id starts a word of BERT's tokenizer.

        Raises
        ------
        ConfigError
            The vocabulary does not tell.
        """
        if not self.tells_words:
            raise ConfigError(f"vocabulary {self.name}: word starts do not follow from its ids; give word_starts")
        return np.array([not entry.startswith(CONTINUATION) for entry in self.entries])

    @cached_property
    def word_lines(self) -> npt.NDArray[np.uint8]:
        """(V,) which line of the word rule acts on an id, where it tells words: `pieces.MARK`, `pieces.SPACELESS`, or 0 for none."""
        base, classes = self.base_word_table, first_classes(self.entries)
        if self.base_words:
            return np.zeros(len(self), np.uint8)
        acts = ((classes == MARK) & base) | ((classes == SPACELESS) & ~base)
        return np.where(acts, classes, 0).astype(np.uint8)

    @cached_property
    def word_start_table(self) -> npt.NDArray[np.bool_]:
        """(V,) bool: whether an id starts a word, long words apart (FORMAT.md §6.7); a `ConfigError` where `base_word_table` is."""
        table: npt.NDArray[np.bool_] = self.base_word_table ^ (self.word_lines != 0)
        return table

    @property
    def longest_word(self) -> int:
        """Tokens of a word at most, where it tells words."""
        return 1 << 20 if self.base_words else LONGEST_WORD

    @cached_property
    def spelled(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """The bytes of text that the entries of a ``tokenizer`` stand for: flat, and (V + 1,) offsets in them."""
        roles, _, speller = self._stated
        ids = set(roles.as_dict().values())
        known = [b"" if number in ids else speller.bytes_of(entry) for number, entry in enumerate(self.entries)]
        return np.frombuffer(b"".join(known), np.uint8), np.cumsum([0, *map(len, known)])

    @cached_property
    def ordinary_ids(self) -> npt.NDArray[Any]:
        """Ascending ids that may replace a token at random: neither special nor unused.

        Raises
        ------
        ConfigError
            There are none.
        """
        special = set(self.special_tokens.values())
        ordinary = [
            number
            for number, entry in enumerate(self.entries)
            if number not in special and not _UNUSED.fullmatch(entry)
        ]
        if not ordinary:
            raise ConfigError(f"vocabulary {self.name}: it holds special and unused entries only; add ordinary ones")
        return np.array(ordinary, dtype=self.dtype)

    @cached_property
    def unused_ids(self) -> npt.NDArray[Any]:
        """Ascending ids of unused entries, ``[unusedN]``, which no text becomes and a task may give a meaning."""
        return np.array([number for number, entry in enumerate(self.entries) if _UNUSED.fullmatch(entry)], self.dtype)

    @cached_property
    def counted_ids(self) -> npt.NDArray[Any]:
        """Ascending ids that may replace a token in proportion to their counts: ordinary ones, and unk, which occurs in text as they do."""
        unk, *others = (self.special.as_dict()[role] for role in ("unk", "pad", "cls", "sep", "mask"))
        extra = [] if unk is None or unk in others else [unk]
        return np.union1d(self.ordinary_ids, np.array(extra, self.dtype))

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
            raise ConfigError(
                f"vocabulary {name}: entry {number} is empty; call it {_SPARE}, so that no later id moves"
            )
        if entry in seen:
            raise ConfigError(
                f"vocabulary {name}: {entry!r} is there twice, as {seen[entry]} and {number}; "
                f"call the first {_SPARE}, so that no later id moves"
            )
        seen[entry] = number


def with_spares(entries: Sequence[str]) -> tuple[str, ...]:
    """Return the entries of a WordPiece list as a ``vocab.txt`` can hold them, under the same ids.

    No text becomes an empty entry, one that comes again (the libraries give a text the last of its ids) or one that a file would give
    back as another: they become unused entries, so that ids after them stay what a model has learnt.
    """
    last = {entry: number for number, entry in enumerate(entries)}
    unused = spares(entries)

    def stands(number: int, entry: str) -> bool:
        kept = entry.rstrip(_WHITE_SPACE) == entry and "\n" not in entry
        return bool(entry) and kept and last[entry] == number and not entry.startswith(_BYTE_ORDER_MARK)

    return tuple(entry if stands(number, entry) else next(unused) for number, entry in enumerate(entries))


def load_vocabulary(config: VocabularyConfig) -> Vocabulary:
    """Load a vocabulary that ships with the package, a ``vocab.txt``, a ``tokenizer.json`` or a folder that holds one of the two.

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
    """Return the entries of a ``vocab.txt`` as the libraries read it: a line an id, without the white space behind it."""
    text = text.rstrip(_WHITE_SPACE)
    return with_spares([line.rstrip(_WHITE_SPACE) for line in text.split("\n")]) if text else ()


def _agree(name: str, known: bool, given: bool | None) -> bool:
    if given is not None and given != known:
        raise ConfigError(f"vocabulary {name} is {CASINGS[known]}, and --{CASINGS[given]} was given: leave it out")
    return known


@held_off()
def _load_file(path: Path, cased: bool | None) -> Vocabulary:
    if path.is_dir():
        folder, (path, known) = path, chosen_file(path)
        cased = cased if known is None else _agree(str(folder), known, cased)
    text = _read_text(path)
    if path.suffix == ".json":
        return vocabulary_from_json(path, text, cased)
    if cased is None:
        raise ConfigError(f"vocabulary {path}: say with --cased or --uncased whether its text keeps its case")
    return Vocabulary(name=path.name, entries=_lines(text), cased=cased)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError(f"vocabulary {path}: no such file; give cased, uncased or a path") from None
    except OSError as error:
        raise StorageError(f"vocabulary {path}: could not read it ({error.strerror}); check the path") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"vocabulary {path}: more than {_FILE_LIMIT:,} bytes; give a vocab.txt or tokenizer.json")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"vocabulary {path}: not UTF-8 at byte {error.start}; convert it to UTF-8") from None
    _refuse_odd_text(path, text)
    return text


def _refuse_odd_text(path: Path, text: str) -> None:
    """Refuse what libraries read as other entries than were meant; mending it moves no id."""
    if text.startswith(_BYTE_ORDER_MARK):
        raise ConfigError(
            f"vocabulary {path}: it begins with a byte-order mark, which libraries take for part of the first entry; "
            "save it as UTF-8 without one, which moves no id"
        )
    if "\r" in text and "\n" not in text:
        raise ConfigError(f"vocabulary {path}: its lines end with carriage returns only; end them with newlines")


def vocabulary_from_json(path: Path, text: str, cased: bool | None = None) -> Vocabulary:
    """Return the vocabulary of the text of a ``tokenizer.json``, BERT's or any other.

    Parameters
    ----------
    path
        Names it.
    cased
        What was said of its casing, if anything.

    Raises
    ------
    ConfigError
        It cannot be used, or has another casing.
    """
    with _reading(path.name):
        content = json.loads(text)
        entries = entries_of(path.name, content)
        bert = is_berts(content) and set(ROLES.values()) <= set(entries)
    if bert:
        lowercase = content["normalizer"]["lowercase"]
        return Vocabulary(name=path.name, entries=with_spares(entries), cased=_agree(path.name, not lowercase, cased))
    if cased is not None:
        raise ConfigError(
            f"vocabulary {path}: its own normalizer decides about case; leave --{'cased' if cased else 'uncased'} out"
        )
    return _made(path.name, text, content, entries)


@held_off()
def vocabulary_from_tokenizer(name: str, text: str) -> Vocabulary:
    """Return the vocabulary of the text of a ``tokenizer.json`` that is not BERT's.

    Raises
    ------
    ConfigError
        It is no such text or too long, leaves ids out, lacks a special token, or gives other tokens each time.
    """
    _refuse_length(name, text)
    with _reading(name):
        content = json.loads(text)
        entries = entries_of(name, content)
    return _made(name, text, content, entries)


def _refuse_length(name: str, text: str) -> None:
    if len(text) > _TOKENIZER_LIMIT:
        raise ConfigError(
            f"vocabulary {name}: {len(text):,} characters, at most {_TOKENIZER_LIMIT:,} are kept; save it without indentation"
        )


def _made(name: str, text: str, content: dict[str, Any], entries: tuple[str, ...]) -> Vocabulary:
    """Return the vocabulary of a tokenizer.json, text and parsed, that is not BERT's; raises as `vocabulary_from_tokenizer` does."""
    _refuse_length(name, text)
    with _reading(name):
        random = content["model"].get("dropout")
    if random:
        raise ConfigError(f"vocabulary {name}: its model drops merges at random; set its dropout to null")
    vocabulary = Vocabulary(name=name, entries=entries, cased=None, tokenizer=text)
    vocabulary.special_tokens  # noqa: B018
    return vocabulary


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what unexpected JSON raises into an error that says so."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ConfigError(
            f"vocabulary {name}: not a tokenizer.json ({error}); save it with the tokenizers library"
        ) from None
