"""Where lines start, and how tokens of documents in a block are those of texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.reference import CASINGS, block_of, ids_of, reference_of, tokenizer_of
from tokenization.unicode_texts import TEXTS

from spanmask.records import DocumentBlock

each_casing = pytest.mark.parametrize("casing", CASINGS)
texts_lists = st.lists(TEXTS, min_size=1, max_size=3)


@each_casing
@settings(max_examples=80, deadline=None)
@given(texts=texts_lists)
def test_a_line_starts_at_the_first_token_behind_each_newline(casing: str, texts: list[str]) -> None:
    block = tokenizer_of(casing).tokenize(block_of(texts), lines=True)
    lines = [line for text in texts for line in text.split("\n")]
    expected = reference_of(casing).encode(lines)
    assert block.token_ids.tolist() == expected.token_ids.tolist()
    flags = np.zeros(len(expected.token_ids) + 1, np.bool_)
    flags[expected.document_offsets[:-1][np.diff(expected.document_offsets) > 0]] = True
    assert block.line_starts is not None
    assert block.line_starts.tolist() == flags[:-1].tolist()


@each_casing
def test_lines_of_any_length_and_blank_ones_are_told_apart(casing: str) -> None:
    texts = [
        "\n".join("a b." * size for size in range(50)),
        "\n\n",
        "x\n",
        "\ny",
        "",
        " \n \u200b\n z",
        "one\r\ntwo\rthree",
    ]
    block = tokenizer_of(casing).tokenize(block_of(texts), lines=True)
    assert block.line_starts is not None
    starts = [int(block.line_starts[start:end].sum()) for start, end in pairwise(block.document_offsets.tolist())]
    assert starts == [49, 0, 1, 1, 0, 1, 2]


@each_casing
@settings(max_examples=60, deadline=None)
@given(texts=texts_lists)
def test_asking_for_lines_moves_no_token(casing: str, texts: list[str]) -> None:
    plain, lined = (tokenizer_of(casing).tokenize(block_of(texts), lines=lines) for lines in (False, True))
    assert plain.line_starts is None
    assert ids_of(plain) == ids_of(lined)
    assert plain.word_starts.tolist() == lined.word_starts.tolist()


@each_casing
@settings(max_examples=60, deadline=None)
@given(texts=texts_lists, before=st.text("ab \n", max_size=9))
def test_documents_that_begin_inside_their_text_give_the_tokens_of_theirs_alone(
    casing: str, texts: list[str], before: str
) -> None:
    whole = block_of([before, *texts])
    part = DocumentBlock(
        text=whole.text, document_offsets=whole.document_offsets[1:], document_ids=whole.document_ids[1:]
    )
    expected = tokenizer_of(casing).encode(texts)
    assert ids_of(tokenizer_of(casing).tokenize(part)) == ids_of(expected) == ids_of(reference_of(casing).encode(texts))
