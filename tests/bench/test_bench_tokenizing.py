"""`spanmask bench tokenize`, from texts to the table."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from spanmask_bench import exactness, peers, performance, texts, tokenizer_files, tokenizing, tokenizing_table
from spanmask_bench.baselines import fast_tokenizers, library_tokenizer
from spanmask_bench.baselines.fast_tokenizers import CONTESTANTS, LIBRARY, OURS
from spanmask_cli.bench import command

from spanmask.errors import ConfigError

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


@pytest.mark.slow
def test_code_is_python_as_it_is_written():
    found = texts.code(300_000)
    assert found.size >= 300_000
    assert found.documents[0] == Path(json.__file__).parents[1].joinpath("__future__.py").read_bytes().decode()
    assert texts.code(300_000).described == found.described


def test_mixed_text_has_all_scripts_in_like_shares_and_is_the_same_every_time():
    found = texts.mixed(200_000)
    letters = Counter("".join(found.documents))
    counts = {
        script: sum(letters[letter] for letter in alphabet)
        for script, alphabet in texts.SCRIPTS.items()
        if script != "Latin"
    }
    assert min(counts.values()) > max(counts.values()) / 2
    assert found.size == pytest.approx(200_000, rel=0.05)
    assert texts.mixed(200_000).described == found.described


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prose", *texts.NAMES])
def test_a_text_is_divided_so_that_nothing_is_seen_twice(name):
    found = texts.parts(name, [], training=40_000, limit=30_000)
    parts = (found.training, found.warm_up.documents, found.measured.documents)
    for part, size in zip(parts, (40_000, 30_000, 30_000), strict=True):
        assert sum(len(document.encode()) for document in part[:-1]) < size
    taken = [document for part in parts for document in part]
    assert len(set(taken)) == len(taken)
    assert found.measured.described["kind"] == found.warm_up.described["kind"]
    assert found.measured.described["sha256"] != found.warm_up.described["sha256"]


def test_a_text_too_short_to_leave_some_to_training_is_measured_whole():
    found = texts.parts("prose", [], training=10**9, limit=10**9)
    assert sorted(found.training) == sorted([*found.warm_up.documents, *found.measured.documents])


def test_documents_that_name_a_special_token_are_not_measured(tmp_path):
    (tmp_path / "many.txt").write_text("\n\n".join(["One.", "Two <s> two.", "<mask>", "Three.", "[UNK] </s>", "Four."]))
    found = tokenizing._parts("prose", [str(tmp_path)], 1.0, 0.0)
    assert [*found.warm_up.documents, *found.measured.documents] == ["One.", "Four.", "Three."]


def test_one_document_cannot_be_divided(tmp_path):
    (tmp_path / "one.txt").write_text("One.\n")
    with pytest.raises(ConfigError, match="prose: one document"):
        texts.parts("prose", [str(tmp_path / "one.txt")], training=0, limit=100)


def test_a_text_of_which_training_leaves_one_document_is_measured_on_all(tmp_path):
    (tmp_path / "three.txt").write_text("\n\n".join(["a" * 500, "b" * 500, "c" * 500]), "utf-8")
    found = texts.parts("prose", [str(tmp_path / "three.txt")], training=1000, limit=300)
    assert [len(found.training), len(found.warm_up.documents), len(found.measured.documents)] == [2, 1, 1]


def test_cuts_lose_nothing():
    for document in STORIES.documents:
        pieces = list(library_tokenizer.pieces(document))
        assert "".join(pieces) == document
        longest = max(len(line) for line in document.splitlines(keepends=True))
        assert max(map(len, pieces)) <= max(library_tokenizer.PIECE_CHARACTERS, longest)
        assert all(len(piece) > library_tokenizer.PIECE_CHARACTERS / 2 for piece in pieces[:-1])


# --- What is read


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small tokenizer.json of each kind, by name: BERT's, and those that are trained."""
    folder = tmp_path_factory.mktemp("files")
    documents = [*STORIES.documents[:2], *texts.mixed(20_000).documents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_files, "user_cache_folder", lambda: folder)
        found = {
            name: tokenizer_files.prepare(vocabulary=name, paths=[], megabytes=1)["path"]
            for name in ("cased", "uncased")
        }
        small = {name: replace(kind, entries=1500) for name, kind in tokenizer_files.KINDS.items()}
        patch.setattr(tokenizer_files, "KINDS", small)
        for name, kind in small.items():
            if peers.missing([kind.trainer]):
                continue
            path = folder / f"{name}.json"
            path.write_text(tokenizer_files.train(name, documents), "utf-8")
            found[name] = str(path)
    return found


def _file(files, name):
    if name not in files:
        pytest.skip("its trainer belongs to the extra bench")
    return files[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Some leave the file open.
@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("cased", {"nanotoken", "tokie"}),
        ("uncased", {"nanotoken", "tokie"}),
        ("gpt-2", {"gigatoken", "tokie", "kitoken", "tiktoken"}),
        ("llama-3", {"gigatoken", "quicktok", "kitoken", "tiktoken"}),
        ("xlm-r", {"tokie"}),
    ],
)
def test_whoever_can_read_a_tokenizer_has_the_librarys_ids_in_every_way_it_is_called(files, name, readers):
    path = _file(files, name)
    text = texts.Text(documents=[*STORIES.documents[:2], *GREEK.documents, *CHINESE.documents], described={})
    part = texts.Parts(training=[], warm_up=texts.Text(documents=["a b", ""], described={}), measured=text)
    found, refused = exactness.readers_of(path)
    differences = {}
    exact = exactness.exact(found, path, "prose", part, differences)
    assert exact["tokens"] > 10_000
    there = {each for each in readers if not peers.missing([each])}
    assert there | {OURS, LIBRARY} <= set(exact["contestants"])
    assert set(found) | set(refused) == set(CONTESTANTS)
    assert set(differences) == set(found) - set(exact["contestants"])
    assert all("\n" not in reason for reason in refused.values())


def test_ours_differing_ends_a_run(files, monkeypatch):
    way = CONTESTANTS[OURS].ways["Tokenizer.encode, Arrow"]
    wrong = replace(way, flat=lambda found: (found.token_ids + 1, np.diff(found.document_offsets)))
    readers = {LIBRARY: CONTESTANTS[LIBRARY], OURS: replace(CONTESTANTS[OURS], ways={"wrong": wrong})}
    part = texts.Parts(training=[], warm_up=STORIES, measured=STORIES)
    with pytest.raises(AssertionError, match="prose: spanmask differs from the library"):
        exactness.exact(readers, files["cased"], "prose", part, {})


def test_the_first_difference_is_told():
    wanted = (np.arange(6), np.array([2, 0, 4]))
    assert exactness.first_difference(wanted, (np.arange(6, dtype=np.uint32), np.array([2, 0, 4]))) is None
    found = exactness.first_difference(wanted, (np.array([0, 1, 2, 9, 4, 5]), np.array([2, 0, 4])))
    assert found == {"document": 2, "token": 1, "ids": [9, 4, 5], "wanted": [3, 4, 5]}
    found = exactness.first_difference(wanted, (np.arange(5), np.array([2, 0, 3])))
    assert found == {"document": 2, "token": 3, "ids": [], "wanted": [5]}
    found = exactness.first_difference(wanted, (np.arange(6), np.array([2, 1, 3])))
    assert found == {"document": 1, "token": 0, "ids": [2], "wanted": []}


def test_characters_of_byte_level_vocabularies_stand_for_all_bytes():
    byte_of = fast_tokenizers._byte_of_character()
    alphabet = peers.load("tokenizers").pre_tokenizers.ByteLevel.alphabet()
    assert set(byte_of) == set(alphabet)
    assert sorted(byte_of.values()) == list(range(256))
    assert byte_of["Ġ"] == ord(" ")


@pytest.mark.slow
def test_a_trained_tokenizer_is_kept_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_files, "user_cache_folder", lambda: tmp_path)
    trained = []
    monkeypatch.setattr(
        tokenizer_files, "train", lambda kind, documents: trained.append(kind) or '{"model": {"vocab": {"a": 0}}}'
    )
    first, second, other = (
        tokenizer_files.prepare(vocabulary="gpt-2", paths=[], megabytes=size) for size in (0.05, 0.05, 0.1)
    )
    assert first == second
    assert first["path"] != other["path"]
    assert trained == ["gpt-2"] * 2
    assert first["described"]["entries"] == 1
    assert first["described"]["text"]["bytes"] > 50_000


def test_a_trained_unigram_has_the_normalizer_of_its_trainer(files):
    content = json.loads(Path(_file(files, "xlm-r")).read_text("utf-8"))
    assert content["normalizer"]["type"] == "Precompiled"
    library = peers.load("tokenizers").Tokenizer.from_file(files["xlm-r"])
    assert library.normalizer.normalize_str("ﬁ\n²") == "fi 2"
    assert [library.token_to_id(name) for name in tokenizer_files.SPECIALS[:4]] == [0, 1, 2, 3]


def test_fields_of_a_message_are_found_behind_all_others():
    message = b"\x08\x96\x01" + b"\x1a\x81\x01" + b"x" * 129 + b"\x25abcd" + b"\x29abcdefgh" + b"\x12\x02hi"
    assert list(tokenizer_files._fields(message, 3)) == [b"x" * 129]
    assert list(tokenizer_files._fields(message, 2)) == [b"hi"]
    assert list(tokenizer_files._fields(message, 4)) == [b"abcd"]
    assert list(tokenizer_files._fields(message, 5)) == [b"abcdefgh"]


# --- How fast they are


def test_the_fastest_way_is_chosen(files, monkeypatch):
    """Where every call takes a tenth of the time of the one before, the last way tried is the fastest."""
    taken = iter(10.0**-place for place in range(100))
    monkeypatch.setattr(tokenizing.protocol, "seconds", lambda _: next(taken))
    library = CONTESTANTS[LIBRARY]
    way, tried = tokenizing._fastest(library, lambda: library.load(files["cased"]), ["A word."])
    assert list(tried) == list(library.ways)
    assert way == list(library.ways)[-1]


def test_every_round_begins_with_a_tokenizer_that_has_seen_no_word(files):
    part = texts.Parts(training=[], warm_up=STORIES, measured=STORIES)
    measured = tokenizing._Measured(CONTESTANTS[OURS], files["cased"], part)
    before = measured._tokenizer
    measured.encode()
    assert measured._found is not None
    measured.renew()
    assert measured._tokenizer is not before
    assert measured._found is None
    assert len(measured.construct_seconds) == 1


def test_whoever_is_slow_is_given_less_text(files, monkeypatch):
    monkeypatch.setattr(
        tokenizing, "_fastest", lambda contestant, load, documents: ("encode_batch_fast", {"encode_batch_fast": 0.1})
    )
    part = texts.Parts(training=[], warm_up=STORIES, measured=STORIES)
    measured = tokenizing._Measured(CONTESTANTS[LIBRARY], files["cased"], part)
    assert len(STORIES.documents[0].encode()) <= measured.bytes["new"] < STORIES.size
    assert measured.bytes["cold"] == measured.bytes["seen"] == measured.bytes["new"]


@pytest.fixture(scope="module")
def tiny_run(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenize")
    (folder / "prose.txt").write_text("\n\n".join(STORIES.documents[:4]), "utf-8")
    arguments = [
        "tokenize",
        str(folder / "prose.txt"),
        "--rounds",
        "2",
        "--megabytes",
        "0.04",
        "--vocab",
        files["gpt-2"],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizing, "TEXTS", ("prose", "code"))
        done = CliRunner().invoke(command, [*arguments, "--json", str(folder / "out.json")], catch_exceptions=False)
    return done, folder / "out.json"


@pytest.mark.slow
def test_a_run_says_how_fast_every_contestant_is(tiny_run):
    done, path = tiny_run
    assert done.exit_code == 0
    result = json.loads(path.read_text("utf-8"))
    assert done.stdout == tokenizing_table.table(result)
    assert set(result["vocabularies"]) == {"gpt-2.json"}
    assert set(result["cases"]) == {"prose, gpt-2.json", "code, gpt-2.json"}
    assert "tokenizers" in result["versions"]
    assert str(path.parent) not in path.read_text("utf-8")


def test_rates_are_bytes_of_the_text_by_seconds(tiny_run):
    result = json.loads(tiny_run[1].read_text("utf-8"))
    for name, case in result["cases"].items():
        assert case["tokens"] > 1000
        rates = {}
        for each, found in case["contestants"].items():
            assert set(found["states"]) == (set(tokenizing.STATES) if CONTESTANTS[each].remembers else {"any"})
            for state, of_state in found["states"].items():
                assert len(of_state["seconds"]) == 2
                rates[each, state] = of_state["bytes"] / np.array(of_state["seconds"])
                assert of_state["bytes_per_second"]["median"] == pytest.approx(np.median(rates[each, state]))
        for state in tokenizing.STATES:
            ratio = result["ratios"][f"{name}, {state}: spanmask / tokenizers"]
            assert ratio["median"] == pytest.approx(np.median(rates[OURS, state] / rates[LIBRARY, "any"]))


def test_text_and_vocabularies_are_compared_within_a_run():
    def case(rate):
        states = {state: {"bytes": rate, "seconds": [1.0, 1.0]} for state in tokenizing.STATES}
        return {"contestants": {OURS: {"states": states}}}

    cases = {"prose, cased": case(100), "prose, gpt-2": case(50), "code, gpt-2": case(10)}
    ratios = tokenizing._ratios(cases)
    assert {name: ratio["median"] for name, ratio in ratios.items()} == {
        "code, gpt-2, cold / prose": 0.2,
        "prose, gpt-2, cold / cased": 0.5,
    }


def _result(differences):
    def contestant(rate):
        return {"states": {"any": {"bytes_per_second": {"median": rate, "min": rate, "max": rate}}}}

    rates = {OURS: 100e6, "tokie": 90e6, "gigatoken": 80e6, LIBRARY: 5e6}
    case = {"contestants": {name: contestant(rate) for name, rate in rates.items()}}
    ratio = {"median": 1.25, "min": 1.0, "max": 2.0}
    return {
        "cases": {"prose, gpt-2": case, "code, gpt-2": case},
        "vocabularies": {"gpt-2": {"differences": differences, "refused": {}}},
        "versions": {"tokie": "0.1", "gigatoken": "0.2", "tokenizers": "0.3"},
        "ratios": {
            f"prose, gpt-2, {state}: spanmask / {peer}": ratio
            for state in tokenizing.STATES
            for peer in ("tokie", "gigatoken")
        },
    }


@pytest.mark.parametrize(("differences", "strongest"), [({}, "tokie"), ({"tokie": [{"text": "code"}]}, "gigatoken")])
def test_tables_show_the_strongest_of_those_that_are_exact_on_all_texts(differences, strongest):
    result = _result(differences)
    assert tokenizing_table.strongest(result, "prose, gpt-2", "new") == strongest
    rows = list(performance._tokenizing(result))
    assert [row[0] for row in rows] == ["tokenize: prose, gpt-2", "tokenize: prose, gpt-2, seen before"]
    assert all(row[2].startswith(("90.0 MB/s, tokie 0.1;", "80.0 MB/s, gigatoken 0.2;")) for row in rows)
    assert all(strongest in row[2] and "5.0, `tokenizers`" in row[2] for row in rows)


def test_a_missing_package_is_named_with_what_installs_it():
    with pytest.raises(ConfigError, match=r"no_such_package not installed.*pip install '\.\[bench\]'"):
        peers.load("no_such_package")
    assert peers.load("json") is json
