"""What decides how a sentence with two entities becomes an example."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spanmask.options import Options

#: [CLS] and [SEP].
SPECIAL_TOKENS = 2
#: Of a window at least: both specials, four markers, and as many tokens between them.
_SHORTEST, _LONGEST = 10, 1 << 14


class Entities(StrEnum):
    """What a model sees of the two entities: their types in their place, or themselves between markers.

    ``auto`` is types where all training files are of TACRED's layout, which always has some, and markers elsewhere.
    """

    AUTO = "auto"
    TYPES = "types"
    MARKERS = "markers"


class Marks(StrEnum):
    """What types and markers are written with: unused entries of the vocabulary, one each, or words and punctuation that it knows."""

    UNUSED = "unused"
    WORDS = "words"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationConfig(Options):
    """Examples of relations between two entities of a sentence (paper, §4.2, and run_tacred.py of its released code).

    Attributes
    ----------
    entities
        What is seen of the two: their types in their place, as in the paper, or themselves between markers. auto: types of TACRED's files.
    marks
        What types and markers are written with: an unused entry of the vocabulary each, or, where it has none, words and punctuation.
    window
        Longest example: sentence, markers and special tokens.
    """

    entities: Entities = Entities.AUTO
    marks: Marks = Marks.UNUSED
    window: int = 128

    def _check(self) -> None:
        self._require(lambda value: _SHORTEST <= value <= _LONGEST, f"{_SHORTEST} to {_LONGEST} tokens", "window")
