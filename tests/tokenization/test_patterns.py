"""Compiled patterns split as the library does: every character, random strings and prose, a stretch at a time, in linear time."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tokenizers
from figures import figure
from tokenization.pretokens import (
    CONTEXTS,
    TELLING,
    assert_same_ends,
    compiled_ends,
    edges_of_classes,
    oracle_ends,
    random_texts,
    windowed_ends,
)
from tokenization.unicode_texts import CODE_POINTS, NEAR_POINTS

from spanmask.kernels.patterns import Splitter
from spanmask.tokenization.derive_classes import derive
from spanmask.tokenization.patterns import GPT2, splitter_of, table_of_classes

Steps = list[dict[str, Any]]


def byte_level(*, use_regex: bool = True, add_prefix_space: bool = False) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


CASES, OPENING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?"
CAPITALS, SMALLS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDING = r"\s*[\r\n]+|\s+(?!\S)|\s+"
OTHERS = r" ?[^\s\p{L}\p{N}]+"
#: Patterns as published.
CL100K = rf"{CASES}|{OPENING}\p{{L}}+|\p{{N}}{{1,3}}|{OTHERS}[\r\n]*|{ENDING}"
QWEN = rf"{CASES}|{OPENING}\p{{L}}+|\p{{N}}|{OTHERS}[\r\n]*|{ENDING}"
QWEN_MARKS = rf"{CASES}|{OPENING}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{ENDING}"
O200K = "|".join(
    [
        rf"{OPENING}{CAPITALS}*{SMALLS}+{CASES}?|{OPENING}{CAPITALS}+{SMALLS}*{CASES}?",
        rf"\p{{N}}{{1,3}}|{OTHERS}[\r\n/]*|{ENDING}",
    ]
)
TEKKEN = rf"{OPENING}{CAPITALS}*{SMALLS}+|{OPENING}{CAPITALS}+{SMALLS}*|\p{{N}}|{OTHERS}[\r\n/]*|{ENDING}"
NEW_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
NEW_CL100K = "|".join(
    [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+",
        r"\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ]
)
MINIMAL = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


def split(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def by(*patterns: str) -> tuple[Steps, list[str]]:
    return [*map(split, patterns), byte_level(use_regex=False)], [*patterns]


DIGITS = {"type": "Digits", "individual_digits": True}
#: Pre-tokenizers as published, and the patterns that the oracle splits by, one after the other.
KINDS: dict[str, tuple[Steps, list[str]]] = {
    "gpt2": ([byte_level()], [GPT2]),
    "spaced": ([byte_level(add_prefix_space=True)], [GPT2]),
    "digits": ([DIGITS, byte_level()], [r"\p{Digit}", GPT2]),
    "threes": ([split(r"\p{N}{1,3}"), byte_level()], [r"\p{N}{1,3}", GPT2]),
    "cl100k": by(CL100K),
    "removed": ([split(CL100K, "Removed", invert=True), byte_level(use_regex=False)], [CL100K]),
    "inverted": ([split(QWEN, invert=True), byte_level(use_regex=False)], [QWEN]),
    "qwen": by(QWEN),
    "qwen-marks": by(QWEN_MARKS),
    "o200k": by(O200K),
    "tekken": by(TEKKEN),
    "new-gpt2": by(NEW_GPT2),
    # The library takes {1,3}+ as any number of times one to three, and Python as one to three and no fewer.
    "new-cl100k": (by(NEW_CL100K)[0], [NEW_CL100K.replace(r"\p{N}{1,3}+", r"\p{N}+")]),
    "minimal": by(MINIMAL),
    "digits-cl100k": ([DIGITS, split(CL100K), byte_level(use_regex=False)], [r"\p{Digit}", CL100K]),
    "numbers-o200k": by(r"\p{N}", O200K),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def splitter(steps: Steps) -> Splitter:
    found = splitter_of(steps)
    assert isinstance(found, Splitter), found
    return found


def require_same(kind: str, texts: Sequence[str]) -> None:
    steps = KINDS[kind][0]
    assert_same_ends(steps, splitter(steps), texts)


@kinds
def test_characters_at_the_edges_of_classes_are_split_as_by_the_library(kind: str) -> None:
    edges = edges_of_classes()
    assert len(edges) > 3000
    for context in CONTEXTS:
        require_same(kind, [context.format(*[char] * 2) for char in edges])


@pytest.mark.slow
@kinds
def test_every_character_is_split_as_by_the_library(kind: str) -> None:
    """Each kind tries its eighth of those near, all kinds together every one of them; in a long run each tries every one there is."""
    share, points = figure((8, NEAR_POINTS), (1, CODE_POINTS))
    own = [point for point in points[[*KINDS].index(kind) % share :: share] if point != 0x10FFFE]
    # Alone, doubled, between letters, after an apostrophe, after a space; the edges of classes stand in the others, too.
    for context in CONTEXTS[:5]:
        for first in range(0, len(own), 1 << 17):
            require_same(kind, [context.format(*[chr(point)] * 2) for point in own[first : first + (1 << 17)]])


@kinds
def test_random_strings_are_split_as_by_the_library(kind: str) -> None:
    require_same(kind, random_texts(20_000, seed=1))


@pytest.mark.slow
@kinds
def test_many_random_strings_are_split_as_by_the_library(kind: str) -> None:
    seeds, count = figure((range(2, 3), 50_000), (range(2, 12), 100_000))
    for seed in seeds:
        require_same(kind, random_texts(count, seed))
    require_same(kind, random_texts(count, 12, edges_of_classes()))


@kinds
def test_prose_is_split_as_by_the_library(kind: str) -> None:
    text = resources.files("spanmask.data").joinpath("poe.txt").read_text("utf-8")
    require_same(kind, [text[:100_000], *text[100_000:200_000].split("\n")])


@kinds
def test_the_oracle_splits_as_the_kernel(kind: str) -> None:
    steps, patterns = KINDS[kind]
    texts = [context.format(*[char] * 2) for context in CONTEXTS for char in TELLING] + random_texts(500, seed=0)
    found = splitter(steps)
    np.testing.assert_array_equal(compiled_ends(found, texts), oracle_ends(patterns, found.adds_space, texts))


def require_same_by_windows(kind: str, texts: Sequence[str]) -> None:
    found = splitter(KINDS[kind][0])._replace(adds_space=False)
    ends, _ = windowed_ends(found, texts)
    np.testing.assert_array_equal(ends, compiled_ends(found, texts))


ASCII = [*"  \n\r\t\x1c!'/_-.,(\0\x7f", *"aestvmlrdSTREVLMDzZ", *"0129"]


@kinds
def test_windows_start_where_one_pre_token_after_the_other_does(kind: str) -> None:
    """Strings of more ASCII, in stretches shorter and longer than a window, with others among it."""
    texts = random_texts(20_000, 1, ASCII)
    for size in (1, 3, 40):
        for odd in ("", "é", "ſ"):
            joined = ["".join(texts[first : first + size]) + odd for first in range(0, len(texts), size)]
            require_same_by_windows(kind, joined)
    require_same_by_windows(kind, random_texts(20_000, seed=2))


@kinds
def test_windows_of_prose_hold_many_pre_tokens(kind: str) -> None:
    text = resources.files("spanmask.data").joinpath("poe.txt").read_text("utf-8")
    require_same_by_windows(kind, [text, *text[:100_000].split("\n")])
    ends, windows = windowed_ends(splitter(KINDS[kind][0]), [text])
    assert len(ends) > 4 * windows


@pytest.mark.slow
@kinds
def test_many_windows_start_where_one_pre_token_after_the_other_does(kind: str) -> None:
    for seed in range(3, figure(6, 13)):
        texts = random_texts(100_000, seed, ASCII)
        require_same_by_windows(kind, ["".join(texts[first : first + 9]) for first in range(0, len(texts), 9)])


@kinds
@pytest.mark.parametrize(
    "run", [" ", "\n", " \n", "'", "\u0301", "a\u0301", "A中", "1", "\u3000", "!", "\r\n\t", "中A"]
)
def test_a_run_of_a_megabyte_takes_linear_time(kind: str, run: str) -> None:
    """What looks ahead again and again would take hours."""
    for text in (run * (1_000_000 // len(run)), run * (1_000_000 // len(run)) + "1", "a" + run * 300_000 + "b"):
        assert compiled_ends(splitter(KINDS[kind][0]), [text])[-1] >= len(text.encode())


@kinds
def test_what_lies_beyond_a_stretch_changes_nothing(kind: str) -> None:
    """Stretches lie one behind the other here, so that those cut out of prose go on with the rest of a word."""
    text = resources.files("spanmask.data").joinpath("poe.txt").read_text("utf-8")[:20_000]
    cuts = [0, *np.cumsum(np.random.default_rng(0).integers(1, 9, 3000)).tolist()]
    require_same(kind, [text[start:stop] for start, stop in pairwise(cuts) if text[start:stop]])


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], "ends with no pre-tokenizer"),
        ([{"type": "Metaspace"}], "ends with Metaspace"),
        ([byte_level(use_regex=False)], "splits nothing"),
        ([DIGITS, byte_level(use_regex=False)], "but by 'Digits'"),
        ([{"type": "Digits", "individual_digits": False}, byte_level()], "Digits before the pattern"),
        ([DIGITS, byte_level(add_prefix_space=True)], "every part that Digits makes"),
        ([split(CL100K), byte_level()], "Split before the pattern"),
        ([split(CL100K, "Removed"), byte_level(use_regex=False)], "but by 'Split'"),
        ([split(CL100K, "MergedWithNext", invert=True), byte_level(use_regex=False)], "but by 'Split'"),
        ([split(CL100K.replace("{1,3}", "{1,4}")), byte_level(use_regex=False)], r"\p{N}{1,4}"),
        ([split(CL100K + "|a"), byte_level(use_regex=False)], 'but by "(?i:'),
        ([split(QWEN_MARKS.replace(r"\p{M}\p{N}", r"\p{N}")), byte_level(use_regex=False)], 'but by "(?i:'),
        ([split(f"{CASES}|{O200K}"), byte_level(use_regex=False)], 'but by "(?i:'),
        ([split(r"\p{N}{1,3}"), split(QWEN), byte_level(use_regex=False)], "Split before the pattern"),
        ([split(r"\p{N}"), DIGITS, split(QWEN), byte_level(use_regex=False)], "Split before the pattern"),
        ([{**split(""), "pattern": {"String": GPT2}}, byte_level(use_regex=False)], "but by 'a string'"),
    ],
)
def test_other_pre_tokenizers_are_named(steps: Steps, reason: str) -> None:
    found = splitter_of(steps)
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.slow
def test_the_classes_that_ship_are_the_librarys() -> None:
    asked, shipped = derive(), table_of_classes()
    for name in ("blocks", "classes"):
        message = f"{name}: tokenizers {tokenizers.__version__} differs; python -m spanmask.tokenization.derive_classes"
        np.testing.assert_array_equal(shipped[name], asked[name], err_msg=message)
