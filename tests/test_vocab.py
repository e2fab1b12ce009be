"""Vocabularies: the two that ship, files, and everything that is refused."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.vocab import Vocabulary, load_vocabulary, vocabulary_from_entries

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
        assert bool(vocabulary.word_start_table[number]) is not entry.startswith("##")
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
    path.write_text("\n".join([*SPECIAL, "a\u2028b", "c\x85", "d\x0b"]) + "\n")
    assert load_vocabulary(VocabularyConfig(vocab=str(path), cased=True)).entries[5:] == ("a\u2028b", "c\x85", "d\x0b")


# --- tokenizer.json


def _tokenizer(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model": {"type": "WordPiece", "vocab": {entry: i for i, entry in enumerate((*SPECIAL, "a", "##b"))}},
        "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
    }
    for name, value in changes.items():
        part, key = name.split("__")
        content[part] = {**content[part], key: value}
    return content


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_tokenizer_json_says_its_casing(tmp_path: Path, lowercase: bool) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(_tokenizer(normalizer__lowercase=lowercase)))
    vocabulary = load_vocabulary(VocabularyConfig(vocab=str(path)))
    assert (vocabulary.entries[5:], vocabulary.cased) == (("a", "##b"), not lowercase)


def test_a_tokenizer_json_that_the_library_wrote_is_read(tmp_path: Path) -> None:
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer({entry: i for i, entry in enumerate((*SPECIAL, "été"))}, lowercase=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "tokenizer.json")))
    assert (vocabulary.entries, vocabulary.cased) == ((*SPECIAL, "été"), True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not a tokenizer.json"),
        ("[]", "not a tokenizer.json"),
        ("{}", "not a tokenizer.json"),
        (json.dumps({"model": 3, "normalizer": None}), "not a tokenizer.json"),
        (json.dumps(_tokenizer(model__type="BPE")), "its model is BPE"),
        (json.dumps(_tokenizer(model__continuing_subword_prefix="@@")), "only WordPiece with ##"),
        (json.dumps(_tokenizer(normalizer__type="NFC")), "its normalizer is not BERT's"),
        (json.dumps(_tokenizer(normalizer__strip_accents=False)), "its normalizer is not BERT's"),
        (json.dumps({**_tokenizer(), "normalizer": None}), "its normalizer is not BERT's"),
        (json.dumps(_tokenizer(model__vocab={"[PAD]": 0, "a": 2})), "its ids are not 0 to 1 without gaps"),
        (json.dumps(_tokenizer(model__vocab={"[PAD]": 0})), "it lacks"),
    ],
)
def test_a_tokenizer_json_that_cannot_be_used_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=expected):
        load_vocabulary(VocabularyConfig(vocab=str(path)))


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
        ("\n".join([*SPECIAL, "a", "a"]).encode(), "'a' is there twice, as 5 and 6; remove one"),
        ("\n".join([*SPECIAL, "", "a"]).encode(), r"entry 5 \(line 6\) is empty"),
        (b"[PAD]\n\xff", "not UTF-8 at byte 6"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=expected):
        load_vocabulary(VocabularyConfig(vocab=str(path), cased=True))


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
