"""What decides how questions become windows, and logits answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spanmask.options import Options

#: [CLS], [SEP] and [SEP].
SPECIAL_TOKENS = 3
_LONGEST = 1 << 14


class Stride(StrEnum):
    """What a stride counts: the tokens from a window's start to the next one's, or those that two neighbours share."""

    STEP = "step"
    OVERLAP = "overlap"


@dataclass(frozen=True, slots=True, kw_only=True)
class QaConfig(Options):
    """Windows and answers of extractive question answering, as the released code of the paper has them (run_squad.py).

    Attributes
    ----------
    window
        Longest window: question, passage and special tokens.
    stride
        Tokens of a passage between neighbouring windows.
    stride_is
        What the stride counts: step, from one window's start to the next (BERT's doc_stride), or overlap, what both hold (transformers').
    max_question
        Tokens of a question that are kept.
    n_best
        Answers kept of each question, and starts and ends of each window that are paired.
    max_answer
        Tokens of an answer at most.
    """

    window: int = 384
    stride: int = 128
    stride_is: Stride = Stride.STEP
    max_question: int = 64
    n_best: int = 20
    max_answer: int = 30

    def _check(self) -> None:
        least = 1 if self.stride_is is Stride.STEP else 0
        self._require(lambda value: 1 <= value <= _LONGEST, f"1 to {_LONGEST} tokens", "max_question", "max_answer")
        self._require(lambda value: 1 <= value <= 1000, "1 to 1000 answers", "n_best")
        self._require(lambda value: least <= value <= _LONGEST, f"{least} to {_LONGEST} tokens", "stride")
        # Else a passage would have no room beside the longest question, or windows that share all they hold would never end.
        shortest = self.max_question + SPECIAL_TOKENS + (0 if self.stride_is is Stride.STEP else self.stride) + 1
        self._require(
            lambda value: shortest <= value <= _LONGEST,
            f"{shortest} to {_LONGEST} tokens, so that a passage goes on behind the longest question",
            "window",
        )
