"""The kinds of published tokenizers on every code point, on random strings and on real prose.

With SPANMASK_THOROUGH set in the environment, which takes an hour, every code point, a million strings and all prose a kind are tried (of
most of the prose the ids alone); without it all code points that are assigned (of ideographs and the like, and of the others, each
sixty-fourth; of these a third for each kind, in turn), 12,000 strings and a part of the prose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from figures import THOROUGH, figure
from tokenization.kinds import KINDS
from tokenization.many_texts import around, code_points, strings
from tokenization.reference import assert_as_library
from tokenization.variants import VARIANTS, plain_library_of, tokenizer_of

from spanmask.tokenization import Tokenizer

pytestmark = pytest.mark.slow

PROSE = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose"
_LOT = 4_000
#: Characters of prose from each file.
_SAMPLE = figure(60_000, 4_000_000)

each_kind = pytest.mark.parametrize("kind", KINDS)


def without_specials(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    """Return texts that name no special token: that is text to us, and the token to the plain library; a space goes into it."""
    for special in tokenizer.vocabulary.special_tokens:
        texts = [text.replace(special, f"{special[:1]} {special[1:]}") for text in texts]
    return texts


def assert_all(name: str, texts: list[str]) -> None:
    tokenizer = tokenizer_of(name)
    assert_as_library(tokenizer, plain_library_of(name), without_specials(tokenizer, texts))


@pytest.mark.timeout(3_600)
@each_kind
def test_every_code_point_is_tokenized_as_by_the_library(kind: str) -> None:
    points = code_points(each=figure(64, 1))
    assert len(points) > figure(30_000, 1_100_000)
    share = figure(3, 1)
    points = points[[*KINDS].index(kind) % share :: share]
    for first in range(0, len(points), _LOT):
        assert_all(kind, around(points[first : first + _LOT]))


@pytest.mark.timeout(3_600)
@each_kind
def test_random_strings_are_tokenized_as_by_the_library(kind: str) -> None:
    for texts in strings(figure(12_000, 1_000_000), seed=12):
        assert_all(kind, texts)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", VARIANTS)
def test_random_strings_are_tokenized_as_by_the_library_by_kinds_made_otherwise(name: str) -> None:
    for texts in strings(figure(2_000, 200_000), seed=13):
        assert_all(name, texts)


def documents() -> Iterator[list[str]]:
    """Yield the texts of each file of prose."""
    for path in sorted(PROSE.glob("*.jsonl.zst")):
        lines = pa.input_stream(path, compression="zstd").read().splitlines()
        yield [json.loads(line)["text"] for line in lines]


@cache
def prose() -> list[str]:
    """Documents of every file, drawn at a stated seed: for more than ids, the library is too slow for all 370 MB of them."""
    rng: Any = np.random.default_rng(12)
    found = []
    for texts in documents():
        size = 0
        for number in rng.permutation(len(texts)):
            found.append(texts[number][:_SAMPLE])
            size += len(found[-1])
            if size > _SAMPLE:
                break
    return found


@pytest.mark.data
@pytest.mark.skipif(not PROSE.is_dir(), reason=f"{PROSE} is absent")
@pytest.mark.timeout(3_600)
@each_kind
def test_real_prose_is_tokenized_as_by_the_library(kind: str) -> None:
    texts = prose()
    assert sum(map(len, texts)) > 8 * _SAMPLE
    for first in range(0, len(texts), 100):
        assert_all(kind, texts[first : first + 100])
    if THOROUGH:
        assert_all_prose(kind)


def assert_all_prose(kind: str) -> None:
    tokenizer, library = tokenizer_of(kind), plain_library_of(kind)
    characters = 0
    for texts in documents():
        for first in range(0, len(texts), 100):
            some = without_specials(tokenizer, texts[first : first + 100])
            assert tokenizer.encode(some).token_ids.tolist() == library.ids(some), f"{kind}: see assert_all of these"
            characters += sum(map(len, some))
    assert characters > 300_000_000
