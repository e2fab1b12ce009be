"""Rows as a neutral structure: text, roles, spans and boundaries."""

from __future__ import annotations

from typing import Any

import pytest

from spanmask.escaping import escape, visible
from spanmask.report.view import REPLACEMENTS, Role, RowView, join_text, row_view, split_document_id
from spanmask.shard.reader import ShardSet


def decoded(ids: list[int], entries: tuple[str, ...]) -> str:
    """Decode as WordPiece documents it: pieces with spaces between, `` ##`` removed."""
    return " ".join(entries[i] for i in ids).replace(" ##", "")


def test_original_is_the_decoded_text_of_the_labels_put_back(views: list[RowView], shards: ShardSet) -> None:
    entries = shards.manifest.vocabulary.entries
    for view, row in zip(views, shards, strict=True):
        assert view.original == decoded(row.original().tolist(), entries)


def test_roles_follow_from_the_ids(views: list[RowView], shards: ShardSet) -> None:
    mask, seen = shards.manifest.vocabulary.special.mask, set()
    for view, row in zip(views, shards, strict=True):
        originals, covered = row.original(), {i for start, end in view.spans for i in range(start, end)}
        for position, piece in enumerate(view.pieces):
            now, was = int(row.input_ids[position]), int(originals[position])
            replaced = Role.MASKED if now == mask else Role.KEPT if now == was else Role.RANDOM
            special = position in (0, len(view.pieces) - 1)
            assert piece.role is (replaced if position in covered else Role.SPECIAL if special else Role.PLAIN)
            assert (piece.span is not None) == (position in covered)
            seen.add(piece.role)
    assert seen == set(Role)


def test_boundaries_are_the_positions_before_and_after_each_span(views: list[RowView]) -> None:
    for view in views:
        assert [i for i, piece in enumerate(view.pieces) if piece.before_span] == [start - 1 for start, _ in view.spans]
        assert [i for i, piece in enumerate(view.pieces) if piece.after_span] == [end for _, end in view.spans]


def test_runs_hold_every_piece_once_and_in_order(views: list[RowView]) -> None:
    for view in views:
        runs = list(view.runs)
        assert tuple(piece for _, pieces in runs for piece in pieces) == view.pieces
        assert [span for span, _ in runs if span is not None] == list(range(len(view.spans)))
        assert all(piece.span == span for span, pieces in runs for piece in pieces)


def test_counts_are_those_of_the_rows(views: list[RowView], shards: ShardSet) -> None:
    counts = shards.manifest.statistics["train"]
    assert sum(view.tokens for view in views) == counts["tokens"]
    assert sum(view.masked for view in views) == counts["masked_tokens"]
    assert sum(len(view.spans) for view in views) == counts["spans"]
    found = [sum(view.count(role) for view in views) for role in REPLACEMENTS]
    assert found == [counts[name] for name in ("replaced_by_mask", "replaced_by_random", "kept")]


def test_word_starts_are_counted_as_by_presharding(views: list[RowView], shards: ShardSet) -> None:
    words = sum(piece.starts_word for view in views for piece in view.pieces)
    assert words == shards.manifest.statistics["train"]["words"]


def test_stored_word_starts_take_the_place_of_the_vocabulary(shards: ShardSet) -> None:
    view = row_view(shards[0], shards.manifest.vocabulary, 0, word_starts=[1, 4])
    assert [i for i, piece in enumerate(view.pieces) if piece.starts_word] == [1, 4]


def test_identity_is_split_into_file_and_place(hostile: RowView) -> None:
    assert split_document_id((5 << 40) + 123) == (5, 123)
    assert (hostile.file, hostile.place, hostile.segment) == (3, 99, 2)


def test_kept_fields_are_text(hostile: RowView) -> None:
    assert dict(hostile.kept_fields)["source"] == "\\xff\x1b"


def test_text_joins_at_continuations_only() -> None:
    assert join_text([("un", False), ("believ", True), (",", False)]) == "unbeliev ,"


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("\x1b[0m\r\n\x7f", "utf-8", "␛[0m␍␊␡"),
        ("\x9b\u202e\u200b\ufeff\ud800", "utf-8", "\\x9b\\u202e\\u200b\\ufeff\\ud800"),
        ("naïve 中", "utf-8", "naïve 中"),
        ("naïve\x1b中", "ascii", "na\\xefve\\x1b\\u4e2d"),
        ("naïve 中", "latin-1", "naïve \\u4e2d"),
        ("\U000e0041", "utf-8", "\\U000e0041"),
    ],
)
def test_nothing_that_steers_a_screen_stays(text: str, encoding: str, shown: str) -> None:
    assert visible(text, encoding) == shown


def test_html_is_escaped_in_text_and_attributes() -> None:
    value: Any = '<a href="x">\'\x00'
    assert escape(value) == "&lt;a href=&quot;x&quot;&gt;&#x27;␀"
