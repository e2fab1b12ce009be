"""Questions on passages as files have them, whichever layout: Q questions on P passages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.blocks import offsets_of
from spanmask.records import Offsets


class Layout(StrEnum):
    """What a file's questions are, and so by which rules they are scored."""

    SQUAD = "squad"
    SQUAD2 = "squad2"
    MRQA = "mrqa"


class Fault(StrEnum):
    """What is wrong with a question that is left out."""

    FIELD = "field"
    ID_TWICE = "id_twice"
    EMPTY_PASSAGE = "empty_passage"
    NO_ANSWER = "no_answer"
    BLANK_ANSWER = "blank_answer"
    OUTSIDE = "answer_outside_its_passage"
    ELSEWHERE = "answer_not_at_its_offset"
    ANSWERED_IMPOSSIBLE = "answered_though_impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The questions of a file, in its order.

    passages: (P,) large_string. texts: (Q,) large_string, the questions. ids: Q. passage_of: (Q,) int64, ascending.
    spans: (Q, 2) int64, the answer to learn, Unicode code points [start, end) of its passage; (-1, -1) where the passage has none.
    answers: Q times the texts that count as right, none where there is no answer.
    left_out: how many questions were left out, or passages that broke before their questions were known, by fault.
    """

    layout: Layout
    passages: pa.Array
    texts: pa.Array
    ids: tuple[str, ...]
    passage_of: npt.NDArray[np.int64]
    spans: Offsets
    answers: tuple[tuple[str, ...], ...]
    left_out: dict[Fault, int]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: Offsets) -> Questions:
        """Return some questions, (n,) by their ascending numbers, with the passages they are on; nothing is left out of these."""
        passages, passage_of = np.unique(self.passage_of[which], return_inverse=True)
        chosen = which.tolist()
        return Questions(
            layout=self.layout,
            passages=self.passages.take(pa.array(passages)),
            texts=self.texts.take(pa.array(which)),
            ids=tuple(self.ids[number] for number in chosen),
            passage_of=passage_of.astype(np.int64),
            spans=self.spans[which],
            answers=tuple(self.answers[number] for number in chosen),
            left_out={},
        )


def joined(parts: Sequence[Questions]) -> Questions:
    """Return the questions of several files, one or more, as one: SQuAD 2.0's where one file is; ids get the file's number in front."""
    bases = offsets_of([len(part.passages) for part in parts])
    layouts = {part.layout for part in parts}
    return Questions(
        layout=layouts.pop() if len(layouts) == 1 else max(layouts - {Layout.MRQA}),
        passages=pa.concat_arrays([part.passages for part in parts]),
        texts=pa.concat_arrays([part.texts for part in parts]),
        ids=tuple(f"{number}:{name}" for number, part in enumerate(parts) for name in part.ids),
        passage_of=np.concatenate([part.passage_of + base for part, base in zip(parts, bases[:-1], strict=True)]),
        spans=np.concatenate([part.spans for part in parts]),
        answers=tuple(answers for part in parts for answers in part.answers),
        left_out=dict(sum((Counter(part.left_out) for part in parts), Counter[Fault]())),
    )
