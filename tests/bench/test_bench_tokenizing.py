"""`spanmask bench tokenize`, from texts to the table."""

from __future__ import annotations

import json
import unicodedata
from itertools import chain

import numpy as np
import pytest
from click.testing import CliRunner
from spanmask_bench import peers, texts, tokenizing
from spanmask_bench.baselines import library_tokenizer
from spanmask_cli.bench import command

import spanmask
from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.vocab import load_vocabulary

STORIES = texts.read([], 60_000)
GREEK, CHINESE = texts.greek(20_000), texts.chinese(20_000)


def test_a_text_ends_with_the_document_that_reaches_the_limit():
    sizes = [len(document.encode()) for document in STORIES.documents]
    assert sum(sizes[:-1]) < 60_000 <= sum(sizes) == STORIES.size
    assert STORIES.described["names"] == ["poe.txt"]
    assert not any("\n\n" in document for document in STORIES.documents)


def test_files_are_read_as_presharding_reads_them(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One.\\n\\nTwo."}\n{"text": "\\n"}\n{"text": "Ünö"}\n', "utf-8")
    found = texts.read([str(tmp_path)], 10**9)
    assert found.documents == ["One.\nTwo.", "Ünö"]
    assert found.described["names"] == ["a.jsonl"]
    assert found.size == 14
    (tmp_path / "a.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(ConfigError, match="no text"):
        texts.read([str(tmp_path)], 10**9)


@pytest.mark.parametrize(("made", "script", "share"), [(texts.chinese, "CJK", 0.8), (texts.greek, "GREEK", 0.8)])
def test_made_up_text_is_mostly_in_its_script_and_the_same_every_time(made, script, share):
    found = made(200_000)
    letters = "".join(found.documents)
    named = sum(unicodedata.name(character, "").startswith(script) for character in letters)
    assert named / len(letters) > share
    assert found.size == pytest.approx(200_000, rel=0.02)
    assert len(found.documents) == pytest.approx(200_000 / texts.DOCUMENT_BYTES, abs=1)
    assert made(200_000).described == found.described


def test_made_up_words_follow_zipfs_law():
    counts = np.unique(list("".join(texts.chinese(300_000).documents)), return_counts=True)
    ranked = np.sort(counts[1][[character.isalpha() for character in counts[0]]])[::-1]
    assert 7 < ranked[0] / ranked[9] < 13


@pytest.mark.parametrize("into", library_tokenizer.CUTS)
@pytest.mark.parametrize("method", library_tokenizer.METHODS)
@pytest.mark.parametrize("vocab", tokenizing.VOCABULARIES)
def test_the_library_gives_our_ids_however_it_is_called(vocab, method, into):
    vocabulary = load_vocabulary(VocabularyConfig(vocab=vocab))
    documents = [*STORIES.documents[:2], *GREEK.documents, *CHINESE.documents]
    library = library_tokenizer.LibraryTokenizer(vocabulary, documents, method, into)
    ours = spanmask.Tokenizer(vocabulary).encode(documents).token_ids
    assert tokenizing.require_equal(ours, library.ids()) == len(ours) > 10_000


def test_other_ids_are_noticed():
    with pytest.raises(AssertionError, match="token 1 is 6 for spanmask, and 7"):
        tokenizing.require_equal(np.array([5, 6]), np.array([5, 7]))
    with pytest.raises(AssertionError, match="1 tokens"):
        tokenizing.require_equal(np.array([5]), np.array([5, 7]))


@pytest.mark.parametrize("into", library_tokenizer.CUTS)
def test_cuts_lose_nothing(into):
    pieces = library_tokenizer.cut(STORIES.documents, into)
    assert "".join(pieces) == "".join(STORIES.documents)
    if into == "pieces":
        sizes = [len(piece) for piece in pieces]
        assert np.median(sizes) > library_tokenizer.PIECE_CHARACTERS / 2
        assert max(sizes) <= max(
            library_tokenizer.PIECE_CHARACTERS,
            *map(len, chain.from_iterable(text.splitlines() for text in STORIES.documents)),
        )


def test_the_fastest_way_is_chosen(monkeypatch):
    """Where every second call takes a tenth of the time of the one before, the last way tried is the fastest."""
    taken = iter(10.0**-place for place in range(100))
    monkeypatch.setattr(library_tokenizer, "seconds", lambda _: next(taken))
    vocabulary = load_vocabulary(VocabularyConfig())
    library, tried = library_tokenizer.fastest(vocabulary, STORIES.documents[:1])
    assert len(tried) == len(library_tokenizer.METHODS) * len(library_tokenizer.CUTS)
    assert library.described["method"] == library_tokenizer.METHODS[-1]
    assert library.described["cut"] == library_tokenizer.CUTS[-1]


def test_every_round_begins_with_a_tokenizer_that_has_seen_no_word():
    ours = tokenizing._Ours(load_vocabulary(VocabularyConfig()), ["A word."])
    before = ours._tokenizer
    ours.renew()
    assert ours._tokenizer is not before
    assert len(ours.construct_seconds) == 2


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenize")
    (folder / "prose.txt").write_text("\n\n".join(STORIES.documents[:3]), "utf-8")
    arguments = ["tokenize", str(folder / "prose.txt"), "--rounds", "2", "--megabytes", "0.04", "--vocab", "uncased"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizing, "TEXTS", ("prose", "Chinese"))
        done = CliRunner().invoke(command, [*arguments, "--json", str(folder / "out.json")], catch_exceptions=False)
    return done, folder / "out.json"


def test_a_run_says_how_fast_every_contestant_is(tiny_run):
    done, path = tiny_run
    assert done.exit_code == 0
    result = json.loads(path.read_text("utf-8"))
    assert done.stdout == tokenizing.table(result)
    assert set(result["cases"]) == {"prose, uncased", "Chinese, uncased"}
    assert set(result["goals"]) == set(result["cases"])
    assert "tokenizers" in result["versions"]
    assert str(path.parent) not in path.read_text("utf-8")


def test_rates_are_bytes_of_the_text_by_seconds(tiny_run):
    result = json.loads(tiny_run[1].read_text("utf-8"))
    for case in result["cases"].values():
        assert case["tokens"] > 1000
        assert len(case["construct_seconds"]) == 3
        rates = {}
        for name in tokenizing.CONTESTANTS:
            found = case["contestants"][name]
            rates[name] = case["input"]["bytes"] / np.array(found["seconds"])
            assert found["bytes_per_second"]["median"] == pytest.approx(np.median(rates[name]))
        ratio = case["ratios"]["spanmask / tokenizers"]["rounds"]
        assert ratio == pytest.approx(rates["spanmask"] / rates["tokenizers"])


def test_a_missing_package_is_named_with_what_installs_it():
    with pytest.raises(ConfigError, match=r"no_such_package not installed.*pip install 'spanmask\[bench\]'"):
        peers.load("no_such_package")
    assert peers.load("json") is json
