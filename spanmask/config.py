"""Frozen configuration of the CPU half, and the canonical JSON and fingerprint of what is stored.

Defaults are the paper's (Joshi et al. 2020, arXiv 1907.10529), with the place named beside each.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from spanmask.errors import ConfigError
from spanmask.options import Form, Options

#: Names the masking rules of FORMAT.md §6. Any change of a mask raises it.
ALGORITHM_VERSION = 2
#: The share of masking budgets that may be left before `preshard` warns and `audit` fails.
SHORTFALL_LIMIT = 0.05
#: Version of the dataset format (FORMAT.md).
FORMAT_VERSION = 2

#: The widest row: positions are stored in 16 bits.
MAX_TOKENS_LIMIT = 65_535
MASK_EPOCH_LIMIT = 1 << 16
#: Segments of a document that the counter of its masks can tell apart (FORMAT.md §6.1).
SEGMENT_LIMIT = 1 << 24
SEED_LIMIT = 1 << 64


class Format(StrEnum):
    """How input files are read; ``auto`` goes by the file's name."""

    AUTO = "auto"
    TEXT = "text"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"


class Layout(StrEnum):
    """What a document is in a text file: lines up to a blank line, one line, or the whole file."""

    SENTENCES = "sentences"
    DOCUMENTS = "documents"
    FILE = "file"


class OnError(StrEnum):
    """What a document that cannot be read does: end the run, or be left out and counted."""

    FAIL = "fail"
    SKIP = "skip"


class Segmentation(StrEnum):
    """Where a document is cut: at the last word that fits, at the last line that fits, or into pairs of segments, as BERT has them."""

    FILL = "fill"
    SENTENCE = "sentence"
    PAIRS = "pairs"


class Scheme(StrEnum):
    """The unit that is drawn for masking."""

    SPAN = "span"
    WORD = "word"
    TOKEN = "token"
    ANNOTATED = "annotated"


class Sampler(StrEnum):
    """Which procedure draws spans: the paper's text, or the distribution of its released code."""

    PAPER = "paper"
    REFERENCE = "reference"


class ReplacementUnit(StrEnum):
    """What is replaced as one: a stored span, each word in it, or each token."""

    SPAN = "span"
    WORD = "word"
    TOKEN = "token"


class RandomIds(StrEnum):
    """How random replacement ids are drawn: uniformly over ordinary ids, or by corpus frequency."""

    UNIFORM = "uniform"
    UNIGRAM = "unigram"


class VocabularyKind(StrEnum):
    """What is trained on a text: BERT's WordPiece, byte-level BPE as RoBERTa has it, or Unigram as XLM-R has it."""

    WORDPIECE = "wordpiece"
    BPE = "bpe"
    UNIGRAM = "unigram"


#: Columns of pairs of segments.
PAIR_COLUMNS = ("pair_border", "pair_label", "pair_document_id", "pair_segment")
#: Columns of a shard, whose names no kept field may have (FORMAT.md §2).
COLUMNS = (
    *("document_id", "segment", "input_ids", "span_starts", "span_ends", "labels"),
    *("word_starts", "annotation_starts", "annotation_ends"),
    *PAIR_COLUMNS,
)
#: The finest ratio: budgets are computed in 64-bit integers.
_FINEST = 10**9

_REPLACEMENT_UNITS = {
    Scheme.SPAN: tuple(ReplacementUnit),
    Scheme.ANNOTATED: tuple(ReplacementUnit),
    Scheme.WORD: (ReplacementUnit.TOKEN, ReplacementUnit.WORD),
    Scheme.TOKEN: (ReplacementUnit.TOKEN,),
}


def size_of(text: str) -> int:
    """Return the bytes that a size such as 32MiB or 64MB says."""
    found = re.fullmatch(r"(\d+)\s*([kmg]?)(i?)b|(\d+)", text, re.IGNORECASE)
    if not found or (found[3] and not found[2]):
        raise ValueError
    power = ("", "k", "m", "g").index((found[2] or "").lower())
    return int(found[1] or found[4]) * int((1024 if found[3] else 1000) ** power)


Size = Annotated[int, Form("bytes, or a number with KiB, MiB or GiB, or with kB, MB or GB", "SIZE", parse=size_of)]
FieldName = Annotated[str, Form("the name of a field", "NAME")]


def _encoding(name: str) -> str:
    """Return the one name of an encoding of text, or refuse it."""
    try:
        known = codecs.lookup(name).name
        b"a".decode(known, "replace")
        codecs.getincrementaldecoder(known)
    except (LookupError, UnicodeError, ValueError):
        raise ConfigError(
            f"encoding is {name!r}: give the name of one that Python knows, such as latin-1, utf-16 or gb18030",
            options=("encoding",),
        ) from None
    return "utf-8" if known == "utf-8-sig" else known


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig(Options):
    """How inputs become documents.

    Attributes
    ----------
    format
        How inputs are read. [auto: by name]
    layout
        Text: a blank line ends a document, each line is one, or each file is.
    text_field
        Field that holds the text.
    spans_field
        Field of [start, end) ranges in code points, for scheme annotated.
    words_field
        Field of code points at which words start, instead of the tokenizer's words.
    keep
        Field to pass through to the rows; may be repeated.
    exclude
        Leave out documents whose field is one of the lines of a file, such as id=takedown.txt; may be repeated.
    on_error
        A document that cannot be read ends the run, or is left out.
    encoding
        Of text, JSON and CSV that is not UTF-8: a name that Python knows, such as latin-1, utf-16 or gb18030.
    max_document_bytes
        A longer document (JSON: line; columns: row) cannot be read. [256MiB]
    """

    format: Format = Format.AUTO
    layout: Layout = Layout.SENTENCES
    text_field: FieldName = "text"
    spans_field: FieldName | None = None
    words_field: FieldName | None = None
    keep: Annotated[tuple[str, ...], Form("a list of field names", "NAME")] = ()
    exclude: Annotated[tuple[str, ...], Form("a list of FIELD=FILE", "FIELD=FILE")] = ()
    on_error: OnError = OnError.FAIL
    encoding: Annotated[str, Form("the name of an encoding", "NAME")] = "utf-8"
    max_document_bytes: Size = 256 << 20

    def _check(self) -> None:
        self._require(lambda value: 1 <= value <= 1 << 40, "1 byte to 1024GiB", "max_document_bytes")
        object.__setattr__(self, "encoding", _encoding(self.encoding))
        for given in self.exclude:
            field, _, file = given.partition("=")
            if not (field and file) or field in (self.spans_field, self.words_field):
                raise ConfigError(
                    f"exclude is {given!r}: give FIELD=FILE, such as id=takedown.txt, of a field of the input",
                    options=("exclude",),
                )
        names = [self.text_field, self.spans_field, self.words_field, *self.keep]
        names = [name for name in names if name is not None]
        if not all(names):
            raise ConfigError("a field's name is empty: give the name of a field of the input")
        for name in names:
            if name in self.keep and name in COLUMNS:
                raise ConfigError(
                    f"field {name!r} cannot be kept: shards have, or may have, a column of that name; rename it in the input"
                )
            if names.count(name) > 1:
                raise ConfigError(f"field {name!r} is named twice: text, spans, words and kept fields must differ")

    @property
    def carried(self) -> tuple[str, ...]:
        """Fields that are read beside the text: those to keep, and those by which documents are excluded."""
        return tuple(name for name in self.named if name != self.text_field)

    @property
    def named(self) -> tuple[str, ...]:
        """The same, the text's too where documents are excluded by it."""
        return tuple(dict.fromkeys([*self.keep, *(given.partition("=")[0] for given in self.exclude)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyConfig(Options):
    """Which vocabulary a text is tokenized with.

    Attributes
    ----------
    vocab
        BERT's vocabularies, a vocab.txt, any Hugging Face tokenizer.json, or a folder that holds one.
    cased
        Casing of a vocabulary given as a vocab.txt; a tokenizer.json or a model's folder says so itself.
    """

    vocab: Annotated[str, Form("cased, uncased or a path", "cased|uncased|PATH")] = "cased"
    cased: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values; of a path, the base name."""
        return Options.to_json(self) | {"vocab": Path(self.vocab).name}


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceConfig(Options):
    """How documents become sequences (paper §4.2: up to 512 tokens).

    Attributes
    ----------
    segmentation
        Cut documents at the last word, or line, that fits; or into pairs, half of them with a second part from another document.
    max_tokens
        Longest sequence, [CLS] and [SEP] included.
    min_tokens
        Shortest sequence kept, counted alike.
    """

    segmentation: Segmentation = Segmentation.FILL
    max_tokens: int = 512
    min_tokens: int = 8

    def _check(self) -> None:
        self._require(
            lambda value: 3 <= value <= MAX_TOKENS_LIMIT,
            f"3 to {MAX_TOKENS_LIMIT}, special tokens included",
            "max_tokens",
        )
        self._require(lambda value: 0 <= value <= self.max_tokens, f"0 to max_tokens ({self.max_tokens})", "min_tokens")
        if self.segmentation is Segmentation.PAIRS:
            least = max(self.min_tokens + 1, 5)
            self._require(lambda value: value >= least, f"{least} or more for pairs of segments", "max_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingConfig(Options):
    """How sequences are masked (FORMAT.md §6); ratios, lengths and replacement per span are the paper's (§3.1: mean length 3.8).

    Attributes
    ----------
    seed
        Masks are a function of it. [required]
    scheme
        What is drawn for masking.
    sampler
        Of scheme span: the paper's text, or its released code. [paper]
    mask_ratio
        Share of tokens masked.
    geometric_p
        Of span lengths in words.
    max_words
        Longest span drawn, in words.
    replacement_unit
        What is replaced as one. [by scheme]
    random_ids
        How random replacements are drawn; unigram reads compressed inputs once more. [uniform; unigram for reference]
    mask_epoch
        Another epoch, other masks of the same sequences.
    """

    seed: Annotated[int, Form("a whole number", "N", "masks are a function of it, so it has no default; give --seed N")]
    scheme: Scheme = Scheme.SPAN
    sampler: Sampler | None = None
    mask_ratio: float = 0.15
    geometric_p: float = 0.2
    max_words: int = 10
    replacement_unit: ReplacementUnit | None = None
    random_ids: RandomIds | None = None
    mask_epoch: int = 0

    def _check(self) -> None:
        """Resolve what the scheme leaves open, then hold every number to its range."""
        self._resolve()
        self._require(lambda value: 0 <= value < SEED_LIMIT, "a whole number from 0 to 2^64 - 1", "seed")
        self._require(lambda value: 0 <= value < MASK_EPOCH_LIMIT, f"0 to {MASK_EPOCH_LIMIT - 1}", "mask_epoch")
        self._require(
            lambda value: 0 < value < 1, "a share of the tokens above 0 and below 1, such as 0.15", "mask_ratio"
        )
        self._require(lambda value: 0 < value < 1, "a probability above 0 and below 1, such as 0.2", "geometric_p")
        self._require(
            lambda value: Fraction(repr(value)).denominator <= _FINEST,
            "at most nine decimals",
            "mask_ratio",
            "geometric_p",
        )
        self._require(lambda value: 1 <= value <= 1000, "1 to 1000", "max_words")

    def _resolve(self) -> None:
        """Fill in the scheme's defaults, and refuse pairs that mean nothing."""
        if self.scheme is Scheme.SPAN:
            self._fill(sampler=Sampler.PAPER)
        elif self.sampler is not None:
            raise ConfigError(
                f"sampler {self.sampler} goes with scheme span only, not with {self.scheme}: leave it out",
                options=("sampler", "scheme"),
            )
        units = _REPLACEMENT_UNITS[self.scheme]
        random_ids = RandomIds.UNIGRAM if self.sampler is Sampler.REFERENCE else RandomIds.UNIFORM
        self._fill(replacement_unit=units[0], random_ids=random_ids)
        if self.replacement_unit not in units:
            raise ConfigError(
                f"replacement_unit {self.replacement_unit} does not go with scheme {self.scheme}: "
                f"it takes {' or '.join(units)}",
                options=("scheme",),
            )

    @property
    def mask_fraction(self) -> Fraction:
        """The mask ratio as the exact rational its decimal digits write."""
        return Fraction(repr(self.mask_ratio))

    @property
    def geometric_fraction(self) -> Fraction:
        """The geometric parameter as the exact rational its decimal digits write."""
        return Fraction(repr(self.geometric_p))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig(Options):
    """How rows become shards.

    Attributes
    ----------
    holdout
        Share of documents that go to DIR/validation.
    shard_bytes
        Decompressed text a shard. [32MiB]
    """

    holdout: float = 0.0
    shard_bytes: Size = 32 << 20

    def _check(self) -> None:
        self._require(lambda value: 0 <= value < 1, "a share of documents from 0 to below 1", "holdout")
        self._require(
            lambda value: 1 << 10 <= value <= 1 << 30, "1KiB to 1GiB of decompressed input a shard", "shard_bytes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreshardConfig(Options):
    """Everything that decides the bytes of a dataset, but for its inputs."""

    masking: MaskingConfig
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def _check(self) -> None:
        annotated = self.masking.scheme is Scheme.ANNOTATED
        if annotated != (self.corpus.spans_field is not None):
            raise ConfigError(
                "scheme annotated and a spans_field go together: give both or neither", options=("scheme",)
            )


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no white space, UTF-8, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
