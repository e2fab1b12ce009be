"""What decides how a user's files become labelled examples."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spanmask.options import Options

_LONGEST = 1 << 14


class Target(StrEnum):
    """What is told of a text."""

    LABELS = "labels"
    NUMBERS = "numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyConfig(Options):
    """Labelled texts, or pairs of texts.

    Attributes
    ----------
    text_field
        The column or field of texts. [text, or else sentence]
    second_field
        That of second texts, where they are pairs. [text_b, where there is one]
    label_field
        That of labels.
    target
        What is told of a text: one of the labels of the training files, or a number.
    max_tokens
        Tokens of a text or pair with its special ones; of a pair that has more, the longer one is cut first.
    examples
        Training rows at most, those that choose among them: the ones of the lowest hashes. [all]
    """

    text_field: str | None = None
    second_field: str | None = None
    label_field: str = "label"
    target: Target = Target.LABELS
    max_tokens: int = 128
    examples: int | None = None

    def _check(self) -> None:
        self._require(lambda value: value.strip() != "", "a name", "text_field", "second_field", "label_field")
        self._require(lambda value: 5 <= value <= _LONGEST, f"5 to {_LONGEST} tokens", "max_tokens")
        self._require(lambda value: value >= 2, "2 or more rows", "examples")
