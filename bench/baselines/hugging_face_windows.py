"""What one would otherwise cut windows with: transformers' fast tokenizer, and labels as its example of question answering makes them.

Favourable to the peer: windows are not padded, texts are lists of str in memory, and nothing is written, where the example pads and keeps
all columns in Arrow files. Batches are those of its ``datasets.map``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import peers

#: What of the ``bench`` extra this needs, and examples of a call.
PACKAGE = "transformers"
BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Q questions with their passages and answers, (start, end) in code points each; a passage stands once a question."""

    questions: Sequence[str]
    passages: Sequence[str]
    answers: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Windows of a batch of questions, as the tokenizer has them: ids, types, places in code points, number of the question in the batch.

    labels: first and last token of the answer in each, 0 and 0 where it is not whole in it.
    """

    encoded: Any
    labels: list[tuple[int, int]]


class FastWindows:
    """Cuts windows with BERT's fast tokenizer.

    Parameters
    ----------
    vocabulary
        Entries with their ids.
    cased
        Whether text keeps its case.
    window, overlap
        Tokens of a window at most, and those that two neighbours share.
    """

    def __init__(self, vocabulary: dict[str, int], *, cased: bool, window: int, overlap: int) -> None:
        library = peers.load(PACKAGE)
        self._tokenizer = library.BertTokenizerFast(vocab=vocabulary, do_lower_case=not cased)
        self._options = {"max_length": window, "stride": overlap, "truncation": "only_second"}

    def cut(self, asked: Asked) -> list[Labelled]:
        """Return the windows of all questions."""
        return [self._batch(asked, start) for start in range(0, len(asked.questions), BATCH)]

    def _batch(self, asked: Asked, start: int) -> Labelled:
        part = slice(start, start + BATCH)
        encoded = self._tokenizer(
            asked.questions[part],
            asked.passages[part],
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            **self._options,
        )
        owners = encoded["overflow_to_sample_mapping"]
        labels = [
            _label(places, encoded.sequence_ids(window), asked.answers[start + owners[window]])
            for window, places in enumerate(encoded["offset_mapping"])
        ]
        return Labelled(encoded=encoded, labels=labels)


def _label(places: Sequence[tuple[int, int]], owners: Sequence[int | None], answer: tuple[int, int]) -> tuple[int, int]:
    """Return the first and last token of an answer in a window. owners: 1 for the passage's tokens."""
    start, end = answer
    first, last = 0, len(places) - 1
    while owners[first] != 1:
        first += 1
        if first == len(owners):
            return 0, 0
    while owners[last] != 1:
        last -= 1
    if start < 0 or places[first][0] > start or places[last][1] < end:
        return 0, 0
    while first < len(places) and places[first][0] <= start and owners[first] == 1:
        first += 1
    while places[last][1] >= end and owners[last] == 1:
        last -= 1
    return first - 1, last + 1
