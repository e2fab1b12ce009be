"""Vocabularies trained on text by the `tokenizers` library: the same for the same text, whatever the library's hash maps and threads do.

Its BPE trainer breaks ties by ids, so it is deterministic once all ids are there before it begins: bytes are; of WordPiece's letters, ids
of the continuing ones follow the order of a hash map, so letters are counted first and given to it. Its Unigram trainer adds floats in the
order of a hash map: the entries come out the same, their scores but for the last digits, and `_settled` takes those away.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Any, TypeVar

from spanmask.config import VocabularyKind
from spanmask.errors import ConfigError
from spanmask.pieces import CONTINUATION
from spanmask.tokenizer_json import ROLES

#: Special tokens as RoBERTa and XLM-R have them, in order of their ids.
_SPECIAL = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
#: What the Unigram trainer raises the score of a character above the lowest by, for each character it puts back.
_STEP = 1e-4
#: Decimals of a score that are kept; runs differ from the eleventh on.
_DECIMALS = 3
_SPACES = {" ", "▁"}
#: Characters that always have entries: texts to come hold them.
_ALWAYS = [chr(point) for point in range(0x21, 0x7F)]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alphabet:
    """The characters of a text that entries are made of, once normalized, ascending, and how often each is there.

    left: those of the text that are not covered; each is read as a space. seen: all there are.
    """

    letters: tuple[str, ...]
    left: tuple[str, ...]
    seen: int


def alphabet_of(kind: VocabularyKind, characters: Mapping[str, int], *, cased: bool, coverage: float) -> Alphabet:
    """Return the most frequent characters that make up a share of a text, and those of ASCII.

    Parameters
    ----------
    characters
        How often each stands in the text.
    coverage
        The share, at most 1.
    """
    library = _untrained(kind, cased=cased)
    known = dict.fromkeys(_ALWAYS, 0) | dict(characters)
    becomes = {character: set(library.normalizer.normalize_str(character)) - _SPACES for character in known}
    counts = Counter[str]()
    for character, parts in becomes.items():
        counts.update(dict.fromkeys(parts, known[character]))
    letters, met, wanted = (
        set[str]().union(*(becomes[character] for character in _ALWAYS)),
        0,
        coverage * counts.total(),
    )
    for letter, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if met >= wanted:
            break
        letters.add(letter)
        met += count
    left = sorted(character for character, parts in becomes.items() if not parts <= letters)
    return Alphabet(letters=tuple(sorted(letters)), left=tuple(left), seen=len(characters))


def train_tokenizer(
    kind: VocabularyKind,
    texts: Iterable[str],
    alphabet: Alphabet,
    *,
    size: int,
    min_frequency: int,
    cased: bool,
) -> str:
    """Train a vocabulary and return the text of its ``tokenizer.json``.

    Parameters
    ----------
    texts
        Read once, one text at a time.
    alphabet
        Of the texts, `Alphabet.left` aside; byte-level BPE needs none.
    size
        The most entries, special ones included.
    min_frequency
        How often two pieces stand together before they become one; Unigram has no such limit.
    cased
        Of WordPiece: whether text keeps its case.

    Raises
    ------
    ConfigError
        The size is too small for the alphabet.
    """
    library = _untrained(kind, cased=cased)
    given = _given(kind, library, alphabet)
    least = len(given) + {VocabularyKind.BPE: 256, VocabularyKind.UNIGRAM: len(alphabet.letters)}.get(kind, 0)
    if size <= least:
        raise ConfigError(
            f"size is {size:,}: special tokens and alphabet alone have {least:,} entries; give a larger --size"
            + ("" if kind is VocabularyKind.BPE else ", or a lower --coverage"),
            options=("size",),
        )
    trainer = _trainer(kind, given, size, min_frequency)
    _interruptible(lambda: library.train_from_iterator(texts, trainer))
    return _finished(kind, library, json.loads(library.to_str())["model"]["vocab"], cased=cased)


def _untrained(kind: VocabularyKind, *, cased: bool) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if kind is VocabularyKind.WORDPIECE:
        library: Any = Tokenizer(models.WordPiece(unk_token=ROLES["unk"]))
        library.normalizer = normalizers.BertNormalizer(lowercase=not cased)
        library.pre_tokenizer, library.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    elif kind is VocabularyKind.BPE:
        library = Tokenizer(models.BPE())
        library.pre_tokenizer, library.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    else:
        library = Tokenizer(models.Unigram())
        steps = [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
        library.normalizer = normalizers.Sequence(steps)
        library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return library


def _given(kind: VocabularyKind, library: Any, alphabet: Alphabet) -> list[str]:
    """Return the entries that are there before training begins, in order of their ids."""
    if kind is not VocabularyKind.WORDPIECE:
        return list(_SPECIAL.values())
    letters = list(alphabet.letters)
    return [*ROLES.values(), *letters, *(CONTINUATION + letter for letter in letters if _joins(library, letter))]


def _joins(library: Any, letter: str) -> bool:
    """Tell whether a letter may stand inside a word: punctuation and Chinese characters are words of their own."""
    text = library.normalizer.normalize_str(f"a{letter}a")
    return len(library.pre_tokenizer.pre_tokenize_str(text)) == 1


def _trainer(kind: VocabularyKind, given: list[str], size: int, min_frequency: int) -> Any:
    from tokenizers import pre_tokenizers, trainers

    common: dict[str, Any] = {"vocab_size": size, "special_tokens": given, "show_progress": False}
    if kind is VocabularyKind.UNIGRAM:
        return trainers.UnigramTrainer(unk_token=_SPECIAL["unk"], initial_alphabet=_ALWAYS, **common)
    common["min_frequency"] = min_frequency
    if kind is VocabularyKind.BPE:
        return trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    # All letters are given: the trainer is to find none of its own.
    return trainers.WordPieceTrainer(limit_alphabet=0, continuing_subword_prefix=CONTINUATION, **common)


def _finished(kind: VocabularyKind, library: Any, vocab: Any, *, cased: bool) -> str:
    """Return a trained tokenizer as text, with special tokens that are added ones and frame a text."""
    from tokenizers import AddedToken, models, processors

    # Made anew: to the trained one, every letter that was given is an added token.
    finished = _untrained(kind, cased=cased)
    special, model = _SPECIAL, library.model
    if kind is VocabularyKind.WORDPIECE:
        special, model = ROLES, models.WordPiece(vocab, unk_token=ROLES["unk"], max_input_chars_per_word=100)
    elif kind is VocabularyKind.UNIGRAM:
        model = models.Unigram(_settled(vocab), list(special).index("unk"))
    finished.model = model
    # Where words begin with their space, a mask takes the one before it, as in RoBERTa and XLM-R: else that is an entry beside it.
    begins = special is _SPECIAL
    finished.add_special_tokens(
        [AddedToken(entry, lstrip=begins and role == "mask", special=True) for role, entry in special.items()]
    )
    first, last = special["cls"], special["sep"]
    finished.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1" if special is ROLES else f"{first} $A {last} {last} $B {last}",
        special_tokens=[(name, finished.token_to_id(name)) for name in (first, last)],
    )
    return str(finished.to_str())


def _settled(vocab: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return Unigram's entries with scores that are the same for the same text, special ones first, others by falling score.

    The trainer puts characters that it had dropped back in the order of a hash map, each a step above the one before, from the lowest
    score on: they all get that.
    """
    special = [(entry, score) for entry, score in vocab if entry in _SPECIAL.values()]
    scores = {entry: score for entry, score in vocab if entry not in _SPECIAL.values()}
    lowest = min(scores.values(), default=0.0)
    places = {entry: (score - lowest) / _STEP for entry, score in scores.items() if len(entry) == 1}
    steps = {entry: round(place) for entry, place in places.items() if abs(place - round(place)) < 1e-6}
    known = set(steps.values())
    end = next(step for step in range(len(known) + 1) if step not in known)
    scores |= {entry: lowest for entry, step in steps.items() if step < end}
    rounded = [(entry, round(score, _DECIMALS)) for entry, score in scores.items()]
    return [*special, *sorted(rounded, key=lambda item: (-item[1], item[0]))]


def _interruptible(call: Callable[[], _T]) -> _T:
    """Return what a call returns that no signal reaches: made in another thread, so that waiting for it can be interrupted."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future.result()
