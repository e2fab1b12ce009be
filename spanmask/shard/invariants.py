"""The invariants of FORMAT.md §2 that look at what rows hold, as functions of a block; each returns (S,) flags of the rows that break it.

Those of structure, in `shard.structure`, hold already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spanmask.blocks import borders_of, extra_tokens, offsets_of, restore
from spanmask.config import PreshardConfig, ReplacementUnit, Sampler, Scheme
from spanmask.records import Flags, MaskedBlock, Offsets, Ragged, TokenIds
from spanmask.shard.structure import Problem, first_problem, rows_with
from spanmask.vocab import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A block with what its dataset says of it, and what follows from both."""

    block: MaskedBlock
    config: PreshardConfig
    vocabulary: Vocabulary

    @cached_property
    def lengths(self) -> Offsets:
        """(S,) tokens of each row, special ones included."""
        return self.block.input_ids.lengths

    @cached_property
    def span_owner(self) -> Offsets:
        """(N,) the row of each span."""
        return self.block.spans.owners

    @cached_property
    def restored(self) -> tuple[TokenIds, Flags]:
        """The rows with their labels put back, and whether a word starts, like input_ids."""
        return restore(self.block, self.vocabulary)

    @property
    def flags(self) -> Flags:
        """Whether a word starts, like input_ids."""
        return self.restored[1]

    @cached_property
    def masked(self) -> Offsets:
        """(S,) masked tokens of each row."""
        return self.block.labels.lengths

    @cached_property
    def budgets(self) -> Offsets:
        """(S,) the budget of each row."""
        ratio = self.config.masking.mask_fraction
        return -(-ratio.numerator * (self.lengths - 2 - extra_tokens(self.block)) // ratio.denominator)


def content_problem(rows: Rows) -> Problem | None:
    """Return the first invariant that a block of sound structure breaks (I1, I2, I9, I10, I13), if any."""
    return first_problem(
        [
            ("I1", "a row's length is outside min_tokens to max_tokens", lambda: _length_wrong(rows)),
            (
                "I2",
                "a row does not stand between [CLS] and [SEP], or no [SEP] between its segments",
                lambda: _frame_wrong(rows),
            ),
            ("I9", "a span is partly [MASK]", lambda: _mixed_spans(rows)),
            ("I10", "masked tokens do not fit the budget", lambda: _budget_wrong(rows)),
            ("I13", "a span does not cover whole words", lambda: _words_cut(rows)),
        ]
    )


def _length_wrong(rows: Rows) -> Flags:
    sequence = rows.config.sequence
    bad: Flags = (rows.lengths > sequence.max_tokens) | (rows.lengths < sequence.min_tokens)
    return bad


def _frame_wrong(rows: Rows) -> Flags:
    ids, special = rows.block.input_ids, rows.vocabulary.special
    first, last = ids.values[ids.offsets[:-1]], ids.values[ids.offsets[1:] - 1]
    bad: Flags = (first != special.cls) | (last != special.sep)
    borders = borders_of(rows.block)
    between = ids.values[ids.offsets[:-1] + np.maximum(borders, 1) - 1]
    bad |= (borders > 0) & (between != special.sep)
    return bad


def _mixed_spans(rows: Rows) -> Flags:
    if rows.config.masking.replacement_unit is not ReplacementUnit.SPAN:
        return np.zeros(len(rows.block), np.bool_)
    return rows_with(span_is_mixed(rows), rows.span_owner, len(rows.block))


def span_is_mixed(rows: Rows) -> Flags:
    """(N,) spans that are partly [MASK], their own original [MASK] tokens apart."""
    block, mask = rows.block, rows.vocabulary.special.mask
    sizes = block.spans.sizes
    hidden = Ragged(values=block.labels.values, offsets=offsets_of(sizes))
    bases = np.repeat(block.input_ids.offsets[rows.span_owner] + block.spans.starts - hidden.offsets[:-1], sizes)
    found = block.input_ids.values[bases + np.arange(hidden.offsets[-1])]
    # A [MASK] whose original is [MASK] shows nothing: the text may hold one, and keeping it looks like masking it.
    shown = np.bincount(hidden.owners[found == mask], minlength=len(sizes))
    mixed: Flags = rows_with((found == mask) & (hidden.values != mask), hidden.owners, len(sizes)) & (shown < sizes)
    return mixed


def _budget_wrong(rows: Rows) -> Flags:
    """(S,) rows that masked another number of tokens than their budget, where that is exact; else a word, or range, more than it.

    The last unit drawn may pass the budget, but not by all of its tokens: the budget was not reached before it. So the longest unit of
    the row bounds what is masked; a unit longer than the budget is never drawn. Rows short of their budget are counted, not refused.
    """
    masking = rows.config.masking
    if masking.scheme is Scheme.TOKEN or masking.sampler is Sampler.REFERENCE:
        unlike: Flags = rows.masked != rows.budgets
        return unlike
    starts = np.flatnonzero(rows.flags)
    inner = rows.block.input_ids.owners[starts]
    stops = np.append(starts[1:], len(rows.flags))
    stops = np.minimum(stops, rows.block.input_ids.offsets[inner + 1] - 1)
    longest = np.zeros(len(rows.block), np.int64)
    np.maximum.at(longest, inner, stops - starts)
    if rows.block.annotations is not None:
        ranges = rows.block.annotations
        np.maximum.at(longest, ranges.owners, ranges.sizes)
    bad: Flags = rows.masked >= rows.budgets + np.minimum(longest, rows.budgets)
    return bad


def _words_cut(rows: Rows) -> Flags:
    masking = rows.config.masking
    if masking.scheme is Scheme.TOKEN or masking.sampler is Sampler.REFERENCE:
        return np.zeros(len(rows.block), np.bool_)
    offsets, spans = rows.block.input_ids.offsets, rows.block.spans
    bases = offsets[rows.span_owner]
    flags = rows.flags.copy()
    # [SEP] stands for the word that would begin after the last one.
    flags[offsets[1:] - 1] = True
    return rows_with(~flags[bases + spans.starts] | ~flags[bases + spans.ends], rows.span_owner, len(spans))
