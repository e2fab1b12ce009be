"""Vocabularies: the two that ship, files, and everything that is refused."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.vocab import Vocabulary, load_vocabulary, vocabulary_from_entries, vocabulary_from_tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def _of(*entries: str, cased: bool = True) -> Vocabulary:
    return Vocabulary(name="test", entries=(*SPECIAL, *entries), cased=cased)


@pytest.mark.parametrize(
    ("name", "size", "sha256", "special"),
    [
        ("cased", 28_996, "eeaa9875b23b04b4c54ef759d03db9d1ba1554838f8fb26c5d96fa551df93d02", (0, 100, 101, 102, 103)),
        (
            "uncased",
            30_522,
            "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            (0, 100, 101, 102, 103),
        ),
    ],
)
def test_the_vocabularies_that_ship_are_berts(name: str, size: int, sha256: str, special: tuple[int, ...]) -> None:
    vocabulary = load_vocabulary(VocabularyConfig(vocab=name))
    assert (len(vocabulary), vocabulary.name, vocabulary.cased, vocabulary.built_in) == (
        size,
        name,
        name == "cased",
        True,
    )
    assert vocabulary.sha256 == sha256
    data = resources.files("spanmask.data").joinpath(f"bert-base-{name}-vocab.txt").read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    assert tuple(vocabulary.special.as_dict().values()) == special
    assert list(vocabulary.special.as_dict()) == ["pad", "unk", "cls", "sep", "mask"]
    assert vocabulary.dtype == np.uint16


@pytest.mark.parametrize("name", ["cased", "uncased"])
def test_tables_follow_from_the_entries(name: str) -> None:
    vocabulary = load_vocabulary(VocabularyConfig(vocab=name))
    unused = [entry for entry in vocabulary.entries if entry.startswith("[unused")]
    assert len(vocabulary.ordinary_ids) == len(vocabulary) - 5 - len(unused)
    assert len(unused) > 90
    ordinary = set(vocabulary.ordinary_ids.tolist())
    for number, entry in enumerate(vocabulary.entries):
        assert vocabulary.ids[entry] == number
        assert bool(vocabulary.base_word_table[number]) is not entry.startswith("##")
        assert (number in ordinary) is not (entry in SPECIAL or entry in unused)


def test_an_entry_that_only_looks_unused_is_ordinary() -> None:
    vocabulary = _of("[unused1]", "[unused]", "[unused1]x", "##", "a")
    assert [vocabulary.entries[i] for i in vocabulary.ordinary_ids] == ["[unused]", "[unused1]x", "##", "a"]
    assert vocabulary.word_start_table.tolist() == [True] * 8 + [False, True]


@pytest.mark.parametrize(("size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_ids_are_stored_in_16_bits_while_they_fit(size: int, dtype: Any) -> None:
    vocabulary = _of(*(f"w{i}" for i in range(size - 5)))
    assert vocabulary.dtype == dtype
    assert vocabulary.ordinary_ids.dtype == dtype


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_a_file_holds_an_entry_a_line(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "vocab.txt"
    separator = ending or "\n"
    path.write_bytes((separator.join([*SPECIAL, "été", "##s"]) + ending).encode())
    vocabulary = load_vocabulary(VocabularyConfig(vocab=str(path), cased=False))
    assert (vocabulary.entries[5:], vocabulary.cased, vocabulary.built_in) == (("été", "##s"), False, False)
    again = vocabulary_from_entries(vocabulary.name, vocabulary.entries, cased=False)
    assert again == vocabulary
    assert again.sha256 == vocabulary.sha256


def test_odd_separators_inside_an_entry_are_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, "a\u2028b", "c\x85c", "d\x0bd", "e\x1c", "f\u200b"]) + "\n")
    entries = load_vocabulary(VocabularyConfig(vocab=str(path), cased=True)).entries[5:]
    assert entries == ("a\u2028b", "c\x85c", "d\x0bd", "e\x1c", "f\u200b")


# --- BERT's tokenizer.json


def _tokenizer(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {entry: i for i, entry in enumerate((*SPECIAL, "a", "##b"))},
        },
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "lowercase": True,
            "strip_accents": None,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
    }
    for name, value in changes.items():
        part, key = name.split("__")
        content[part] = {**content[part], key: value}
    return content


def _write(folder: Path, content: Any) -> str:
    path = folder / "tokenizer.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_tokenizer_json_of_bert_says_its_casing(tmp_path: Path, lowercase: bool) -> None:
    path = _write(tmp_path, _tokenizer(normalizer__lowercase=lowercase))
    vocabulary = load_vocabulary(VocabularyConfig(vocab=path))
    assert (vocabulary.entries[5:], vocabulary.cased) == (("a", "##b"), not lowercase)
    assert (vocabulary.tokenizer, vocabulary.tells_words) == (None, True)


def test_a_tokenizer_json_that_the_library_wrote_is_read(tmp_path: Path) -> None:
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer({entry: i for i, entry in enumerate((*SPECIAL, "été"))}, lowercase=False)
    tokenizer.add_special_tokens(["[CLS]", "[MASK]"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "tokenizer.json")))
    assert (vocabulary.entries, vocabulary.cased, vocabulary.tokenizer) == ((*SPECIAL, "été"), True, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__unk_token": "[PAD]"},
        {"model__continuing_subword_prefix": "@@"},
        {"model__max_input_chars_per_word": 200},
        {"normalizer__clean_text": False},
        {"normalizer__handle_chinese_chars": False},
        {"normalizer__strip_accents": False},
        {"normalizer__type": "NFC"},
        {"pre_tokenizer__type": "Whitespace"},
    ],
    ids=str,
)
def test_a_tokenizer_json_that_is_nearly_berts_keeps_its_text(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = _write(tmp_path, _tokenizer(**changes))
    vocabulary = load_vocabulary(VocabularyConfig(vocab=path))
    assert vocabulary.tokenizer == Path(path).read_text()
    assert (vocabulary.cased, vocabulary.tells_words) == (None, False)


def test_an_added_token_that_is_found_in_text_is_not_berts(tmp_path: Path) -> None:
    added = [{"id": 7, "content": "E1", "special": False}]
    vocabulary = load_vocabulary(VocabularyConfig(vocab=_write(tmp_path, {**_tokenizer(), "added_tokens": added})))
    assert vocabulary.tokenizer is not None
    assert vocabulary.entries[7] == "E1"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not a tokenizer.json"),
        ("[]", "not a tokenizer.json"),
        ("{}", "not a tokenizer.json"),
        ({"model": 3, "normalizer": None}, "not a tokenizer.json"),
        ({**_tokenizer(), "added_tokens": [{"id": 7}]}, "not a tokenizer.json"),
        (_tokenizer(model__vocab={"a": 0, "b": "1"}), "not a tokenizer.json"),
        (
            _tokenizer(model__vocab={"[PAD]": 0, "a": -1}),
            r"not a tokenizer.json \(its ids are no numbers from 0 on\); save it with the",
        ),
        (
            _tokenizer(model__vocab={"[PAD]": 0, "a": True}),
            r"not a tokenizer.json \(its ids are no numbers from 0 on\); save it with the",
        ),
        (_tokenizer(model__vocab={"[PAD]": 0, "a": 2**62}), "its ids go to 4,611,686,018,427,387,904 for 2 entries"),
        (_tokenizer(model__vocab={"[PAD]": 0}), "it has no token for cls, sep, mask; add <s>, </s>, <mask> to its"),
        (
            _tokenizer(model__type="BPE", model__dropout=0.1),
            "its model drops merges at random; set its dropout to null",
        ),
    ],
)
def test_a_tokenizer_json_that_cannot_be_used_is_refused(tmp_path: Path, content: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_vocabulary(VocabularyConfig(vocab=_write(tmp_path, content)))


# --- Any other tokenizer.json


def _roles(**changes: Any) -> tuple[int | None, ...]:
    """The ids of pad, unk, cls, sep and mask in a byte-level tokenizer.json with changes."""
    text = trained.changed(trained.byte_level(), lambda content: content.update(changes))
    return tuple(vocabulary_from_tokenizer("bpe", text).special.as_dict().values())


_ENDS = {"special_tokens": {"<b>": {"ids": [9]}, "<e>": {"ids": [8]}}, "type": "TemplateProcessing"}
_FRAMED = {
    **_ENDS,
    "single": [{"SpecialToken": {"id": "<b>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<e>"}}],
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1, 3, 0, 2, 4)),
        ({"post_processor": None}, (1, 3, 0, 2, 4)),
        ({"post_processor": {"type": "ByteLevel"}}, (1, 3, 0, 2, 4)),
        ({"post_processor": {"type": "BertProcessing", "cls": ["x", 7], "sep": ["y", 6]}}, (1, 3, 7, 6, 4)),
        ({"post_processor": _FRAMED}, (1, 3, 9, 8, 4)),
        ({"post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}, _FRAMED]}}, (1, 3, 9, 8, 4)),
        ({"post_processor": {**_FRAMED, "single": _FRAMED["single"][1:]}}, (1, 3, 0, 8, 4)),
        ({"post_processor": {**_FRAMED, "single": _FRAMED["single"][:2]}}, (1, 3, 9, 2, 4)),
        ({"padding": {"pad_id": 5, "pad_token": "x"}}, (5, 3, 0, 2, 4)),
    ],
)
def test_roles_are_read_from_the_post_processor_and_padding_or_else_from_names(
    changes: dict[str, Any], expected: tuple[int, ...]
) -> None:
    assert _roles(**changes) == expected


def test_an_id_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="its id for cls is 600, and it has 600 entries"):
        _roles(post_processor={"type": "BertProcessing", "cls": ["x", 600], "sep": ["y", 6]})


def test_a_byte_level_tokenizer_needs_no_unknown_token() -> None:
    def without(content: dict[str, Any]) -> None:
        content["added_tokens"][3]["content"] = "<other>"
        content["model"]["vocab"]["<other>"] = content["model"]["vocab"].pop("<unk>")

    vocabulary = vocabulary_from_tokenizer("bpe", trained.changed(trained.byte_level(), without))
    assert vocabulary.special.unk is None
    assert vocabulary.special_tokens == {"<s>": 0, "<pad>": 1, "</s>": 2, "<other>": 3, "<mask>": 4}
    assert vocabulary.ordinary_ids[0] == 5


def test_the_model_says_what_is_unknown() -> None:
    unigram = vocabulary_from_tokenizer("u", trained.changed(trained.unigram(), lambda c: c["model"].update(unk_id=7)))
    assert unigram.special.unk == 7
    words = vocabulary_from_tokenizer("w", trained.whole_words())
    assert words.entries[words.special.unk or 0] == "<unk>"


def test_special_added_tokens_are_not_ordinary_and_other_added_ones_are() -> None:
    def add(content: dict[str, Any]) -> None:
        known = content["added_tokens"][0]
        content["added_tokens"] += [
            {**known, "id": 600, "content": "<x>"},
            {**known, "id": 601, "content": "y", "special": False},
        ]

    vocabulary = vocabulary_from_tokenizer("bpe", trained.changed(trained.byte_level(), add))
    ordinary = vocabulary.ordinary_ids.tolist()
    assert ordinary == [*range(5, 600), 601]
    assert "<x>" in vocabulary.special_tokens


def test_the_hash_is_of_the_whole_text() -> None:
    text = trained.byte_level()
    assert vocabulary_from_tokenizer("a", text).sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert vocabulary_from_tokenizer("a", text + " ").sha256 != vocabulary_from_tokenizer("a", text).sha256


def test_word_starts_do_not_follow_from_ids() -> None:
    with pytest.raises(ConfigError, match="word starts do not follow from its ids"):
        vocabulary_from_tokenizer("a", trained.byte_level()).word_start_table  # noqa: B018


@pytest.mark.parametrize("cased", [True, False])
def test_a_casing_given_with_another_tokenizer_is_refused(tmp_path: Path, cased: bool) -> None:
    path = _write(tmp_path, trained.byte_level())
    with pytest.raises(
        ConfigError, match=f"its own normalizer decides about case; leave --{'' if cased else 'un'}cased out"
    ):
        load_vocabulary(VocabularyConfig(vocab=path, cased=cased))


def test_a_text_too_long_for_a_manifest_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"characters, at most 25,165,824 are kept; save it without indentation"):
        vocabulary_from_tokenizer("a", trained.byte_level() + " " * (24 << 20))


# --- Casing


def test_a_casing_that_contradicts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(_tokenizer()))
    with pytest.raises(ConfigError, match="is uncased, and --cased was given: leave it out"):
        load_vocabulary(VocabularyConfig(vocab=str(path), cased=True))
    with pytest.raises(ConfigError, match="vocabulary cased is cased, and --uncased was given"):
        load_vocabulary(VocabularyConfig(vocab="cased", cased=False))
    assert load_vocabulary(VocabularyConfig(vocab="uncased", cased=False)).name == "uncased"


# --- Refused


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "it is empty"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", r"it lacks \[MASK\]; add an entry"),
        (b"a\n", r"it lacks \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        (b"[PAD]\n\xff", "not UTF-8 at byte 6"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=expected):
        load_vocabulary(VocabularyConfig(vocab=str(path), cased=True))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (("a", "b", "a"), r"'a' is there twice, as 5 and 7; call the first \[unusedN\], so that no later id moves"),
        (("", "a"), r"entry 5 is empty; call it \[unusedN\], so that no later id moves"),
    ],
)
def test_entries_that_no_file_gave_are_refused_where_one_is_empty_or_there_twice(
    entries: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        _of(*entries)


def test_a_file_without_casing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(SPECIAL))
    with pytest.raises(ConfigError, match="say with --cased or --uncased"):
        load_vocabulary(VocabularyConfig(vocab=str(path)))


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no/vocab\.txt: no such file"):
        load_vocabulary(VocabularyConfig(vocab="no/vocab.txt", cased=True))


def test_a_vocabulary_without_ordinary_entries_is_refused_when_they_are_needed() -> None:
    with pytest.raises(ConfigError, match="special and unused entries only"):
        _of("[unused1]").ordinary_ids  # noqa: B018


# --- The defence taken out


def test_a_vocabulary_that_nobody_looks_at_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vocabulary, "__post_init__", lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_file_that_cannot_be_used_is_refused(tmp_path, b"a\n", "it lacks")
