"""Text is normalized as the `tokenizers` library does it, and what it provably leaves alone is not given to it."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import oracle
import pytest
from figures import figure
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.kinds import precompiled
from tokenization.unicode_texts import CODE_POINTS, NEAR_POINTS, random_texts
from tokenization.variants import vocabulary_of

from spanmask.errors import ConfigError
from spanmask.kernels.normalizing import (
    BEFORE_SHIFT,
    BEHIND_SHIFT,
    CUT_BEFORE,
    CUT_BEHIND,
    DOUBTFUL,
    RANK_SHIFT,
    SEPARATES,
    WIDE,
    Behaviour,
    Parts,
    Remembered,
    find_parts,
    recall,
    remember,
)
from spanmask.tokenization import parts as asked_parts
from spanmask.tokenization.charsmap import keys_of
from spanmask.tokenization.library import normalizer_of
from spanmask.tokenization.normalizing import Normalization, normalization_of
from spanmask.tokenization.stretches import TEXT, Stretches, whole_documents
from spanmask.tokenization.traits import traits

Step = dict[str, Any]


def _replace(pattern: str, content: str, *, regex: bool = False) -> Step:
    return {"type": "Replace", "pattern": {"Regex" if regex else "String": pattern}, "content": content}


def _strip(left: bool, right: bool) -> Step:
    return {"type": "Strip", "strip_left": left, "strip_right": right}


_PREPEND: Step = {"type": "Prepend", "prepend": "▁"}
_SPACES = _replace(" {2,}", " ", regex=True)
_TABLE: Step = precompiled()
_SIMPLE: dict[str, list[Step]] = {
    name: [{"type": name}] for name in ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents")
}
_NORMALIZERS: dict[str, list[Step]] = {
    **_SIMPLE,
    "precompiled": [_TABLE],
    "strip": [_strip(left=True, right=True)],
    "strip left": [_strip(left=True, right=False)],
    "a space for two": [_SPACES],
    "a mark for three": [_replace(" {3,}", "▁", regex=True)],
    "white space": [_replace(r"\s+", " ", regex=True)],
    "stops": [_replace(r"\.+", ".", regex=True), _replace("a+", "ba", regex=True)],
    "a word": [_replace("aba", "b"), _replace("b", "")],
    "t5": [_TABLE, _strip(left=False, right=True), _replace(" {2,}", "▁", regex=True)],
    "deberta-v3": [_strip(left=True, right=True), _TABLE, _SPACES],
    "nmt and nfkc": [{"type": "Nmt"}, {"type": "NFKC"}, _SPACES],
    "nfkc and nmt": [{"type": "NFKC"}, {"type": "Nmt"}, _strip(left=True, right=True)],
    "uncased": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}],
    "lowercase first": [{"type": "Lowercase"}, {"type": "NFC"}],
    "clip": [{"type": "NFC"}, _replace(r"\s+", " ", regex=True), {"type": "Lowercase"}],
    "albert": [
        *(_replace("``", '"'), _replace("''", '"'), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}),
        *(_TABLE, _SPACES),
    ],
}


def _normalization(steps: Sequence[Step]) -> Normalization:
    found = normalization_of(steps, vocabulary_of("t5"))
    assert not isinstance(found, str), found
    return found


def _stretches(texts: Sequence[str]) -> Stretches:
    data = [text.encode() for text in texts]
    return whole_documents(np.frombuffer(b"".join(data), np.uint8), np.cumsum([0, *map(len, data)]))


def _normalized(normalization: Normalization, texts: Sequence[str]) -> tuple[list[str], set[int]]:
    """What becomes of each text, and which are said to have changed."""
    (text, starts, ends, _, documents), splices = normalization.apply(_stretches(texts))
    made = [""] * len(texts)
    for start, end, document in zip(starts, ends, documents, strict=True):
        made[document] += text[start:end].tobytes().decode()
    return made, set(splices.documents.tolist())


@cache
def _named(name: str) -> tuple[Normalization, Any]:
    """One of the normalizers, and the library's."""
    return _normalization(_NORMALIZERS[name]), normalizer_of(_NORMALIZERS[name])


def _assert_as_library(steps: Sequence[Step] | str, texts: Sequence[str]) -> None:
    normalization, library = _named(steps) if isinstance(steps, str) else (_normalization(steps), normalizer_of(steps))
    made, changed = _normalized(normalization, texts)
    expected = [library.normalize_str(text) for text in texts]
    wrong = [(text, one, two) for text, one, two in zip(texts, made, expected, strict=True) if one != two]
    assert not wrong, f"{len(wrong)} of {len(texts)}, first {wrong[0]!r}"
    assert {i for i, text in enumerate(texts) if text != expected[i]} <= changed


def _around(points: Iterable[int]) -> list[str]:
    """Each code point alone, doubled, between letters and behind a space."""
    return [text for c in map(chr, points) for text in (c, c * 2, f"a{c}b", f" {c}")]


_TELLING = [
    *" \t\n\r\0\x01abAB.`'´…①ﷺſİßﬁ▁ΣéÅ",
    *"  ",
    *"\u0301\u0323\u0327\u0316\u0338\u0344\u0345\u0f73\u0f71\u3099\uff9e\uff76\u20dd",
    *"\u1100\u1161\u11a8가각\uffa1\uffc2",
    *"न\u093cर\u094d\u093f\u0929ஒ\u0bd7",
    *"\u200b\u200d\u200e\ufeff\u00ad\u0600\u0d4e\ufffd\u0085\u00a0\u3000，！漢か",
    *("\r\n", "  ", "aba", "``", "😀\u200d🚀", "🇩🇪🇩", "©\u200d©", "e\u0301", "\u0041\u030a"),
]
_TEXTS = st.lists(st.sampled_from(_TELLING), max_size=14).map("".join)


@pytest.mark.parametrize("name", _NORMALIZERS)
def test_telling_code_points_are_normalized_as_the_library_does(name: str) -> None:
    telling = np.flatnonzero(traits() & ~np.uint32(1 << 18))
    points = [point for point in [*range(0x100), *telling[::5].tolist()] if not 0xD800 <= point < 0xE000]
    _assert_as_library(name, _around(points))


@pytest.mark.slow
@pytest.mark.parametrize("name", _NORMALIZERS)
def test_every_code_point_is_normalized_as_the_library_does(name: str) -> None:
    """A quarter of those near for each, in turn, so that several try each one; all in a long run, of all where a step stands alone."""
    alone = len(_NORMALIZERS[name]) == 1
    share = figure(4, 1)
    points = (
        figure(NEAR_POINTS, CODE_POINTS) if alone else [p for p in CODE_POINTS if p < 0x30000 or 0xE0000 <= p < 0xE0200]
    )
    points = points[[*_NORMALIZERS].index(name) % share :: share]
    for first in range(0, len(points), 1 << 16):
        _assert_as_library(name, _around(points[first : first + (1 << 16)]))


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(list(_NORMALIZERS)), texts=st.lists(_TEXTS, min_size=1, max_size=30))
def test_telling_strings_are_normalized_as_the_library_does(name: str, texts: list[str]) -> None:
    _assert_as_library(name, texts)


@pytest.mark.parametrize("name", _NORMALIZERS)
def test_random_strings_are_normalized_as_the_library_does(name: str) -> None:
    _assert_as_library(name, random_texts(1_000, 12))


@pytest.mark.slow
@pytest.mark.parametrize("name", _NORMALIZERS)
def test_many_random_strings_are_normalized_as_the_library_does(name: str) -> None:
    rng = np.random.default_rng(3)
    for seed in range(figure(1, 4)):
        count = figure(10_000, 25_000)
        _assert_as_library(name, random_texts(count, 100 + seed))
        lengths = rng.integers(0, 16, count)
        _assert_as_library(name, ["".join(rng.choice(_TELLING, length)) for length in lengths])


_TRAPS = [
    "\ufdfa",
    "a´b",
    "\r\n",
    " \u0301",
    "e\u0301\u0323",
    "\u1100\u1161",
    "が",
    "a\u0344",
    "\u200b a",
    "\u3000\u3000",
    "ABC",
]


@pytest.mark.parametrize("name", _NORMALIZERS)
def test_what_stands_around_a_trap_is_joined_to_it_where_it_has_to_be(name: str) -> None:
    texts = [
        f"{before}{trap}{behind}"
        for trap in _TRAPS
        for before in ("", " ", "a", "漢")
        for behind in ("", " ", "b", "字", "\u0301")
    ]
    _assert_as_library(name, texts)
    _assert_as_library(name, ["".join(texts), " ".join(texts)])


# --- What is not asked


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NFC", "Plain text, \t naïve café 漢字 한국어 Ελλάδα किताब ภาษาไทย שלום.\r\n"),
        ("NFKC", "Plain text, \t naïve 漢字 한국어 Ελλάδα किताब שלום.\r\n"),
        ("NFKD", "Plain text 漢字 किताब שלום.\n"),
        ("precompiled", "Plain text,  naïve 漢字 한국어 Ελλάδα किताब नर्स שלום."),
        ("t5", "Plain text, naïve 漢字 한국어 Ελλάδα किताब שלום."),
        ("deberta-v3", "Plain text, naïve 漢字."),
        ("nmt and nfkc", "Plain text, naïve 漢字 한국어."),
        ("clip", "plain text, naïve 漢字."),
        ("albert", "plain text, 'quoted' 漢字."),
    ],
)
def test_text_that_is_left_alone_is_not_given_to_the_library(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_parts, "normalize_batch", lambda *_: pytest.fail("asked"))
    stretches = _stretches([text, text * 40])
    found, splices = _normalization(_NORMALIZERS[name]).apply(stretches)
    assert found is stretches
    assert len(splices.starts) == 0


def test_no_more_is_given_to_the_library_than_what_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    ask = asked_parts.normalize_batch

    def listening(normalizer: Any, texts: Sequence[str], vocabulary: Any) -> list[str]:
        asked.extend(texts)
        return ask(normalizer, texts, vocabulary)

    monkeypatch.setattr(asked_parts, "normalize_batch", listening)
    text = "好的，我知道。 ｢so｣  it is, e\u0301te\u0301, and so on"
    normalization = _normalization(_NORMALIZERS["deberta-v3"])
    assert _normalized(normalization, [text * 3])[0] == [
        normalizer_of(_NORMALIZERS["deberta-v3"]).normalize_str(text * 3)
    ]
    assert set(asked) == {"，", " ｢", "｣  ", " e\u0301te\u0301, "}
    assert len(asked) == len(set(asked))


# --- Stretches


def test_no_step_is_no_step() -> None:
    stretches = _stretches(["a", "▁"])
    assert _normalization([]).apply(stretches)[0] is stretches


def test_added_tokens_are_not_normalized_and_what_becomes_nothing_goes() -> None:
    data = "A\u200bB\u0001ÀAb".encode()
    places = np.cumsum([0, 1, 3, 1, 1, 2, 1, 1])
    ids = np.array([TEXT, TEXT, 5, TEXT, 6, TEXT, 7])
    given = Stretches(np.frombuffer(data, np.uint8), places[:-1], places[1:], ids, np.array([0, 0, 0, 1, 1, 1, 2]))
    found, splices = _normalization([{"type": "Nmt"}, {"type": "Lowercase"}]).apply(given)
    texts = [found.text[start:end].tobytes().decode() for start, end in zip(found.starts, found.ends, strict=True)]
    assert texts == ["a", " ", "B", "À", "a", "b"]
    assert found.ids.tolist() == [TEXT, TEXT, 5, 6, TEXT, 7]
    assert found.documents.tolist() == [0, 0, 0, 1, 1, 2]
    assert set(splices.documents.tolist()) == {0, 1}


@pytest.mark.parametrize("text", ["", "plain", "\uff21 b", "\u200b"])
def test_kernels_read_text_that_cannot_be_written_to_whatever_was_made_of_it(text: str) -> None:
    data = np.array(bytearray(text.encode()), np.uint8)
    given = whole_documents(data, np.array([0, len(data)]))
    made = _normalization(_NORMALIZERS["nmt and nfkc"]).apply(given).stretches
    assert [given.text.flags.writeable, made.text.flags.writeable] == [False, False]
    assert data.flags.writeable


# --- What is not known, and what is made badly


def _charsmap(units: Sequence[int], texts: bytes = b"x\0") -> Step:
    table = struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def _array(*keys: bytes, value: int = 0) -> list[int]:
    """A double array of keys, each of which begins with a byte of its own, that all stand for the text at one place."""
    units = [0] * 256
    base = 0
    for key in keys:
        node, base = 0, 256
        units[0] = base << 10
        for i, byte in enumerate(key):
            node, base = base ^ byte, len(units) + 256
            units += [0] * (base + 256 - len(units))
            units[node] = byte | (i + 1 == len(key)) << 8 | (node ^ base) << 10
        units[base] = 1 << 31 | value
    return units


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([{"type": "BertNormalizer"}], "BertNormalizer"),
        ([_replace("", "a")], "empty"),
        ([_replace("(a|b)+", "", regex=True)], "regular expression"),
        ([_replace("a*", "", regex=True)], "regular expression"),
        ([_replace(".+", "", regex=True)], "regular expression"),
        ([_replace(r"\w+", "", regex=True)], "regular expression"),
        ([_replace(r"\b+", "", regex=True)], "regular expression"),
        ([_PREPEND], "Prepend"),
        ([_replace("ab", "c")] * 7, "two characters"),
        ([_charsmap([0] * 16)], "places outside"),
        ([_charsmap([256 << 10, *[0] * 10])], "places outside"),
        ([_charsmap(_array(b"\xc3"))], "within a character"),
        ([{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\x07\0\0\0abcdefg").decode()}], "size"),
        ([{"type": "Precompiled", "precompiled_charsmap": ""}], "size"),
    ],
)
def test_what_only_the_library_can_do_is_told(steps: list[Step], reason: str) -> None:
    told = normalization_of(steps, vocabulary_of("t5"))
    assert isinstance(told, str)
    assert reason in told
    assert "\n" not in told


def test_keys_that_all_places_share_end() -> None:
    """A double array in which every node is a child of every other: a walk through it would have no end."""
    units = [256 << 10, *[0] * 511]
    units[256:] = [(i ^ 256) & 255 | 256 << 10 for i in range(256, 512)]
    for unit in range(256, 512):
        units[unit] = (unit ^ 256) | (unit ^ 256) << 10
    with pytest.raises(ValueError, match=r"share|outside"):
        keys_of(struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + b"x\0")


def test_a_key_of_two_characters_is_found_where_they_meet() -> None:
    steps = [_charsmap(_array(b"a", b"\r\n"))]
    keys = keys_of(base64.b64decode(steps[0]["precompiled_charsmap"]))
    assert (keys.characters.tolist(), keys.firsts.tolist(), keys.seconds.tolist()) == ([97], [13], [10])
    _assert_as_library(
        steps, ["a", "\r\n", "\r \n", "\r\r\n\n", "b\r\nb", "a\u0301b", "a\u0301\u0323\u0323", "\u0600a"]
    )


def test_a_normalizer_that_fails_is_an_error() -> None:
    normalization = _normalization([_charsmap(_array(b"a", value=999))])
    assert _normalized(normalization, ["bcd"])[0] == ["bcd"]
    with pytest.raises(ConfigError, match="its normalizer fails on a text"):
        _normalized(normalization, ["bad"])


# --- The kernel


_ENTRIES = st.builds(
    oracle.Entry,
    doubtful=st.sampled_from([False] * 5 + [True]),
    separates=st.booleans(),
    cut_before=st.sampled_from([True, True, False]),
    cut_behind=st.sampled_from([True, True, True, False]),
    rank=st.sampled_from([0, 0, 0, 1, 2, 63]),
    before=st.frozensets(st.sampled_from([0, 1, 5]), max_size=1),
    behind=st.frozensets(st.sampled_from([0, 1, 5]), max_size=1),
)


def _entry(entry: oracle.Entry) -> int:
    pairs = sum(1 << BEFORE_SHIFT + pair for pair in entry.before) + sum(
        1 << BEHIND_SHIFT + pair for pair in entry.behind
    )
    flags = DOUBTFUL * entry.doubtful + SEPARATES * (entry.separates and not entry.doubtful)
    return flags + CUT_BEFORE * entry.cut_before + CUT_BEHIND * entry.cut_behind + (entry.rank << RANK_SHIFT) + pairs


@given(
    kinds=st.lists(_ENTRIES, min_size=4, max_size=4),
    ends=st.lists(_ENTRIES, min_size=2, max_size=2),
    texts=st.lists(
        st.lists(st.sampled_from(["a"] * 5 + ["b", "é", "日", "a" * 35]), max_size=40).map("".join), max_size=4
    ),
    told=st.booleans(),
)
def test_parts_equal_the_oracle(
    kinds: list[oracle.Entry], ends: list[oracle.Entry], texts: list[str], told: bool
) -> None:
    # Of ASCII characters none has a rank.
    plain = [replace(kind, rank=0) for kind in kinds[:2]]
    known = dict(zip("abé日", [*plain, *kinds[2:]], strict=True))
    first, last = (oracle.Entry(before=end.before, behind=end.behind) for end in ends)
    entries, of_bytes = np.zeros(0x110000, np.uint32), np.full(256, WIDE, np.uint32)
    for character, entry in known.items():
        entries[ord(character)] = _entry(entry)
    of_bytes[:128] = entries[:128]
    restless = [ord(character) for character in "ab" if known[character].doubtful or known[character].behind]
    calm = max(restless, default=-1) + 1 if told else 0x7F
    behaviour = Behaviour(entries, of_bytes, calm, _entry(first), _entry(last))
    stretches = _stretches(texts)
    parts = Parts(*(np.empty(len(stretches.text), np.int64) for _ in Parts._fields))
    count = find_parts(*stretches[:4], behaviour, parts)
    none = np.empty(0, np.int64)
    assert find_parts(*stretches[:4], behaviour, Parts(none, none, none, none)) == count
    expected = list[tuple[int, int, int, int]]()
    for source, (start, text) in enumerate(zip(stretches.starts.tolist(), filter(None, texts), strict=True)):
        places = [start + len(text[:i].encode()) for i in range(len(text) + 1)]
        spans = oracle.parts_to_normalize([known[character] for character in text], first, last)
        expected += [(places[one], places[two], source, (one == 0) + 2 * (two == len(text))) for one, two in spans]
    assert list(zip(*(field[:count].tolist() for field in parts), strict=True)) == expected


# --- Results that are remembered


def test_results_are_the_same_when_they_are_remembered_forgotten_and_asked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asked_parts, "REMEMBERED", 50)
    monkeypatch.setattr("spanmask.tokenization.normalizing._LOOKUP", 7)
    monkeypatch.setattr("spanmask.tokenization.normalizing._ROOM", 3)
    rng = np.random.default_rng(5)
    words = ["".join(rng.choice(_TELLING, length)) for length in rng.integers(1, 40, 300)]
    for name in ("NFC", "deberta-v3", "Lowercase"):
        normalization, library = _normalization(_NORMALIZERS[name]), _named(name)[1]
        for _ in range(6):
            texts = [" x ".join(rng.choice(words, 9)) for _ in range(30)]
            assert _normalized(normalization, texts)[0] == [library.normalize_str(text) for text in texts]


def test_parts_with_places_that_are_taken_are_asked_for() -> None:
    taken = Remembered(np.full(8, 1 << 60), np.zeros(8, np.int64), False)
    part = np.frombuffer(b"A", np.uint8)
    remember(part, 0, taken, 5)
    numbers = np.empty(1, np.int64)
    one = np.ones(1, np.int64)
    assert recall(part, Parts(0 * one, one, 0 * one, 0 * one), taken, numbers) == 1
    assert numbers.tolist() == [-1]
    free = Remembered(np.zeros(8, np.int64), np.zeros(8, np.int64), True)
    remember(part, 2, free, 5)
    assert recall(part, Parts(0 * one, one, 0 * one, 2 * one), free, numbers) == 0
    assert numbers.tolist() == [5]
    assert recall(part, Parts(0 * one, one, 0 * one, one), free, numbers) == 1


# --- Time


@pytest.mark.parametrize("name", ["NFC", "NFKD", "deberta-v3", "nmt and nfkc", "albert"])
@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000,
        " " * 300_000,
        "\u0301" * 100_000,
        "e\u0301" * 50_000,
        "\u200b \u3000" * 40_000,
        "\u1100" * 100_000,
    ],
)
def test_the_time_is_linear_whatever_the_text(name: str, text: str) -> None:
    normalization, library = _named(name)
    _normalized(normalization, ["a"])
    began = time.process_time()
    made, _ = _normalized(normalization, [text])
    assert time.process_time() - began < 2
    assert made == [library.normalize_str(text)]
