"""What decides which documents overlap with evaluation files, beside both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from spanmask.config import CorpusConfig
from spanmask.options import Form, Options

#: Words of an n-gram at most: fewer than any text of use has.
_MOST_WORDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapConfig(Options):
    """When a document is found. n = 13 is Brown et al. 2020's, appendix C (https://arxiv.org/abs/2005.14165).

    Attributes
    ----------
    n
        Words that stand together.
    least
        Shared n-grams from which on a document is found, for each evaluation file.
    eval_field
        Of JSON, Parquet, TSV and CSV to evaluate on, only this field, at any depth; may be repeated. [all that is text]
    """

    n: int = 13
    least: int = 1
    eval_field: Annotated[tuple[str, ...], Form("a list of field names", "NAME")] = ()
    corpus: CorpusConfig = field(default_factory=CorpusConfig)

    def _check(self) -> None:
        self._require(lambda value: 1 <= value <= _MOST_WORDS, f"a number of words from 1 to {_MOST_WORDS:,}", "n")
        self._require(lambda value: value >= 1, "a number of n-grams from 1", "least")
