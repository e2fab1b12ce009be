"""`spanmask bench masking`, from inputs to the table in the README."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
from click.testing import CliRunner
from spanmask_bench import child, compiling, inputs, masking
from spanmask_cli.bench import command

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.vocab import load_vocabulary

CASED = load_vocabulary(VocabularyConfig())


def test_made_up_words_are_like_those_of_texts():
    block, described = inputs.synthetic(300, CASED)
    figures = inputs.describe(block)
    assert described["kind"] == "synthetic"
    assert figures["sequences"] == len(block) == 300
    assert figures["words_of_several_pieces"] == pytest.approx(0.17, abs=0.01)
    sizes = block.ends - block.starts
    assert sizes.max() <= 510
    assert sizes.min() > 500
    assert block.word_starts[block.starts].all()
    counts = np.sort(np.bincount(block.token_ids, minlength=len(CASED)))[::-1]
    assert 1.7 < counts[0] / counts[2] < 4, (
        "the most frequent id is about twice or three times as frequent as the third"
    )


def test_a_text_is_gone_through_until_there_are_enough_sequences(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("The tokenizer unfathomably splits words. " * 200)
    block, described = inputs.from_text(str(path), 20, CASED)
    assert len(block) == 20
    assert described["name"] == "words.txt"
    assert str(tmp_path) not in json.dumps(described)
    assert inputs.tokens_of(block) == len(block.token_ids) > described["tokens"]
    path.write_text("Too short.")
    with pytest.raises(ConfigError, match="tokens"):
        inputs.from_text(str(path), 20, CASED)


@pytest.mark.parametrize("sequences", range(1, 30))
def test_annotated_ranges_are_three_whole_words(sequences):
    block = inputs.annotate(inputs.synthetic(sequences, CASED)[0])
    ranges = block.annotations
    assert ranges.offsets[0] == 0
    assert ranges.offsets[-1] == len(ranges.starts) == len(ranges.ends)
    for i in range(sequences):
        words = np.append(
            np.flatnonzero(block.word_starts[block.starts[i] : block.ends[i]]), block.ends[i] - block.starts[i]
        )
        owned = slice(ranges.offsets[i], ranges.offsets[i + 1])
        at = np.searchsorted(words, ranges.starts[owned])
        assert at.tolist() == list(range(0, len(words) - 4, 24))
        assert (words[at] == ranges.starts[owned]).all()
        assert (words[at + 3] == ranges.ends[owned]).all()


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run of 40 sequences, without compiling anew."""
    compiled = {state: child.call("compiling", "first_call", {}) for state in ("cold", "warm")}
    folder = tmp_path_factory.mktemp("bench")
    with resources.as_file(resources.files("spanmask.data").joinpath("poe.txt")) as text:
        arguments = [
            "masking",
            "--rounds",
            "2",
            "--sequences",
            "40",
            "--text",
            str(text),
            "--json",
            str(folder / "out.json"),
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiling, "with_caches", lambda function: compiled)
            done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return done, folder / "out.json"


@pytest.mark.slow
def test_a_run_says_how_fast_every_contestant_is(tiny_run):
    done, path = tiny_run
    assert done.exit_code == 0
    result = json.loads(path.read_text())
    assert done.stdout == masking.table(result)
    assert set(result["contestants"]) == set(masking.CONTESTANTS)
    assert result["input"]["name"] == "poe.txt"
    assert result["parameters"]["sequences"] == result["input"]["sequences"] == 40
    for found in result["contestants"].values():
        assert len(found["seconds"]) == 2
        assert found["tokens_per_second"]["median"] > 0
    assert all(taken["import"] > 0 and taken["first_call"] > 0 for taken in result["compile_seconds"].values())
    assert set(masking.GOALS) == set(result["goals"])
    assert [item.name for item in path.parent.iterdir()] == ["out.json"]


def test_every_contestant_is_counted_by_the_tokens_it_handles(tiny_run):
    result = json.loads(tiny_run[1].read_text())
    found = result["contestants"]
    tokens = result["input"]["tokens"]
    assert {found[name]["tokens"] for name in found if name != "copy"} == {tokens}
    rows = 2 * (tokens + 2 * 40)
    assert found["copy"]["tokens"] == tokens * -(-masking.COPY_BYTES // rows) * masking.COPIES
    rates = [found[name]["tokens"] / np.array(found[name]["seconds"]) for name in ("spanmask", "copy")]
    assert result["ratios"]["spanmask / copy"]["rounds"] == pytest.approx(rates[0] / rates[1])


def test_a_result_that_could_not_be_written_is_refused_before_measuring(tmp_path):
    done = CliRunner().invoke(command, ["masking", "--json", str(tmp_path / "missing" / "out.json")])
    assert done.exit_code == 2
    assert "folder is missing" in done.stderr
