"""An answer beside the accepted ones, as the SQuAD programs compare them: exact match, and F1 over words in any order.

Both official programs (the URLs are in `squad` and `squad2`) normalize in this order: lower case, ASCII punctuation out, articles out,
white space to single spaces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from string import punctuation

_WITHOUT_PUNCTUATION = str.maketrans("", "", punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalized(text: str) -> str:
    """Return an answer's words in lower case, without ASCII punctuation and English articles, with one space between."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def best(prediction: str, accepted: Collection[str], *, nothing: float) -> tuple[int, float]:
    """Return exact match (0 or 1) and F1, each the best over the accepted answers, which are normalized.

    nothing: the F1 of a prediction and an answer that are both empty once normalized.
    """
    words = normalized(prediction)
    if words in accepted:
        return 1, 1.0 if words else nothing
    return 0, max(_f1(words.split(), answer.split()) for answer in accepted)


def _f1(predicted: list[str], accepted: list[str]) -> float:
    same = (Counter(predicted) & Counter(accepted)).total()
    if not same:
        return 0.0
    precision, recall = same / len(predicted), same / len(accepted)
    return 2 * precision * recall / (precision + recall)
