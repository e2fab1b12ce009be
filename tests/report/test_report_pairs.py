"""Rows of two segments as `spanmask show` tells of them."""

from __future__ import annotations

import numpy as np

from spanmask.config import VocabularyConfig
from spanmask.records import Pair, Row
from spanmask.report.view import row_view
from spanmask.vocab import load_vocabulary


def row(pair: Pair) -> Row:
    """`[CLS] the cat [SEP] a [MASK] [SEP]`, the masked word being dog."""
    ids = np.array([101, 1103, 5855, 102, 170, 103, 102], np.uint16)
    span, labels = np.array([5], np.uint16), np.array([3676], np.uint16)
    return Row(
        document_id=7, segment=3, input_ids=ids, span_starts=span, span_ends=span + 1, labels=labels, kept={}, pair=pair
    )


def test_a_row_says_what_its_second_segment_is() -> None:
    vocabulary = load_vocabulary(VocabularyConfig())
    follows = row_view(row(Pair(border=4, label=1, document_id=7, segment=4)), vocabulary, 0)
    assert follows.segments == "segments 3 and 4, which follows"
    assert (follows.tokens, follows.masked, follows.masked_share) == (4, 1, 0.25)
    assert follows.original == "[CLS] the cat [SEP] a dog [SEP]"
    other = row_view(row(Pair(border=4, label=0, document_id=(2 << 40) + 9, segment=5)), vocabulary, 0)
    assert other.segments == "segment 3, and 5 of file 2, place 9, which does not follow"
    assert other.to_json()["pair"] == {"border": 4, "label": 0, "document_id": (2 << 40) + 9, "segment": 5}
    single = row_view(row(Pair(border=0, label=0, document_id=0, segment=0)), vocabulary, 0)
    assert (single.segments, single.tokens) == ("segment 3", 5)
