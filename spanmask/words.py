"""Segments in, segments with their words out: the rule of FORMAT.md §6.7, for tokens that have not been masked yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spanmask.kernels import words as kernels
from spanmask.pieces import character_classes
from spanmask.records import Flags, Offsets, Ranges, SequenceBlock
from spanmask.vocab import Vocabulary

#: The lines of the rule as they are counted, in the order of the kernels' numbers, and words that it leaves as they were supplied.
LINES = ("base_words", "white_space", "combining_marks", "scripts_without_spaces", "long_words")
SUPPLIED = "supplied_words"


def settle_words(block: SequenceBlock, vocabulary: Vocabulary, supplied: Flags | None = None) -> SequenceBlock:
    """Bring the words of segments under the rule, and grow annotated ranges to the words they touch.

    Parameters
    ----------
    block
        S segments with base words: those of the tokenizer, or, of some documents, supplied ones.
    vocabulary
        The one they were tokenized with.
    supplied
        (D,) the documents whose words were supplied: the rule leaves these as they are. None: none.
    """
    acted = np.zeros(kernels.LINES, np.int64)
    given = np.zeros(len(block), np.bool_) if supplied is None else supplied[block.document_index]
    starts, ends, flags = block.starts[~given], block.ends[~given], block.word_starts.copy()
    if vocabulary.tells_words:
        kernels.settle_by_entry(
            block.token_ids, starts, ends, vocabulary.word_lines, vocabulary.longest_word, flags, acted
        )
    else:
        spelling, plain = (
            kernels.Spelling(*vocabulary.spelled, character_classes()),
            np.empty(len(vocabulary), np.bool_),
        )
        kernels.find_plain(spelling, plain)
        kernels.settle_by_spelling(
            block.token_ids, starts, ends, spelling, plain, vocabulary.longest_word, block.word_starts, flags, acted
        )
    kept = sum(
        1 + np.count_nonzero(flags[start + 1 : end])
        for start, end in zip(block.starts[given], block.ends[given], strict=True)
    )
    ranges = block.annotations
    return replace(
        block,
        word_starts=flags,
        annotations=None if ranges is None else _grown(ranges, block, flags),
        word_rule={SUPPLIED: int(kept), **dict(zip(LINES, acted.tolist(), strict=True))},
    )


def start_words(block: SequenceBlock, vocabulary: Vocabulary) -> SequenceBlock:
    """Do what `settle_words` does, by the vocabulary's ``word_start_table``, to segments that tell no words; count nothing.

    The block's ``word_starts`` are written in place.
    """
    kernels.start_words(
        block.token_ids,
        block.starts,
        block.ends,
        vocabulary.word_start_table,
        vocabulary.longest_word,
        block.word_starts,
    )
    ranges = block.annotations
    return block if ranges is None else replace(block, annotations=_grown(ranges, block, block.word_starts))


def _grown(ranges: Ranges[Offsets], block: SequenceBlock, flags: Flags) -> Ranges[Offsets]:
    starts, ends, offsets = ranges.starts.copy(), ranges.ends.copy(), np.zeros(len(block) + 1, np.int64)
    kernels.grow_to_words(block.starts, block.ends, flags, ranges.offsets, starts, ends, offsets)
    return Ranges(offsets=offsets, starts=starts[: offsets[-1]], ends=ends[: offsets[-1]])
