"""Special tokens that a model makes of text, too: bytes, characters and what it merges get the ids that the library gives them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import handmade
import pytest
from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library
from trained import SPECIAL

from spanmask.tokenization import Tokenizer
from spanmask.vocab import vocabulary_from_tokenizer

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
#: Without the name of any special token in them.
_TEXTS = ["a\tb", "the 😀 cat", "  the\n\ncat  sat\x07 ", "日本 and the ~ then", "", " ", "e\u0301\u00a0the hand"]


def _finished(library: Any, special: Sequence[str]) -> str:
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*SPECIAL, *special)])
    return str(library.to_str())


@cache
def _llama(*special: str) -> str:
    """BPE that falls back to bytes, as Llama's."""
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("a", "n"), ("an", "d"), ("▁", "and")]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    pieces = dict.fromkeys([*SPECIAL, *_BYTES, *letters, *map("".join, merges)])
    vocab = {piece: number for number, piece in enumerate(pieces)}
    library = Library(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _finished(library, special)


@cache
def _unigram(*special: str, split: bool = True) -> str:
    letters = [(letter, -9.0 - number / 64) for number, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz")]
    scored = [(name, 0.0) for name in (*SPECIAL, *_BYTES)] + [("▁the", -3.25), ("cat", -4.1), ("▁and", -4.5), *letters]
    library = Library(models.Unigram(scored, 3, True))
    library.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    return _finished(library, special)


@cache
def _named(*special: str) -> str:
    """Byte-level BPE with special tokens that are called as parts of a tokenizer.json are."""
    return _finished(Library.from_str(handmade.byte_level()), special)


_CASES = {
    "a tab as a byte": _llama("<0x09>"),
    "all bytes": _llama(*_BYTES),
    "bytes of a Unigram": _unigram(*_BYTES),
    "bytes and the mark of Metaspace": _unigram("▁", *_BYTES),
    "the mark of Metaspace that does not split": _unigram("▁", split=False),
    "a piece that Metaspace begins": _unigram("▁the", "▁and"),
    "a mark that a normalizer writes": _llama("▁"),
    "what is merged": _llama("▁the", "▁and"),
    "the space of a byte level": _named("Ġ", "Ċ"),
    "what a byte level merges": _named("Ġthe", "Ġand"),
    "names of parts": _named("BPE", "type", "vocab", "ByteLevel", "content", "id", "model", "null"),
}


@pytest.mark.parametrize("text", _CASES.values(), ids=_CASES)
def test_special_tokens_that_a_model_makes_of_text_have_the_ids_of_the_library(text: str) -> None:
    found = Tokenizer(vocabulary_from_tokenizer("x", text)).encode(_TEXTS)
    encodings: Any = Library.from_str(text).encode_batch(_TEXTS, add_special_tokens=False)
    assert found.token_ids.tolist() == [number for encoding in encodings for number in encoding.ids]


@pytest.mark.parametrize("text", _CASES.values(), ids=_CASES)
def test_the_name_of_a_special_token_with_a_role_stays_text(text: str) -> None:
    vocabulary = vocabulary_from_tokenizer("x", text)
    found = Tokenizer(vocabulary).encode([" ".join(SPECIAL), "<mask>", "a<mask>b</s>"])
    roles = vocabulary.special
    assert not {roles.pad, roles.cls, roles.sep, roles.mask} & set(found.token_ids.tolist())


def test_a_role_of_one_character_is_no_text_either() -> None:
    content = json.loads(_unigram())
    number = next(n for n, (piece, _) in enumerate(content["model"]["vocab"]) if piece == "m")
    content["added_tokens"].append({**content["added_tokens"][0], "id": number, "content": "m"})
    content["post_processor"] = {"type": "RobertaProcessing", "cls": ["m", number], "sep": ["</s>", 2]}
    content["post_processor"] |= {"trim_offsets": True, "add_prefix_space": True}
    vocabulary = vocabulary_from_tokenizer("x", json.dumps(content))
    assert vocabulary.special.cls == number
    assert number not in Tokenizer(vocabulary).encode(["mm am the"]).token_ids.tolist()


def test_scores_keep_their_digits() -> None:
    text = _unigram("▁").replace("-3.25", "-3.250000000000000000000000000000000001").replace("-4.1", "-41e-1")
    assert text.count("00001") == text.count("-41e-1") == 1
    found = Tokenizer(vocabulary_from_tokenizer("x", text)).encode(["the cat"])
    assert found.token_ids.tolist() == Library.from_str(text).encode("the cat", add_special_tokens=False).ids
