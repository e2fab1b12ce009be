"""What decides how documents are cut, which spans are looked at, and which of their entities are learnt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from spanmask.options import Form, Options

#: [CLS] and [SEP].
SPECIAL_TOKENS = 2
_LONGEST = 1 << 14
#: Width of hidden layers.
_FFNN = 1024
_FOLD = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})")


class Singletons(StrEnum):
    """Whether entities of one mention are learnt and told: where the training files have enough, always, or never."""

    AUTO = "auto"
    LEARN = "learn"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorefConfig(Options):
    """Segments, spans and entities of coreference, in the sizes of SpanBERT-base (Joshi et al. 2020, appendix B, and their released code).

    Attributes
    ----------
    segment
        Longest segment of a document: its pieces and two special tokens. Each is encoded by itself.
    max_segments
        Segments of a document that an update sees at most, neighbours, drawn anew each time; a document is seen as often in an epoch as
        it has that many. 0: all.
    max_span
        Pieces of a mention at most.
    top_spans
        Spans that are kept as likely mentions, for each piece of a document.
    ffnn
        Width of the head's hidden layers; 0: none. [1024; 0 with --frozen]
    head_dropout
        Share of values set to 0 behind these.
    singletons
        Whether entities of one mention are learnt and told: auto, where they are 1 % of the training files' or more.
    fold
        K/N: of files given both to train on and to evaluate, documents of fold K, by a hash of their names, are evaluated, others trained
        on.
    """

    segment: int = 384
    max_segments: int = 3
    max_span: int = 30
    top_spans: float = 0.4
    ffnn: int | None = None
    head_dropout: float = 0.3
    singletons: Singletons = Singletons.AUTO
    fold: Annotated[str, Form("K/N, such as 1/10", "K/N")] = ""

    #: What options of fine-tuning begin with.
    PRESET = "coref"

    def _check(self) -> None:
        least = SPECIAL_TOKENS + 1
        self._require(
            lambda value: least <= value <= _LONGEST, f"{least} to {_LONGEST} tokens, special ones included", "segment"
        )
        self._require(lambda value: 0 <= value <= _LONGEST, f"0 to {_LONGEST}", "max_segments", "ffnn")
        self._require(lambda value: 1 <= value <= 1000, "1 to 1000 pieces", "max_span")
        self._require(lambda value: 0 < value <= 10, "a number above 0, up to 10", "top_spans")
        self._require(lambda value: 0 <= value < 1, "a number from 0 to below 1", "head_dropout")
        self._require(
            lambda value: not value or _fold_of(value) is not None,
            "K/N with K from 1 to N, such as 1/10, or nothing",
            "fold",
        )

    def settled(self, *, frozen: bool = False) -> Self:
        """Return the options with a width of the head's hidden layers. frozen: whether the encoder stays as it is."""
        return self.changed(ffnn=0 if frozen else _FFNN) if self.ffnn is None else self

    @property
    def folds(self) -> tuple[int, int] | None:
        """Fold and number of folds; None where files are not divided."""
        return _fold_of(self.fold)


def _fold_of(text: str) -> tuple[int, int] | None:
    known = _FOLD.fullmatch(text)
    if known is None:
        return None
    fold, folds = map(int, known.groups())
    return (fold, folds) if fold <= folds else None
