"""Long texts in pieces: all of the text, in order, cut where a literal twin cuts it."""

from __future__ import annotations

import random

import pytest

from spanmask.annotating.pieces import CUTS, Piece, pieces_of

_QUOTES = "\"'”’»)]"


def _is_end(text: str, at: int, kind: str, begin: int) -> bool:
    """Tell whether a text may be cut at a place for a reason, by what stands before it from a place on."""
    before = text[begin:at]
    run = before[len(before.rstrip()) :]
    if kind == "paragraph":
        return run.count("\n") >= 2
    if kind == "line":
        return "\n" in run
    if kind == "word":
        return bool(run)
    word = before.rstrip().rstrip(_QUOTES)
    return bool(run) and word.endswith((".", "!", "?", "…"))


def _twin(text: str, most: int) -> list[Piece]:
    """Cut a text by trying each place."""
    pieces, start = [], 0
    while len(text) - start > most:
        end, cut = start + most, "inside"
        begin = start + most // 2
        for kind in ("paragraph", "line", "sentence", "word"):
            places = [at for at in range(begin + 1, start + most + 1) if _is_end(text, at, kind, begin)]
            if places:
                end, cut = places[-1], kind
                break
        pieces.append(Piece(start, end, cut))
        start = end
    return [*pieces, Piece(start, len(text), None)]


def test_pieces_are_all_of_a_text_and_end_where_the_twin_says() -> None:
    choose, seen = random.Random(5), set()
    parts = ["word", "a", "end.", "so?", "“quoted.”", "(aside!)", "longer-than-others", "naïve", "🙂"]
    gaps = [" "] * 12 + ["\n", "\n\n", "  ", "\n \n", "\t", ""]
    for number in range(300):
        text = "".join(choose.choice(parts) + choose.choice(gaps[: 13 + number % 6]) for _ in range(number % 90))
        most = choose.randint(20, 60)
        pieces = [*pieces_of(text, most)]
        assert pieces == _twin(text, most), (text, most)
        assert "".join(text[start:end] for start, end, _ in pieces) == text
        assert all(0 < piece.end - piece.start <= most for piece in pieces if text)
        seen |= {piece.cut for piece in pieces}
    assert seen >= {"paragraph", "line", "sentence", "word", None}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", [("", None)]),
        ("x" * 25, [("x" * 10, "inside"), ("x" * 10, "inside"), ("x" * 5, None)]),
        ("他走了。她來了。他們都走了", [("他走了。她來了。", "sentence"), ("他們都走了", None)]),
        ("one two three", [("one two ", "word"), ("three", None)]),
    ],
)
def test_texts_without_spaces_are_cut_behind_their_sentences_or_where_a_piece_is_full(
    text: str, pieces: list[tuple[str, str | None]]
) -> None:
    assert [(text[start:end], cut) for start, end, cut in pieces_of(text, 10)] == pieces
    assert {cut for _, cut in pieces} <= {*CUTS, None}
