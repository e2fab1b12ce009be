"""Questions in, windows out: each a question and as much of its passage as fits, in steps through the passage.

``[CLS] question [SEP] part of the passage [SEP]``, as run_squad.py of the paper's released code has them. A stride of 128 there, as in
BERT's run_squad.py, is the *step* from one window's start to the next; what transformers' tokenizers call ``stride`` is the *overlap*, the
tokens that two neighbours share: in windows of 384 with a question of 11 pieces, a step of 128 is an overlap of 242. Both can be asked for
(`QaConfig.stride_is`); with ``overlap`` windows equal those of a fast tokenizer (``return_overflowing_tokens``, ``only_second``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from spanmask.blocks import count_up, offsets_of, read_only
from spanmask.corpus.strings import plain_bytes, plain_offsets
from spanmask.kernels import passages as kernels
from spanmask.probes.examples import Examples
from spanmask.probes.qa.config import SPECIAL_TOKENS, QaConfig, Stride
from spanmask.probes.qa.questions import Questions
from spanmask.records import Flags, Offsets, Ragged, TokenizedBlock
from spanmask.tokenization import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """N windows of Q questions, those of a question together and in the order of its passage.

    examples: the windows as a model reads them; groups are numbers of questions, targets ``starts`` and ``ends``, (N,) int32 positions of
    the answer's first and last token, 0 and 0 where the window does not hold it whole. passages: (N,) whose passage it is.
    firsts: (N,) the first token of the passage in the window. widest: (T,) whether of all windows of its question this has the most
    context of the passage token, false of others. token_bytes: of the P passages, bytes [start, end) of each token, (…, 2) int64.
    """

    examples: Examples
    passages: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    widest: Flags
    token_bytes: Ragged[Offsets]

    def __len__(self) -> int:
        return len(self.examples)

    def byte_ranges(self) -> npt.NDArray[np.int32]:
        """Return (T, 2) int32, the bytes [start, end) of its passage that each token of a window stands for, 0 and 0 outside of it."""
        offsets = self.examples.input_ids.offsets
        ranges = np.empty((int(offsets[-1]), 2), np.int32)
        sources = self.token_bytes.offsets[self.passages] + self.firsts
        kernels.place_tokens(offsets, self.examples.second_starts, sources, self.token_bytes.values, ranges)
        return ranges


def cut_windows(questions: Questions, tokenizer: Tokenizer, config: QaConfig) -> Windows:
    """Cut the passages of questions into windows; each passage is tokenized once.

    A passage without a token, such as one of control characters, has one window without any, so that each question has a window.

    Parameters
    ----------
    questions
        Q questions.
    tokenizer
        That of the model.
    config
        Widths and strides.

    Raises
    ------
    ConfigError
        The tokenizer lacks the special tokens that windows begin and end with.
    """
    asked = tokenizer.encode(questions.texts)
    held = tokenizer.encode(questions.passages, offsets=True)
    cut = _cut(questions, asked.document_offsets, held.document_offsets, config)
    offsets = offsets_of(cut.asked + cut.sizes + SPECIAL_TOKENS)
    count = len(cut.questions)
    filled = kernels.Filled(
        offsets=offsets,
        ids=np.empty(offsets[-1], held.token_ids.dtype),
        second_starts=np.empty(count, np.int32),
        starts=np.empty(count, np.int32),
        ends=np.empty(count, np.int32),
        widest=np.zeros(offsets[-1], np.bool_),
    )
    special = tokenizer.vocabulary.special
    kernels.fill_windows(
        kernels.Tokens(asked.token_ids, asked.document_offsets),
        kernels.Tokens(held.token_ids, held.document_offsets),
        cut,
        _answers(questions, held),
        np.array([special.cls, special.sep], np.int64),
        filled,
    )
    return Windows(
        examples=Examples(
            input_ids=Ragged(offsets=offsets, values=filled.ids),
            second_starts=filled.second_starts,
            groups=cut.questions,
            targets={"starts": filled.starts, "ends": filled.ends},
        ),
        passages=cut.passages,
        firsts=cut.firsts,
        widest=filled.widest,
        token_bytes=Ragged(offsets=held.document_offsets, values=_byte_ranges(held)),
    )


def _cut(questions: Questions, asked: Offsets, held: Offsets, config: QaConfig) -> kernels.Cut:
    """Say which windows there are. asked: (Q + 1,), held: (P + 1,) offsets of their tokens."""
    kept = np.minimum(np.diff(asked), config.max_question)
    sizes = np.diff(held)[questions.passage_of]
    room = config.window - SPECIAL_TOKENS - kept
    step = np.minimum(config.stride, room) if config.stride_is is Stride.STEP else room - config.stride
    counts = 1 + np.maximum(sizes - room + step - 1, 0) // step
    owners = np.repeat(np.arange(len(questions)), counts)
    firsts = count_up(counts) * step[owners]
    return kernels.Cut(
        questions=owners,
        passages=questions.passage_of[owners],
        firsts=firsts,
        sizes=np.minimum(sizes[owners] - firsts, room[owners]),
        asked=kept[owners],
    )


def _answers(questions: Questions, held: TokenizedBlock) -> Offsets:
    """Return (Q, 2) the first and last token of each answer, -1 where there is none."""
    found = np.empty((len(questions), 2), np.int64)
    text = plain_bytes(questions.passages)
    offsets = read_only(plain_offsets(questions.passages))
    kernels.find_answers(
        text, offsets, questions.passage_of, questions.spans, _byte_ranges(held), held.document_offsets, found
    )
    return found


def _byte_ranges(tokens: TokenizedBlock) -> Offsets:
    return cast("Offsets", tokens.byte_offsets)
