"""What decides how sentences become windows, and what their tags mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spanmask.options import Options

#: [CLS] and [SEP].
SPECIAL_TOKENS = 2
_LONGEST = 1 << 14


class TagScheme(StrEnum):
    """How tags say where spans begin and end.

    iob1: I throughout, B where a span follows one of its type at once. iob2: B at each beginning, I behind it. iobes: E at an end, too,
    and S at spans of one word. auto: that of them from which a file's tags differ least.
    """

    AUTO = "auto"
    IOB1 = "iob1"
    IOB2 = "iob2"
    IOBES = "iobes"


@dataclass(frozen=True, slots=True, kw_only=True)
class NerConfig(Options):
    """Windows and tags of named entities.

    Attributes
    ----------
    window
        Longest window: a sentence's pieces and the two special tokens. Of a longer sentence each word is predicted in one of several.
    tags
        What files mean by their tags: IOB1, IOB2 or IOBES; auto: told apart file by file. Models learn IOB2.
    """

    window: int = 128
    tags: TagScheme = TagScheme.AUTO

    def _check(self) -> None:
        shortest = SPECIAL_TOKENS + 2
        self._require(
            lambda value: shortest <= value <= _LONGEST,
            f"{shortest} to {_LONGEST} tokens, two of them special",
            "window",
        )
