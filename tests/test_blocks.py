"""`Ragged`, `Ranges`, and what is done to rows: chosen, joined, cut, taken one by one and made of rows again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import strategies as shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from small import VOCABULARY, config_of

from spanmask.blocks import (
    block_of,
    columns_of,
    count_up,
    from_columns,
    join,
    keep,
    offsets_of,
    part,
    row_of,
    select,
    take,
)
from spanmask.masking import mask
from spanmask.records import MaskedBlock, Ragged, Ranges

LISTS = st.lists(st.lists(st.integers(0, 300), max_size=5), max_size=8)


def ragged_of(lists: Sequence[Sequence[int]]) -> Ragged[Any]:
    values = np.array([value for items in lists for value in items], np.int64)
    return Ragged(values=values, offsets=np.cumsum([0, *map(len, lists)]))


def lists_of(ragged: Ragged[Any]) -> list[list[int]]:
    return [ragged[number].tolist() for number in range(len(ragged))]


def rows_of(block: MaskedBlock) -> list[dict[str, Any]]:
    """Every row as plain values: all that a block says of it."""
    identities = zip(block.document_ids.tolist(), block.segments.tolist(), strict=True)
    columns = {name: lists_of(column) for name, column in columns_of(block).items()}
    return [
        {"identity": identity, **{name: column[number] for name, column in columns.items()}}
        for number, identity in enumerate(identities)
    ]


@st.composite
def blocks(draw) -> MaskedBlock:
    """Rows of the `annotated` scheme or another one, with or without their word starts."""
    segments = draw(st.lists(shapes.segments(), max_size=6))
    masking = draw(shapes.maskings())
    tokens = [token for segment in segments for token in segment.tokens]
    flags = [flag for segment in segments for flag in segment.word_starts]
    ranges = Ranges(
        starts=np.zeros(len(segments), np.int64),
        ends=np.array([[*segment.word_starts[1:], True].index(True) + 1 for segment in segments], np.int64),
        offsets=np.arange(len(segments) + 1),
    )
    return mask(
        np.array(tokens, np.int64),
        np.cumsum([0, *(len(segment.tokens) for segment in segments)]),
        config_of(masking),
        VOCABULARY,
        word_starts=np.array(flags, np.bool_) if draw(st.booleans()) else None,
        document_ids=np.array(draw(st.lists(st.integers(0, 99), min_size=len(segments), max_size=len(segments)))),
        annotations=ranges if masking.scheme == "annotated" else None,
        unigram=None if masking.unigram is None else np.array(masking.unigram, np.int64),
    )


@given(lists=LISTS)
def test_ragged_data_is_its_lists(lists):
    ragged = ragged_of(lists)
    assert lists_of(ragged) == lists
    assert ragged.lengths.tolist() == [len(items) for items in lists]
    assert ragged.owners.tolist() == [number for number, items in enumerate(lists) for _ in items]
    assert offsets_of([len(items) for items in lists]).tolist() == ragged.offsets.tolist()
    assert count_up(ragged.lengths).tolist() == [place for items in lists for place in range(len(items))]
    for beyond in (len(lists), -1):
        with pytest.raises(IndexError, match=f"item {beyond} of {len(lists)}"):
            ragged[beyond]


def test_ranges_are_views_by_owner_and_their_sizes_are_wide():
    ranges = Ranges(
        starts=np.array([1, 5, 0], np.uint16), ends=np.array([3, 6, 65_535], np.uint16), offsets=np.array([0, 2, 3])
    )
    starts, ends = ranges[0]
    assert (starts.tolist(), ends.tolist()) == ([1, 5], [3, 6])
    assert np.shares_memory(starts, ranges.starts)
    assert ranges.sizes.tolist() == [2, 1, 65_535]
    assert ranges.owners.tolist() == [0, 0, 1]


@given(lists=LISTS, data=st.data())
def test_owners_are_taken_by_number_and_kept_by_flag(lists, data):
    ragged = ragged_of(lists)
    numbers = data.draw(st.lists(st.sampled_from(range(len(lists))), max_size=9) if lists else st.just([]))
    assert lists_of(take(ragged, np.array(numbers, np.int64))) == [lists[number] for number in numbers]
    flags = data.draw(st.lists(st.booleans(), min_size=len(lists), max_size=len(lists)))
    kept = keep(ragged, np.array(flags, np.bool_))
    assert lists_of(kept) == [items for items, flag in zip(lists, flags, strict=True) if flag]


@settings(deadline=None, max_examples=60)
@given(block=blocks(), data=st.data())
def test_rows_stay_the_same_wherever_they_are_put(block, data):
    rows = rows_of(block)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    bounds = [0, *cuts, len(rows)]
    parts = [part(block, first, stop) for first, stop in pairwise(bounds)]
    assert [rows_of(one) for one in parts] == [rows[first:stop] for first, stop in pairwise(bounds)]
    assert rows_of(join(parts)) == rows
    order = data.draw(st.permutations(range(len(rows))))
    assert rows_of(select(block, np.array(order, np.int64))) == [rows[number] for number in order]
    assert rows_of(from_columns(block.document_ids, block.segments, columns_of(block))) == rows


@settings(deadline=None, max_examples=60)
@given(block=blocks())
def test_rows_one_by_one_make_the_block_again(block):
    rows = [row_of(block, number, {"id": number}) for number in range(len(block))]
    again = rows_of(block_of(rows))
    names = ("identity", "input_ids", "span_starts", "span_ends", "labels")
    assert again == [{name: row[name] for name in names} for row in rows_of(block)]
    words = [None if row.word_starts is None else row.word_starts.tolist() for row in rows]
    assert words == [row.get("word_starts") for row in rows_of(block)]
    assert [row.kept for row in rows] == [{"id": number} for number in range(len(rows))]


def test_no_rows_make_a_block_of_none():
    none = block_of([])
    assert (len(none), none.input_ids.offsets.tolist(), none.spans.offsets.tolist()) == (0, [0], [0])
    assert {column.values.dtype for column in columns_of(none).values()} == {np.dtype(np.uint16)}
