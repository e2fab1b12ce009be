"""The best answers of questions from the logits of their windows: starts and ends paired, sorted, and each text once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Flags, Ints, copy, inlined, kernel

Logits = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]


class Read(NamedTuple):
    """N windows, those of a question together. offsets: (N + 1,) in tokens; questions, passages: (N,) whose, and of which passage.

    widest: (T,) whether a token may be a start. places: (T, 2) bytes [start, end) of the passage, 0 and 0 of other tokens.
    """

    offsets: Ints
    questions: Ints
    widest: Flags
    places: npt.NDArray[np.int32]
    passages: Ints


class Best(NamedTuple):
    """What is written of Q questions, at most n answers each. counts: (Q,); places: (Q, n, 2) bytes; logits: (Q, n, 2) start and end.

    scores: (Q, n) their sums. nulls: (Q, 2) start and end logit at ``[CLS]``, of the window in which their sum is least.
    """

    counts: Ints
    places: npt.NDArray[np.int64]
    logits: Logits
    scores: Scores
    nulls: Logits


@inlined
def _find_largest(logits: Logits, column: int, first: int, stop: int, places: Ints) -> int:
    """Find the places of the largest logits of a window, descending, ties in order; return how many there are."""
    count = 0
    for at in range(first, stop):
        value = logits[at, column]
        if count == len(places) and value <= logits[places[count - 1], column]:
            continue
        slot = min(count, len(places) - 1)
        while slot > 0 and value > logits[places[slot - 1], column]:
            places[slot] = places[slot - 1]
            slot -= 1
        places[slot] = at
        count = min(count + 1, len(places))
    return count


@inlined
def _is_same(text: Bytes, one: int, other: int, size: int) -> bool:
    for i in range(size):
        if text[one + i] != text[other + i]:
            return False
    return True


@inlined
def _find_text(text: Bytes, base: int, start: int, end: int, places: npt.NDArray[np.int64], count: int) -> int:
    """Return which answer has the text of these bytes of the passage, or ``count``."""
    for k in range(count):
        if places[k, 1] - places[k, 0] == end - start and _is_same(
            text, base + places[k, 0], base + start, end - start
        ):
            return k
    return count


@inlined
def _keep(question: int, base: int, start: int, end: int, pair: tuple[float, float], text: Bytes, out: Best) -> None:
    """Put an answer among the best of its question; of one text the best stays, and of two alike the one that came first."""
    most = out.scores.shape[1]
    count = out.counts[question]
    score = pair[0] + pair[1]
    if count == most and score <= out.scores[question, count - 1]:
        return
    places, scores, logits = out.places[question], out.scores[question], out.logits[question]
    # What follows moves down to where the same text was, or the last one was, which goes.
    slot = _find_text(text, base, start, end, places, count)
    if slot < count:
        if score <= scores[slot]:
            return
    else:
        slot = min(count, most - 1)
        out.counts[question] = min(count + 1, most)
    while slot > 0 and score > scores[slot - 1]:
        copy(places[slot - 1], places[slot])
        copy(logits[slot - 1], logits[slot])
        scores[slot] = scores[slot - 1]
        slot -= 1
    places[slot, 0], places[slot, 1] = start, end
    logits[slot, 0], logits[slot, 1] = pair[0], pair[1]
    scores[slot] = score


@kernel
def find_best(
    text: Bytes, text_offsets: Ints, windows: Read, logits: Logits, longest: int, starts: Ints, ends: Ints, out: Best
) -> None:
    """Find the best answers of questions.

    Parameters
    ----------
    text, text_offsets
        (C,) the passages in UTF-8, (P + 1,).
    windows, logits
        N windows, and (T, 2) a start and an end logit of each of their tokens.
    longest
        Tokens of an answer at most.
    starts, ends
        (n,) each, written over: how many starts and ends of a window are paired.
    out
        Output; ``counts`` 0 everywhere. Oracle: ``best_answers``.
    """
    previous = -1
    for window in range(len(windows.questions)):
        first, stop = windows.offsets[window], windows.offsets[window + 1]
        question = windows.questions[window]
        base = text_offsets[windows.passages[window]]
        null = np.float64(logits[first, 0]) + np.float64(logits[first, 1])
        if question != previous or null < np.float64(out.nulls[question, 0]) + np.float64(out.nulls[question, 1]):
            out.nulls[question, 0], out.nulls[question, 1] = logits[first, 0], logits[first, 1]
        previous = question
        begins = _find_largest(logits, 0, first, stop, starts)
        finishes = _find_largest(logits, 1, first, stop, ends)
        for i in range(begins):
            start = starts[i]
            if not windows.widest[start]:
                continue
            for j in range(finishes):
                end = ends[j]
                if start <= end < start + longest:
                    begin, finish = windows.places[start, 0], windows.places[end, 1]
                    # What is outside of the passage, as the last [SEP] is, stands for no bytes.
                    if begin < finish:
                        pair = (np.float64(logits[start, 0]), np.float64(logits[end, 1]))
                        _keep(question, base, begin, finish, pair, text, out)
