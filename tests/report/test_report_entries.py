"""Entries of every kind of vocabulary as text that people read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trained
from terminals import drawn

import spanmask
from spanmask import PreshardConfig, Tokenizer, preshard
from spanmask.report.entries import readable_entries
from spanmask.report.rows_page import rows_page
from spanmask.report.terminal import render_rows
from spanmask.report.view import Role, join_text, row_view
from spanmask.vocab import vocabulary_from_tokenizer

SENTENCE = "He sighed deeply, as if relieved; then he left (at once) for the old house."
KINDS = {"byte level": trained.byte_level, "unigram": trained.unigram, "metaspace": trained.metaspace_first}


def readable(text: str, tokenizer: Callable[[], str]) -> list[tuple[str, bool]]:
    vocabulary = vocabulary_from_tokenizer("x", tokenizer())
    return list(map(readable_entries(vocabulary), Tokenizer(vocabulary).encode([text]).token_ids.tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_a_plain_sentence_join_to_it(kind: str) -> None:
    known = "".join(char for char in SENTENCE if char not in ";()")
    text = known.lower() if kind == "metaspace" else known
    assert join_text(readable(known, KINDS[kind])).replace("␠", "") == text


def test_byte_level_pieces_show_their_bytes_and_spaces() -> None:
    assert readable("the   ö\n", trained.byte_level) == [
        ("the", True),
        ("␠", False),
        ("␠", False),
        ("␠", False),
        ("\\xc3", True),
        ("\\xb6", True),
        ("\n", True),
    ]


def test_continuations_and_special_tokens_are_as_in_wordpiece() -> None:
    vocabulary = vocabulary_from_tokenizer("x", trained.accented_wordpiece())
    entries = readable_entries(vocabulary)
    assert entries(vocabulary.ids["##ed"]) == ("ed", True)
    assert entries(vocabulary.ids["the"]) == ("the", False)
    assert [entries(number) for number in (0, 4, 9999)] == [("<s>", False), ("<mask>", False), ("[id 9999]", False)]


def test_special_tokens_of_a_byte_level_tokenizer_stand_as_they_are() -> None:
    entries = readable_entries(vocabulary_from_tokenizer("x", trained.byte_level()))
    assert [entries(number)[0] for number in range(5)] == trained.SPECIAL


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("entries")
    source = folder / "text.txt"
    source.write_text("\n\n".join(trained.stories()[60_000:75_000].split("\n")))
    options = {"seed": 2, "max_tokens": 64, "vocab": trained.saved(trained.byte_level(), folder)}
    preshard(source, folder / "out", PreshardConfig.of(**options), jobs=1)
    return spanmask.open(folder / "out")


def test_a_stored_row_reads_as_its_text(shards: Any) -> None:
    view = row_view(shards[0], shards.manifest.vocabulary, 0)
    body = view.original.removeprefix("<s>").removesuffix("</s>").strip()
    assert body in trained.stories()
    assert [view.pieces[0].role, view.pieces[-1].role] == [Role.SPECIAL] * 2


def test_words_of_a_row_are_those_it_stores(shards: Any) -> None:
    for row in shards[:20]:
        view = row_view(row, shards.manifest.vocabulary, 0)
        assert [k for k, piece in enumerate(view.pieces) if piece.starts_word] == row.word_starts.tolist()


def test_pages_and_terminals_show_no_mark_of_the_vocabulary(shards: Any) -> None:
    views = [row_view(row, shards.manifest.vocabulary, number) for number, row in enumerate(shards[:10])]
    kept = [view for view in views if not view.count(Role.RANDOM)]
    assert kept
    for shown in (drawn(render_rows(views), 100), rows_page([kept], "x")):
        assert "<mask>" not in shown
        assert "Ċ" not in shown
    assert "Ġ" not in rows_page([kept], "x")
