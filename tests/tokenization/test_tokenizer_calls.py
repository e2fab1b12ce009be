"""Calls into the `tokenizers` library end, in tokens or in an error that names the tokenizer, whatever its expressions and parts do."""

from __future__ import annotations

import json
import time
from typing import Any
from unittest import mock

import handmade
import pytest
from tokenization.test_special_entries import _unigram
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library
from trained import SPECIAL

from spanmask.errors import ConfigError
from spanmask.tokenization import Tokenizer, library
from spanmask.tokenization.units import kind_of
from spanmask.vocab import vocabulary_from_tokenizer

_A = "a" * 250 + "!"


def _with(**parts: Any) -> str:
    """A tokenizer of words with other parts."""
    found: Any = Library(
        models.WordLevel({name: number for number, name in enumerate([*SPECIAL, "a", "the"])}, "<unk>")
    )
    for name, part in parts.items():
        setattr(found, name, part)
    found.add_special_tokens(SPECIAL)
    return str(found.to_str())


def _encode(text: str, *texts: str) -> list[int]:
    return [int(number) for number in Tokenizer(vocabulary_from_tokenizer("x", text)).encode(texts).token_ids]


def _split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?:a|a)(?:a|a)*[bc]", "([a-z]+)*\\d", "(x|a|aa)+$"])
@pytest.mark.parametrize("part", ["pre_tokenizer", "normalizer"])
def test_an_expression_that_the_library_gives_up_is_named(pattern: str, part: str) -> None:
    made = _split(pattern) if part == "pre_tokenizer" else normalizers.Replace(Regex(pattern), "b")
    text = _with(**{part: made})
    assert _encode(text, "the") != []
    with pytest.raises(
        ConfigError, match=r"vocabulary x: its tokenizer fails on a text \(.*retry-limit.*\), with the reg"
    ) as caught:
        _encode(text, _A)
    assert json.dumps(pattern) in str(caught.value)


def test_an_expression_that_explodes_is_given_up_in_time_and_named() -> None:
    text = _with(pre_tokenizer=_split("a+a+a+(?=b|c)"))
    began = time.monotonic()
    with (
        mock.patch.object(library, "PATIENCE", 0.1),
        pytest.raises(
            ConfigError, match=r"251 characters are not tokenized after 0 s, with .*\"a\+a\+a\+\(\?=b\|c\)\"; simplify"
        ),
    ):
        _encode(text, _A)
    assert time.monotonic() - began < 5.0


def test_a_machine_that_sleeps_is_not_taken_for_a_tokenizer_that_explodes() -> None:
    """Processor time stands still meanwhile, so that the time on the clock counts for nothing."""
    vocabulary = vocabulary_from_tokenizer("x", _with())
    with mock.patch.object(library, "PATIENCE", 0.05), mock.patch.object(time, "process_time", return_value=1.0):
        assert library._watched(lambda: time.sleep(0.3) or "done", vocabulary, 1) == "done"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"unk_token": "nowhere"}, "WordLevel error: Missing"),
        ({"type": "Unigram", "vocab": [[name, -1.0] for name in SPECIAL], "unk_id": None}, "unk"),
        ({"type": "BPE", "merges": [], "unk_token": "nowhere"}, "its tokenizer fails on a text|nowhere"),
    ],
)
def test_a_model_that_cannot_say_what_is_unknown_fails_in_one_line(change: dict[str, Any], expected: str) -> None:
    content = json.loads(_with())
    content["model"] |= change
    with pytest.raises(ConfigError, match=expected) as caught:
        _encode(json.dumps(content), "nobody knows this")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "surely"),
    [
        *((pattern, True) for pattern in (" {2,}", "\\s+", "a*", "[ \t]+", "\\n", "[^a-z]{1,3}", "▁+")),
        *(
            (pattern, False)
            for pattern in ("(a+)+$", "a+a+", "\\s+$", "a|b", "(?i:a)", "[a\\]+", "\\b", "", "a{1,2}{1,2}{1,2}")
        ),
    ],
)
def test_only_an_expression_that_surely_ends_is_run_outside_of_a_watched_call(pattern: str, *, surely: bool) -> None:
    content = json.loads(handmade.unigram())
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": pattern}, "content": " "}
    assert (kind_of(content) is not None) is surely


_TWICE = [normalizers.Replace("a", "aa") for _ in range(40)]
_TO_ALL = [normalizers.Replace(Regex("[a-z]"), "0" * 9), normalizers.Replace("0", "0" * 9)]


@pytest.mark.parametrize(
    "steps",
    [
        *(_TWICE, _TO_ALL, [normalizers.Sequence(_TWICE)], [normalizers.Replace(" ", "x" * (1 << 20))]),
        *(
            [normalizers.Prepend("x" * (1 << 20))],
            [normalizers.Replace("th", "x" * 1000)],
            [normalizers.Replace(Regex(""), "x" * 99)],
        ),
    ],
)
def test_a_normalizer_that_writes_much_for_little_is_refused(steps: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"its normalizer writes over 64 characters for one \((Replace|Prepend)"):
        _encode(_with(normalizer=normalizers.Sequence(steps)), "the")


@pytest.mark.parametrize("step", [normalizers.NFKD(), normalizers.Prepend("▁"), normalizers.Replace("the", "x" * 99)])
def test_a_normalizer_that_writes_something_more_is_not(step: Any) -> None:
    assert len(_encode(_with(normalizer=step), "the \ufdfa")) >= 1


# --- Numbers that the library gives


def test_added_tokens_that_are_one_text_to_the_normalizer_are_refused() -> None:
    found = Library.from_str(_with(normalizer=normalizers.Lowercase(), pre_tokenizer=pre_tokenizers.Whitespace()))
    found.add_tokens(["COVID", "covid"])
    with pytest.raises(
        ConfigError, match=r"'COVID' and 'covid' are one text to its normalizer.*set its normalized to false"
    ):
        _encode(found.to_str(), "covid")
    content = json.loads(found.to_str())
    content["added_tokens"][-1]["normalized"] = False
    assert _encode(json.dumps(content), "covid Covid COVID") == [8, 7, 7]


def test_an_added_token_that_the_library_numbers_otherwise_is_refused() -> None:
    content = json.loads(_with())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 8, "content": "new", "special": False})
    with pytest.raises(
        ConfigError, match="'new' has id 8, the tokenizers library gives it 7; save it with this version"
    ):
        _encode(json.dumps(content), "the")


@pytest.mark.parametrize(
    "normalizer", [normalizers.BertNormalizer(lowercase=False), normalizers.NFC(), normalizers.Nmt()]
)
def test_a_special_token_that_is_looked_for_after_normalizing_is_text_too(normalizer: Any) -> None:
    found = Library.from_str(_with(normalizer=normalizer, pre_tokenizer=pre_tokenizers.WhitespaceSplit()))
    found.add_special_tokens([AddedToken(name, special=True, normalized=True) for name in SPECIAL])
    content = json.loads(found.to_str())
    for token in content["added_tokens"]:
        token["normalized"] = True
    assert _encode(json.dumps(content), "<mask> the </s>") == [3, 6, 3]


def test_a_piece_inside_a_word_that_is_special_is_still_made_of_text() -> None:
    found: Any = Library(
        models.WordPiece({name: n for n, name in enumerate([*SPECIAL, "c", "##at"])}, unk_token="<unk>")
    )
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.add_special_tokens([*SPECIAL, "##at"])
    assert _encode(found.to_str(), "cat c") == [5, 6, 5]


def test_bytes_that_stand_for_the_end_of_a_word_have_a_place_in_the_text() -> None:
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b"]
    model = models.BPE(
        {name: n for n, name in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True, end_of_word_suffix="ß"
    )
    found: Any = Library(model)
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.add_special_tokens(SPECIAL)
    texts = ["ab b a", "ba"]
    block = Tokenizer(vocabulary_from_tokenizer("x", found.to_str())).encode(texts, offsets=True)
    expected = found.encode_batch(texts, add_special_tokens=False)
    assert block.token_ids.tolist() == [number for encoding in expected for number in encoding.ids]
    assert block.byte_offsets is not None
    assert block.byte_offsets.max() <= 6


def test_a_normalizer_in_a_form_of_old_is_read() -> None:
    content = json.loads(_unigram())
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True, "str_rep": "▁"}
    texts = ["the cat  and", "a"]
    encodings: Any = Library.from_str(json.dumps(content)).encode_batch(texts, add_special_tokens=False)
    assert _encode(json.dumps(content), *texts) == [number for encoding in encodings for number in encoding.ids]
