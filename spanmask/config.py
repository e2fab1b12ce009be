"""Frozen configuration of the CPU half: TOML in, canonical JSON and a fingerprint out.

Defaults are the paper's (Joshi et al. 2020, arXiv 1907.10529), with the place named beside each.
A TOML file is flat; its keys are the long flags with underscores (``max_tokens = 128``).
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import tomllib
import typing
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from spanmask.errors import ConfigError

#: Names the masking rules of FORMAT.md §6. Any change of a mask raises it.
ALGORITHM_VERSION = 1
#: Version of the dataset format (FORMAT.md).
FORMAT_VERSION = 1

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
    PARQUET = "parquet"
    ARROW = "arrow"


class Layout(StrEnum):
    """What a document is in a text file: lines up to a blank line, or one line."""

    SENTENCES = "sentences"
    DOCUMENTS = "documents"


class OnError(StrEnum):
    """What a document that cannot be read does: end the run, or be left out and counted."""

    FAIL = "fail"
    SKIP = "skip"


class Segmentation(StrEnum):
    """Where a document is cut: at the last word that fits, or at the last line that fits."""

    FILL = "fill"
    SENTENCE = "sentence"


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


#: Columns of a shard, whose names no kept field may have (FORMAT.md §2).
COLUMNS = (
    *("document_id", "segment", "input_ids", "span_starts", "span_ends", "labels"),
    *("word_starts", "annotation_starts", "annotation_ends"),
)
#: The finest ratio: budgets are computed in 64-bit integers.
_FINEST = 10**9

_REPLACEMENT_UNITS = {
    Scheme.SPAN: tuple(ReplacementUnit),
    Scheme.ANNOTATED: tuple(ReplacementUnit),
    Scheme.WORD: (ReplacementUnit.TOKEN, ReplacementUnit.WORD),
    Scheme.TOKEN: (ReplacementUnit.TOKEN,),
}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """How inputs become documents.

    ``text_field`` names the text in JSONL, Parquet and Arrow; ``spans_field`` its annotated ranges, ``words_field`` its word starts
    (code points); ``keep`` names fields passed through to the shards.
    """

    format: Format = Format.AUTO
    layout: Layout = Layout.SENTENCES
    text_field: str = "text"
    spans_field: str | None = None
    words_field: str | None = None
    keep: tuple[str, ...] = ()
    on_error: OnError = OnError.FAIL

    def __post_init__(self) -> None:
        names = [self.text_field, *filter(None, (self.spans_field, self.words_field)), *self.keep]
        _require(all(names), "a field's name is empty: give the name of a field of the input")
        taken = next((name for name in self.keep if name in COLUMNS), None)
        _require(
            taken is None, f"field {taken!r} cannot be kept: shards have a column of that name; rename it in the input"
        )
        doubled = next((name for name in names if names.count(name) > 1), None)
        _require(
            doubled is None,
            f"field {doubled!r} is named twice: text, spans, words and kept fields must differ",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyConfig:
    """Which vocabulary: ``cased``, ``uncased`` (BERT's, shipped), or the path of a ``vocab.txt`` or ``tokenizer.json``.

    ``cased`` says whether text keeps its case with a ``vocab.txt``; a ``tokenizer.json`` says so itself.
    """

    vocab: str = "cased"
    cased: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceConfig:
    """How documents become sequences. Lengths count tokens, special ones included (paper §4.2: up to 512)."""

    segmentation: Segmentation = Segmentation.FILL
    max_tokens: int = 512
    min_tokens: int = 8

    def __post_init__(self) -> None:
        _require(
            3 <= self.max_tokens <= MAX_TOKENS_LIMIT,
            f"max_tokens is {self.max_tokens}: give 3 to {MAX_TOKENS_LIMIT}, special tokens included",
        )
        _require(
            0 <= self.min_tokens <= self.max_tokens,
            f"min_tokens is {self.min_tokens}: give 0 to max_tokens ({self.max_tokens})",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingConfig:
    """How sequences are masked (FORMAT.md §6).

    ``mask_ratio`` 0.15 (paper §3.1), ``geometric_p`` 0.2 and ``max_words`` 10 (§3.1: mean length 3.8), replacement per span (§3.1).
    ``sampler``, ``replacement_unit`` and ``random_ids`` left at None take the scheme's own default.
    """

    seed: int
    scheme: Scheme = Scheme.SPAN
    sampler: Sampler | None = None
    mask_ratio: float = 0.15
    geometric_p: float = 0.2
    max_words: int = 10
    replacement_unit: ReplacementUnit | None = None
    random_ids: RandomIds | None = None
    mask_epoch: int = 0

    def __post_init__(self) -> None:
        self._resolve()
        _require(0 <= self.seed < SEED_LIMIT, f"seed is {self.seed}: give a whole number from 0 to 2^64 - 1")
        _require(
            0 <= self.mask_epoch < MASK_EPOCH_LIMIT,
            f"mask_epoch is {self.mask_epoch}: give 0 to {MASK_EPOCH_LIMIT - 1}",
        )
        _require(
            0 < self.mask_ratio < 1,
            f"mask_ratio is {self.mask_ratio}: give a share of the tokens above 0 and below 1, such as 0.15",
        )
        _require(
            0 < self.geometric_p < 1,
            f"geometric_p is {self.geometric_p}: give a probability above 0 and below 1, such as 0.2",
        )
        for name in ("mask_ratio", "geometric_p"):
            value = getattr(self, name)
            fine = Fraction(repr(value)).denominator <= _FINEST
            _require(fine, f"{name} is {value}: give at most nine decimals")
        _require(1 <= self.max_words <= 1000, f"max_words is {self.max_words}: give 1 to 1000")

    def _resolve(self) -> None:
        """Fill in the scheme's defaults, and refuse pairs that mean nothing."""
        spans = self.scheme is Scheme.SPAN
        if spans and self.sampler is None:
            object.__setattr__(self, "sampler", Sampler.PAPER)
        _require(
            spans or self.sampler is None,
            f"sampler {self.sampler} goes with scheme span only, not with {self.scheme}: leave it out",
        )
        units = _REPLACEMENT_UNITS[self.scheme]
        if self.replacement_unit is None:
            object.__setattr__(self, "replacement_unit", units[0])
        _require(
            self.replacement_unit in units,
            f"replacement_unit {self.replacement_unit} does not go with scheme {self.scheme}: "
            f"it takes {' or '.join(units)}",
        )
        if self.random_ids is None:
            unigram = self.sampler is Sampler.REFERENCE
            object.__setattr__(self, "random_ids", RandomIds.UNIGRAM if unigram else RandomIds.UNIFORM)

    @property
    def mask_fraction(self) -> Fraction:
        """The mask ratio as the exact rational its decimal digits write."""
        return Fraction(repr(self.mask_ratio))

    @property
    def geometric_fraction(self) -> Fraction:
        """The geometric parameter as the exact rational its decimal digits write."""
        return Fraction(repr(self.geometric_p))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig:
    """How rows become shards: the share of documents held out for validation, and decompressed input bytes a shard."""

    holdout: float = 0.0
    shard_bytes: int = 32 << 20

    def __post_init__(self) -> None:
        _require(0 <= self.holdout < 1, f"holdout is {self.holdout}: give a share of documents from 0 to below 1")
        _require(
            1 << 10 <= self.shard_bytes <= 1 << 30,
            f"shard_bytes is {self.shard_bytes}: give 1KiB to 1GiB of decompressed input a shard",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreshardConfig:
    """Everything that decides the bytes of a dataset, but for its inputs."""

    masking: MaskingConfig
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        annotated = self.masking.scheme is Scheme.ANNOTATED
        _require(
            annotated == (self.corpus.spans_field is not None),
            "scheme annotated and a spans_field go together: give both or neither",
        )

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Build a configuration from flat options, each going to the section that owns it.

        Raises
        ------
        ConfigError
            An unknown name (the nearest known one is told), a wrong type, or a value out of range.
        """
        owners = option_owners()
        sections: dict[str, dict[str, Any]] = {name: {} for name in set(owners.values())}
        for name, value in options.items():
            if name not in owners:
                raise ConfigError(unknown_option(name, owners))
            sections[owners[name]][name] = value
        _require(
            "seed" in sections["masking"],
            "seed is missing: masks are a function of it, so it has no default; give --seed N",
        )
        hints = typing.get_type_hints(cls)
        return cls(**{name: _section(hints[name], values) for name, values in sections.items()})

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the resolved configuration by section, as plain JSON values; of a vocabulary's path, the base name."""
        plain: dict[str, dict[str, Any]] = json.loads(json.dumps(dataclasses.asdict(self)))
        plain["vocabulary"]["vocab"] = Path(self.vocabulary.vocab).name
        return plain

    @classmethod
    def from_json(cls, sections: dict[str, dict[str, Any]]) -> Self:
        """Build the configuration that `to_json` wrote."""
        flat = {name: value for section in sections.values() for name, value in section.items()}
        return cls.of(**flat)


def unknown_option(name: str, known: Collection[str]) -> str:
    """Return what is said of a name that no option has: the nearest known one, or all."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
    return f"unknown option {name!r}{hint}"


def option_owners() -> dict[str, str]:
    """Return the section that owns each flat option, by the option's name."""
    return {
        option.name: section.name
        for section in dataclasses.fields(PreshardConfig)
        for option in dataclasses.fields(typing.get_type_hints(PreshardConfig)[section.name])
    }


def _section(kind: type[Any], values: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(**{name: convert_option(name, hints[name], value) for name, value in values.items()})


def convert_option(name: str, hint: Any, value: Any) -> Any:
    """Turn a plain value into an option's type.

    Raises
    ------
    ConfigError
        It is of another type, or none of the choices.
    """
    choices = [kind for kind in (typing.get_args(hint) or (hint,)) if kind is not Ellipsis]
    if value is None and type(None) in choices:
        return None
    kind = choices[0]
    if typing.get_origin(hint) is tuple:
        return _strings(name, value)
    if issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError:
            raise ConfigError(f"{name} is {value!r}: give one of {', '.join(kind)}") from None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} is {value!r}: give a value of type {kind.__name__}")
    return value


def _strings(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{name} is {value!r}: give a list of field names")
    return tuple(value)


def read_toml(path: str | Path, known: Collection[str] | None = None) -> dict[str, Any]:
    """Read flat options from a TOML file. known: their names; by default those of `PreshardConfig`.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or holds a name that no option has.
    """
    try:
        options = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error})") from None
    names = option_owners() if known is None else known
    for name in options:
        if name not in names:
            raise ConfigError(f"{path}: {unknown_option(name, names)}")
    return options


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no white space, UTF-8, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
