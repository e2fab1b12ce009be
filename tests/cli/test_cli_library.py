"""Why a tokenizer goes through the library is told in one line by what makes tokens, and nothing where it is compiled."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trained

from .conftest import Shell

TEXT = trained.stories()[60_000:64_000]


def _unheard_of(content: dict[str, Any]) -> None:
    split = {"type": "Split", "pattern": {"Regex": r"\w+|\W"}, "behavior": "Isolated", "invert": False}
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, bytes_only]}


TOKENIZERS = {
    "byte level": (trained.byte_level(), None),
    "unigram": (trained.unigram(), None),
    "another pattern": (
        trained.changed(trained.byte_level(), _unheard_of),
        "the text is not split by a known pattern, but by",
    ),
    "words": (trained.whole_words(), "its model is WordLevel"),
    "other wordpiece": (trained.accented_wordpiece(), "its model is WordPiece"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "reason"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_preshard_and_its_dry_run_tell_why_text_goes_through_the_library(
    shell: Shell, text: str, reason: str | None
) -> None:
    source, vocab = shell.write("a.txt", TEXT), shell.write("tokenizer.json", text)
    lines = shell.preshard(source, "--vocab", vocab).out.splitlines()
    lines += shell("preshard", source, "--vocab", vocab, "--seed", 1, "--dry-run", 1).error.splitlines()
    told = [line for line in lines if "library" in line]
    if reason is None:
        assert told == []
    else:
        assert len(told) == 2
        assert told[0] == told[1]
        assert told[0].startswith(f"warning: text goes through the tokenizers library, which is slower: {reason}")
    found = json.loads(shell.preshard(source, "--vocab", vocab, "--json", "--overwrite", out="json").out)
    assert [line for line in found["warnings"] if "library" in line] == told[:1]
    assert "library" not in shell.preshard(source, "--vocab", vocab).out, "a dataset that was there already"


@pytest.mark.slow
def test_workers_tell_it_too(shell: Shell) -> None:
    """Of two jobs, what they say comes back with their receipts."""
    sources = [shell.write(f"{number}.txt", TEXT * 3) for number in range(2)]
    vocab = shell.write("tokenizer.json", trained.changed(trained.byte_level(), _unheard_of))
    result = shell(
        "preshard", *sources, "--vocab", vocab, "--out", "out", "--seed", 1, "--jobs", 2, "--shard-bytes", 4096
    )
    assert result.code == 0, result.error
    assert result.out.count("the text is not split by a known pattern") == 1
