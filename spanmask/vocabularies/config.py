"""What decides a trained vocabulary, and what is added to one, beside the text."""

from __future__ import annotations

from dataclasses import dataclass, field

from spanmask.config import CorpusConfig, VocabularyKind
from spanmask.errors import ConfigError
from spanmask.options import Options

#: Entries at most: ids are stored in 32 bits, and embeddings of more are no use to anyone.
_LARGEST = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(Options):
    """How a vocabulary is trained.

    Attributes
    ----------
    kind
        BERT's WordPiece, byte-level BPE as RoBERTa has it, or Unigram as XLM-R has it.
    size
        Entries at most, special ones included.
    cased
        Whether text keeps its case; only wordpiece may not. [cased]
    min_frequency
        How often two pieces stand together before they become one; not of unigram. [2]
    coverage
        Share of the text's characters that have entries, most frequent first, the others being unknown; not of bpe.
    """

    kind: VocabularyKind = VocabularyKind.WORDPIECE
    size: int = 30_000
    cased: bool | None = None
    min_frequency: int | None = None
    coverage: float = 0.99999
    corpus: CorpusConfig = field(default_factory=CorpusConfig)

    def _check(self) -> None:
        self._require(lambda value: 1 <= value <= _LARGEST, f"a number of entries from 1 to {_LARGEST:,}", "size")
        self._require(lambda value: value >= 1, "a number of times from 1", "min_frequency")
        self._require(lambda value: 0 < value <= 1, "a share above 0, at most 1", "coverage")
        _require_text_alone(self.corpus)
        if self.cased is False and self.kind is not VocabularyKind.WORDPIECE:
            raise ConfigError(f"a {self.kind} vocabulary keeps case: leave --uncased out, or give --kind wordpiece")
        if self.min_frequency is not None and self.kind is VocabularyKind.UNIGRAM:
            raise ConfigError(
                "min_frequency is of wordpiece and bpe, and a unigram trainer has no such limit: leave it out"
            )
        self._fill(cased=True, min_frequency=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendingConfig(Options):
    """What is added to a model's vocabulary.

    Attributes
    ----------
    add
        With --extend: pieces to add, those that save the text the most tokens.
    min_frequency
        How often a piece stands in the text at least. [2]
    """

    add: int
    min_frequency: int = 2
    corpus: CorpusConfig = field(default_factory=CorpusConfig)

    def _check(self) -> None:
        self._require(lambda value: 1 <= value <= _LARGEST, f"a number of pieces from 1 to {_LARGEST:,}", "add")
        self._require(lambda value: value >= 1, "a number of times from 1", "min_frequency")
        _require_text_alone(self.corpus)


def _require_text_alone(corpus: CorpusConfig) -> None:
    """Refuse fields beside the text's, which decide nothing here.

    Raises
    ------
    ConfigError
        One is named.
    """
    named = [name for name in (corpus.spans_field, corpus.words_field, *corpus.named) if name is not None]
    if named:
        raise ConfigError(f"field {named[0]!r}: a vocabulary is made of the text alone; leave other fields out")
