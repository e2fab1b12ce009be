"""Vocabularies trained on real text: the same bytes whatever the library does, ids as transformers has them, and what is left out told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from figures import figure
from tokenizers import Tokenizer as Library
from transformers import AutoTokenizer

from spanmask import ConfigError, CorpusError, Tokenizer, load_vocabulary
from spanmask.config import VocabularyConfig, VocabularyKind
from spanmask.tokenization.training import alphabet_of
from spanmask.tokenizer_json import ROLES
from spanmask.vocabularies.config import TrainingConfig
from spanmask.vocabularies.text import broken_up
from spanmask.vocabularies.training import train_vocabulary

STORIES = resources.files("spanmask.data").joinpath("poe.txt").read_text("utf-8")
KINDS = list(VocabularyKind)
#: Texts with what trips tokenizers up: other scripts, names of special tokens, white space.
TEXTS = [
    *STORIES[9_000:12_000].split("\n"),
    "Łódź 中文 [MASK] <s> ##ing ▁x\u0301",
    " a  b\tc ",
    "naïve 🏳️‍🌈 12²",
    "x" * 300,
]


def _write(folder: Path, text: str = STORIES[:60_000]) -> Path:
    path = folder / "text.txt"
    path.write_text(text, "utf-8")
    return path


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind, and WordPiece's uncased."""
    folder = tmp_path_factory.mktemp("trained")
    text = _write(folder)
    wanted = {kind: TrainingConfig.of(kind=kind, size=700) for kind in KINDS}
    wanted["uncased"] = TrainingConfig.of(size=700, cased=False)
    for name, config in wanted.items():
        train_vocabulary(text, folder / name, config)
    return {name: folder / name for name in wanted}


@pytest.mark.parametrize("name", [*KINDS, "uncased"])
def test_ids_are_those_that_transformers_and_the_library_give(trained: dict[str, Path], name: str) -> None:
    folder = trained[name]
    ours, theirs = Tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)
    library: Any = Library.from_file(str(folder / "tokenizer.json"))
    for text in TEXTS:
        ids = ours.encode([text], specials="parse").token_ids.tolist()
        assert theirs(text, add_special_tokens=False).input_ids == ids
        assert library.encode(text, add_special_tokens=False).ids == ids
    assert ours.through_library is None, "what is trained here is compiled"
    special = ours.vocabulary.special
    framed = theirs("cat").input_ids
    assert (framed[0], framed[-1]) == (special.cls, special.sep)
    known = {role: getattr(theirs, f"{role}_token_id") for role in ROLES}
    assert known == special.as_dict()


@pytest.mark.parametrize("name", KINDS)
def test_masks_one_after_another_have_no_entry_between_them(trained: dict[str, Path], name: str) -> None:
    ours, theirs = Tokenizer(str(trained[name])), AutoTokenizer.from_pretrained(trained[name])
    mask = theirs.mask_token
    for text in (f"a {mask} {mask} cat", f"{mask}{mask} a cat", f"a  {mask}\t{mask}."):
        ids = ours.encode([text], specials="parse").token_ids.tolist()
        assert ids == theirs(text, add_special_tokens=False).input_ids
        first = ids.index(theirs.mask_token_id)
        assert ids[first : first + 2] == [theirs.mask_token_id] * 2


@pytest.mark.parametrize("name", [*KINDS, "uncased"])
def test_a_vocabulary_has_as_many_entries_as_were_asked_for_and_fits_its_text(
    trained: dict[str, Path], name: str
) -> None:
    vocabulary = load_vocabulary(VocabularyConfig(vocab=str(trained[name])))
    assert len(vocabulary) == 700
    assert vocabulary.cased == {"wordpiece": True, "uncased": False}.get(name)
    known, letters = Tokenizer(vocabulary).encode([STORIES[:60_000]]), 60_000
    assert not (known.token_ids == vocabulary.special.unk).sum() > 3
    assert len(known.token_ids) < letters / 2.2
    assert set(_bytes(trained[name])) == {"tokenizer.json", "tokenizer_config.json"} | (
        set() if vocabulary.tokenizer else {"vocab.txt"}
    )


def test_the_same_vocab_txt_is_read_with_and_without_the_tokenizer_json_beside_it(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("wordpiece", "uncased"):
        files = _bytes(trained[name])
        del files["tokenizer.json"]
        for file, data in files.items():
            (tmp_path / file).write_bytes(data)
        alone, both = (load_vocabulary(VocabularyConfig(vocab=str(path))) for path in (tmp_path, trained[name]))
        assert (alone.sha256, alone.cased) == (both.sha256, both.cased)


_CHILD = """
import sys
from spanmask.vocabularies.config import TrainingConfig
from spanmask.vocabularies.training import train_vocabulary
for kind in sys.argv[3:]:
    train_vocabulary(sys.argv[1], f"{sys.argv[2]}/{kind}", TrainingConfig.of(kind=kind, size=700))
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"RAYON_NUM_THREADS": "3"},
        pytest.param({"RAYON_NUM_THREADS": "1"}, marks=pytest.mark.slow),
        pytest.param({"TOKENIZERS_PARALLELISM": "false"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_bytes_are_the_same_whatever_threads_and_hash_maps_do(
    trained: dict[str, Path], environment: dict[str, str], tmp_path: Path
) -> None:
    """In another process, whose hash maps have other seeds, with another number of threads."""
    arguments = [sys.executable, "-c", _CHILD, str(_write(tmp_path)), str(tmp_path), *KINDS]
    subprocess.run(arguments, check=True, env={**os.environ, **environment})
    for kind in KINDS:
        assert _bytes(tmp_path / kind) == _bytes(trained[kind])


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 3_000])
@pytest.mark.parametrize("kind", KINDS)
def test_many_trainings_give_the_same_bytes(tmp_path: Path, kind: str, size: int) -> None:
    text, seen = _write(tmp_path, STORIES), set[str]()
    for _ in range(figure(3, 5)):
        train_vocabulary(text, tmp_path / "out", TrainingConfig.of(kind=kind, size=size), overwrite=True)
        seen.add(hashlib.sha256(repr(_bytes(tmp_path / "out")).encode()).hexdigest())
    assert len(seen) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_any_format_with_the_same_documents_give_the_same_vocabulary(
    trained: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    documents = [part for part in STORIES[:60_000].split("\n\n") if part.strip()]
    lines = "".join(json.dumps({"body": part}) + "\n" for part in documents)
    first = lines[: lines.index("\n", len(lines) // 2) + 1]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(first)
    (tmp_path / "in" / "b.jsonl").write_text(lines.removeprefix(first))
    config = TrainingConfig.of(kind=kind, size=700, text_field="body")
    found = train_vocabulary(tmp_path / "in", tmp_path / "out", config)
    assert found.vocabulary.sha256 == load_vocabulary(VocabularyConfig(vocab=str(trained[kind]))).sha256
    assert (found.amount.documents, len(found.inputs.files)) == (len(documents), 2)


def test_rare_characters_are_left_out_by_the_share_they_have_and_ascii_is_always_there() -> None:
    counts = {"a": 900_000, "é": 99_990, "中": 9, "\u2003": 50}
    some = alphabet_of(VocabularyKind.WORDPIECE, counts, cased=True, coverage=0.9999)
    assert {"a", "é", "~"} <= set(some.letters)
    assert some.left == ("中",)
    assert alphabet_of(VocabularyKind.UNIGRAM, counts, cased=True, coverage=1.0).left == ()
    lower = alphabet_of(VocabularyKind.WORDPIECE, {"É": 10, "B": 10}, cased=False, coverage=1.0)
    assert {"e", "b"} <= set(lower.letters)
    assert not {"B", "É", "é"} & set(lower.letters)


@pytest.mark.parametrize("kind", [VocabularyKind.WORDPIECE, VocabularyKind.UNIGRAM])
def test_a_rare_character_is_unknown_and_keeps_its_neighbours_apart(tmp_path: Path, kind: str) -> None:
    text = _write(tmp_path, "thex中they thex中they thex中they\n" + STORIES[:60_000])
    config = TrainingConfig.of(kind=kind, size=400, coverage=0.999)
    found = train_vocabulary(text, tmp_path / "out", config)
    assert "中" in found.alphabet.left
    assert not any("中" in entry or "xthe" in entry for entry in found.vocabulary.entries)


def test_long_texts_and_words_reach_trainers_in_parts() -> None:
    text = "one two\nthree " + "x" * 25 + " four"
    parts = list(broken_up(text, most=12, longest=10))
    assert all(len(word) <= 10 for part in parts for word in part.split())
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert parts[0] == "one two"
    assert list(broken_up(text)) == [text]
    assert list(broken_up("")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_one_endless_word_is_trained_on_in_bounded_time(tmp_path: Path, kind: str) -> None:
    found = train_vocabulary(_write(tmp_path, "ab" * 100_000), tmp_path / "out", TrainingConfig.of(kind=kind, size=400))
    assert 5 < len(found.vocabulary) <= 400


@pytest.mark.parametrize(
    ("kind", "size", "least"), [("wordpiece", 100, "161"), ("bpe", 261, "261"), ("unigram", 50, "99")]
)
def test_a_size_too_small_for_the_alphabet_is_refused_with_the_least(
    tmp_path: Path, kind: str, size: int, least: str
) -> None:
    text = _write(tmp_path, "abc")
    with pytest.raises(
        ConfigError, match=rf"size is {size}: .* alphabet alone have {least} entries; give a larger --size"
    ):
        train_vocabulary(text, tmp_path / "out", TrainingConfig.of(kind=kind, size=size))
    assert not (tmp_path / "out").exists()


def test_a_text_of_white_space_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no text to make a vocabulary of: .* give others"):
        train_vocabulary(_write(tmp_path, " \n\n \u3000"), tmp_path / "out", TrainingConfig())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "bpe", "cased": False}, "a bpe vocabulary keeps case: leave --uncased out"),
        ({"kind": "unigram", "min_frequency": 3}, "a unigram trainer has no such limit: leave it out"),
        ({"size": 0}, "size is 0: give a number of entries from 1"),
        ({"coverage": 1.5}, "coverage is 1.5: give a share above 0, at most 1"),
        ({"min_frequency": 0}, "min_frequency is 0: give a number of times from 1"),
        ({"keep": ["id"]}, "field 'id': a vocabulary is made of the text alone"),
        ({"exclude": ["id=f.txt"]}, "field 'id': a vocabulary is made of the text alone"),
        ({"exclude": ["text=f.txt"]}, "field 'text': a vocabulary is made of the text alone"),
        ({"kind": "wordpeice"}, "kind is 'wordpeice': give one of wordpiece, bpe, unigram"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TrainingConfig.of(**options)
