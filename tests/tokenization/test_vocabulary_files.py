"""Files of WordPiece vocabularies as the libraries read them, an id a line, whatever stands on it; and models that learnt with one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers
from trained import byte_level

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.model.tokenizer_files import read_tokenizer, tokenizer_files
from spanmask.tokenization import Tokenizer
from spanmask.tokenizer_json import ROLES
from spanmask.vocab import Vocabulary, load_vocabulary

_HEAD = "".join(f"{token}\n" for token in ROLES.values())
_TEXTS = [
    "cat dog bird fox owl cats dogs",
    "the cat  and\tthe dogs\nrat",
    "[unused0] [MASK] a\u2028b \ufeffcat c\x85",
    "Cat DOG",
]
#: Files that the libraries read, and what each line of theirs is.
_READ = {
    "a space behind an entry": "cat \ndog\t\nbird\n##s  \n",
    "odd white space behind an entry": "cat\u00a0\ndog\u3000\nbird\u2028\nfox\x85\nrat\x0b\nowl\u1680\n",
    "what is no white space behind an entry": "cat\u200b\ndog\x1c\nbird\nfox\x1f\n",
    "white space before an entry": " cat\ndog\n\tbird\n",
    "a blank line": "cat\n\ndog\n##s\n",
    "blank lines": "cat\n\n \n\t\ndog\n##s\n",
    "blank lines at the end": "cat\ndog\n##s\n\n \n\n",
    "an entry twice": "cat\ndog\ncat\nbird\n##s\n",
    "an entry twice but for white space": "cat\ndog\ncat \nbird\n",
    "a piece three times": "##s\ncat\n##s\n##s\ndog\n",
    "a special token twice": "cat\n[MASK]\ndog\n[UNK]\nbird\n",
    "an unused entry twice": "[unused0]\ncat\n[unused0]\n[unused1]\n\ndog\n",
    "windows lines": "cat\r\ndog\r\n\r\nbird\r\n",
    "no newline at the end": "cat\ndog ",
    "separators inside an entry": "a\u2028b\nc\x85d\ncat\rdog\nbird\n",
}


def _vocabulary(folder: Path, body: str, *, cased: bool = False) -> Vocabulary:
    path = folder / "vocab.txt"
    path.write_bytes((_HEAD + body).encode())
    return load_vocabulary(VocabularyConfig(vocab=str(path), cased=cased))


def _library(ids: dict[str, int], *, cased: bool = False) -> Any:
    library: Any = Library(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    library.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return library


def _ids(library: Any, texts: Sequence[str] = _TEXTS) -> list[int]:
    encodings = library.encode_batch(texts, add_special_tokens=False)
    return [number for encoding in encodings for number in encoding.ids]


@pytest.mark.parametrize("body", _READ.values(), ids=_READ)
def test_a_file_has_the_ids_that_the_libraries_give_it(tmp_path: Path, body: str) -> None:
    vocabulary = _vocabulary(tmp_path, body)
    known = models.WordPiece.read_file(str(tmp_path / "vocab.txt"))
    assert Tokenizer(vocabulary).encode(_TEXTS).token_ids.tolist() == _ids(_library(known))
    assert {role: known[token] for role, token in ROLES.items()} == vocabulary.special.as_dict()
    dead = set(range(len(vocabulary))) - set(known.values())
    assert not dead & set(vocabulary.ordinary_ids.tolist())


@pytest.mark.parametrize("body", _READ.values(), ids=_READ)
def test_a_file_written_again_has_the_same_ids(tmp_path: Path, body: str) -> None:
    vocabulary = _vocabulary(tmp_path, body)
    before = _ids(_library(models.WordPiece.read_file(str(tmp_path / "vocab.txt"))))
    for name, data in tokenizer_files(vocabulary, max_tokens=128).items():
        (tmp_path / name).write_bytes(data)
    assert _ids(_library(models.WordPiece.read_file(str(tmp_path / "vocab.txt")))) == before
    assert read_tokenizer(tmp_path).sha256 == vocabulary.sha256


def test_a_tokenizer_that_the_library_saved_of_a_list_with_doubles_goes_on_with_its_ids(tmp_path: Path) -> None:
    body = "cat\n\ndog\ncat\n\n##s\nbird\n"
    listed = _vocabulary(tmp_path, body)
    library = _library(models.WordPiece.read_file(str(tmp_path / "vocab.txt")))
    library.save(str(tmp_path / "tokenizer.json"))
    saved = load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "tokenizer.json")))
    assert saved.entries == listed.entries
    assert saved.entries[5:] == ("[unused0]", "[unused1]", "dog", "cat", "[unused2]", "##s", "bird")
    assert Tokenizer(saved).encode(_TEXTS).token_ids.tolist() == _ids(library)


#: Entries that a tokenizer.json of BERT's may hold and a vocab.txt may not: no text becomes them.
_UNWRITABLE = {"cat ": 5, "dog\nbird": 6, "": 7, "fox\x85": 8, "\u3000": 9, "cat": 10, "##s": 11, "dog": 13}


@pytest.mark.parametrize("cased", [True, False])
def test_entries_that_no_line_can_hold_move_no_id_of_an_exported_vocabulary(tmp_path: Path, *, cased: bool) -> None:
    ids = {token: number for number, token in enumerate(ROLES.values())} | _UNWRITABLE
    library = _library(ids, cased=cased)
    library.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "tokenizer.json")))
    assert vocabulary.tokenizer is None
    assert Tokenizer(vocabulary).encode(_TEXTS).token_ids.tolist() == _ids(library)
    (tmp_path / "vocab.txt").write_bytes(tokenizer_files(vocabulary, max_tokens=128)["vocab.txt"])
    assert _ids(_library(models.WordPiece.read_file(str(tmp_path / "vocab.txt")), cased=cased)) == _ids(library)


def test_entries_of_a_dataset_that_no_line_can_hold_move_no_id_either() -> None:
    entries = (*ROLES.values(), "cat ", "dog", "\ufeffx", "b\n")
    vocabulary = Vocabulary(name="old", entries=entries, cased=True)
    lines = tokenizer_files(vocabulary, max_tokens=128)["vocab.txt"].decode().split("\n")
    assert lines == [*ROLES.values(), "[unused0]", "dog", "[unused1]", "[unused2]", ""]


def test_two_entries_of_one_id_are_both_that_id(tmp_path: Path) -> None:
    library = _library({token: number for number, token in enumerate(ROLES.values())} | {"cat": 5, "dog": 5, "##s": 6})
    content = json.loads(library.to_str())
    content["model"]["vocab"] |= {"cat": 5, "dog": 5}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    vocabulary = load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "tokenizer.json")))
    assert Tokenizer(vocabulary).encode(["cat dogs"]).token_ids.tolist() == [5, 5, 6]


def test_an_added_token_with_the_id_of_another_entry_takes_no_entry_away(tmp_path: Path) -> None:
    tokens = list(ROLES.values())
    library = _library({token: number for number, token in enumerate([*tokens[:3], "cat", *tokens[4:], "dog", "##s"])})
    content = json.loads(library.to_str())
    added = {"id": 3, "content": "[SEP]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content["added_tokens"] = [{**added, "special": True}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"'\[SEP\]' has id 3, the tokenizers library gives it 7"):
        Tokenizer(load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "tokenizer.json"))))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"\xef\xbb\xbf" + _HEAD.encode() + b"cat\n",
            "byte-order mark.*save it as UTF-8 without one, which moves no id",
        ),
        (b"\xef\xbb\xbfcat\n" + _HEAD.encode(), "byte-order mark"),
        (_HEAD.replace("\n", "\r").encode(), "its lines end with carriage returns only; end them with newlines"),
        ((_HEAD + "cat\n").encode("utf-16"), "not UTF-8 at byte 0; convert it"),
        (b" \n\n", "it is empty"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n", r"it lacks \[MASK\]; add an entry for each at its end"),
    ],
)
def test_advice_about_a_file_moves_no_id(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(data)
    with pytest.raises(ConfigError, match=expected):
        load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "vocab.txt"), cased=True))


def test_a_folder_is_the_tokenizer_in_it_with_its_casing(tmp_path: Path) -> None:
    for folder, lower in (("lower", True), ("upper", False)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "vocab.txt").write_text(_HEAD + "cat\n")
        (tmp_path / folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
        found = load_vocabulary(VocabularyConfig(vocab=str(tmp_path / folder)))
        assert (found.cased, found.entries[-1]) == (not lower, "cat")
    (tmp_path / "lower" / "tokenizer.json").write_text(byte_level())
    assert load_vocabulary(VocabularyConfig(vocab=str(tmp_path / "lower"))).tokenizer == byte_level()
    assert Tokenizer(str(tmp_path / "upper")).encode(["cat"]).token_ids.tolist() == [len(_HEAD.split())]


def test_a_folder_whose_casing_is_not_known_needs_it_and_one_that_tells_it_agrees(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(_HEAD + "cat\n")
    with pytest.raises(ConfigError, match=r"vocab\.txt: say with --cased or --uncased"):
        load_vocabulary(VocabularyConfig(vocab=str(tmp_path)))
    assert load_vocabulary(VocabularyConfig(vocab=str(tmp_path), cased=False)).cased is False
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(ConfigError, match=rf"vocabulary {tmp_path} is uncased, and --cased was given: leave it out"):
        load_vocabulary(VocabularyConfig(vocab=str(tmp_path), cased=True))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}')
    with pytest.raises(ConfigError, match=r"strip_accents is False, and vocab\.txt is read as BERT has it"):
        load_vocabulary(VocabularyConfig(vocab=str(tmp_path)))


def test_a_folder_without_a_tokenizer_and_a_file_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it has neither tokenizer\.json nor vocab\.txt; save the model's tokenizer"):
        load_vocabulary(VocabularyConfig(vocab=str(tmp_path), cased=True))
    os.mkfifo(tmp_path / "vocab.txt")
    with pytest.raises(ConfigError, match=r"vocab\.txt: a folder, pipe or device, expected a file"):
        load_vocabulary(VocabularyConfig(vocab=str(tmp_path), cased=True))
    with pytest.raises(ConfigError, match="more than 100,663,296 bytes"):
        load_vocabulary(VocabularyConfig(vocab="/dev/zero", cased=True))


@pytest.mark.slow
@pytest.mark.parametrize("body", _READ.values(), ids=_READ)
def test_transformers_gives_an_exported_vocabulary_the_ids_it_was_trained_on(tmp_path: Path, body: str) -> None:
    from transformers import BertTokenizer

    vocabulary = _vocabulary(tmp_path, body)
    for name, data in tokenizer_files(vocabulary, max_tokens=128).items():
        (tmp_path / name).write_bytes(data)
    found: Any = BertTokenizer.from_pretrained(tmp_path)(_TEXTS[:2], add_special_tokens=False).input_ids
    assert [number for ids in found for number in ids] == Tokenizer(vocabulary).encode(_TEXTS[:2]).token_ids.tolist()
