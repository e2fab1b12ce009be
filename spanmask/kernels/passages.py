"""Windows of passages behind their questions, and answers in them.

Texts are UTF-8 and tokens flat; text or passage i is ``[offsets[i], offsets[i + 1])`` of either.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Flags, Ints, copy, inlined, kernel

Places = npt.NDArray[np.int32]


class Tokens(NamedTuple):
    """Tokens of texts. ids: (T,); offsets: (n + 1,)."""

    ids: Any
    offsets: Ints


class Cut(NamedTuple):
    """N windows, those of a question together and ascending. questions, passages: (N,); firsts: (N,) the first token of the passage in it.

    sizes: (N,) tokens of the passage in it. asked: (N,) tokens of the question in it.
    """

    questions: Ints
    passages: Ints
    firsts: Ints
    sizes: Ints
    asked: Ints


class Filled(NamedTuple):
    """What is written of N windows. offsets: (N + 1,), input; ids: (T,); second_starts, starts, ends: (N,); widest: (T,)."""

    offsets: Ints
    ids: Any
    second_starts: Places
    starts: Places
    ends: Places
    widest: Flags


@inlined
def _byte_of(text: Bytes, at: int, characters: int) -> int:
    """Return the byte that lies some characters behind one at which a character starts."""
    while characters > 0 and at < len(text):
        at += 1
        while at < len(text) and text[at] & 0xC0 == 0x80:
            at += 1
        characters -= 1
    return at


@kernel
def find_answers(
    text: Bytes, offsets: Ints, passages: Ints, spans: Ints, places: Ints, token_offsets: Ints, found: Ints
) -> None:
    """Find the tokens of answers: from the first that ends behind an answer's start to the last that starts before its end.

    Parameters
    ----------
    text, offsets
        (C,) the passages, (P + 1,).
    passages, spans
        (Q,) the passage of each question; (Q, 2) its answer in code points [start, end), negative where it has none.
    places, token_offsets
        (T, 2) the bytes [start, end) of its passage that each token stands for; (P + 1,).
    found
        Output, (Q, 2): first and last token in the passage, -1 where there is no answer or no token in it. Oracle: ``answer_tokens``.
    """
    for question in range(len(passages)):
        found[question, 0] = found[question, 1] = -1
        if spans[question, 0] < 0:
            continue
        passage = passages[question]
        base = offsets[passage]
        within = text[base : offsets[passage + 1]]
        start = _byte_of(within, 0, spans[question, 0])
        end = _byte_of(within, start, spans[question, 1] - spans[question, 0])
        token, stop = token_offsets[passage], token_offsets[passage + 1]
        while token < stop and places[token, 1] <= start:
            token += 1
        first = token
        while token < stop and places[token, 0] < end:
            token += 1
        if token > first:
            found[question, 0] = first - token_offsets[passage]
            found[question, 1] = token - 1 - token_offsets[passage]


@inlined
def _is_widest(cut: Cut, first: int, stop: int, window: int, token: int) -> bool:
    """Tell whether of the windows [first, stop) of a question this one has the most of the passage on both sides of a token."""
    # The score is run_squad.py's, in its own arithmetic: ties fall as they fall there.
    best = -1.0
    owner = -1
    for other in range(first, stop):
        left = token - cut.firsts[other]
        right = cut.sizes[other] - 1 - left
        if left >= 0 and right >= 0:
            score = min(left, right) + 0.01 * cut.sizes[other]
            if score > best:
                best = score
                owner = other
    return owner == window


@kernel
def fill_windows(questions: Tokens, passages: Tokens, cut: Cut, answers: Ints, specials: Ints, out: Filled) -> None:
    """Write windows, ``[CLS] question [SEP] passage [SEP]``, where in them answers are, and which passage tokens have most context in them.

    An answer that is not whole in a window has its start and end at ``[CLS]``, 0. answers: (Q, 2) as `find_answers` found them. specials:
    (2,) ``[CLS]``, ``[SEP]``. Oracle: ``question_windows``.
    """
    first, stop = 0, 0
    for window in range(len(cut.questions)):
        question = cut.questions[window]
        if window == stop:
            first = window
            while stop < len(cut.questions) and cut.questions[stop] == question:
                stop += 1
        at, asked, size = out.offsets[window], cut.asked[window], cut.sizes[window]
        second = asked + 2
        source = passages.offsets[cut.passages[window]] + cut.firsts[window]
        begin = questions.offsets[question]
        out.ids[at] = specials[0]
        copy(questions.ids[begin : begin + asked], out.ids[at + 1 : at + 1 + asked])
        out.ids[at + second - 1] = specials[1]
        copy(passages.ids[source : source + size], out.ids[at + second : at + second + size])
        out.ids[at + second + size] = specials[1]
        out.second_starts[window] = second
        for token in range(size):
            out.widest[at + second + token] = stop - first == 1 or _is_widest(
                cut, first, stop, window, cut.firsts[window] + token
            )
        start = answers[question, 0] - cut.firsts[window]
        end = answers[question, 1] - cut.firsts[window]
        # Without an answer both are below 0.
        held = start >= 0 and end < size
        out.starts[window] = start + second if held else 0
        out.ends[window] = end + second if held else 0


@kernel
def place_tokens(offsets: Ints, second_starts: Places, sources: Ints, places: Ints, out: Places) -> None:
    """Write which bytes of the passage each token of N windows stands for.

    Parameters
    ----------
    offsets, second_starts
        (N + 1,), and (N,) where in each window the passage begins.
    sources
        (N,) the row of ``places`` with the first token of the passage in each.
    places
        Bytes [start, end) of tokens of passages, (…, 2).
    out
        Output, (T, 2): the same of tokens of windows, 0 and 0 where a token is not of the passage.
    """
    for window in range(len(sources)):
        begin = offsets[window] + second_starts[window]
        end = offsets[window + 1] - 1
        out[offsets[window] : begin] = 0
        out[end] = 0
        for at in range(begin, end):
            source = sources[window] + at - begin
            out[at, 0] = places[source, 0]
            out[at, 1] = places[source, 1]
