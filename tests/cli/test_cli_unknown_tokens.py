"""What a vocabulary does not know is told: by preshard and its dry run above a stated share, by the card and the manifest always."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import handmade
import pytest
from tokenizers import BertWordPieceTokenizer
from tokenizers import Tokenizer as Library

import spanmask
from spanmask.shard.manifest import read_manifest

from .conftest import Shell

_PROSE = "The Raven And The Bust Of Pallas Were Seen In Baltimore By Nobody\n" * 4
_CHINESE = "我们今天去北京的故宫博物院参观并且拍了很多照片然后回家吃饭\n" * 4
_EMOJI = "so 😀 it 🚀 was 🦜 and 🫠 that 🥲 is 🧿 all\n" * 4


def _bert(casing: str, *, lowercase: bool) -> Callable[[Path], tuple[list[str], Any]]:
    def make(folder: Path) -> tuple[list[str], Any]:
        path = folder / "vocab.txt"
        path.write_bytes(resources.files("spanmask.data").joinpath(f"bert-base-{casing}-vocab.txt").read_bytes())
        library = BertWordPieceTokenizer(str(path), lowercase=lowercase)
        return ["--vocab", str(path), "--uncased" if lowercase else "--cased"], library

    return make


def _unigram(folder: Path) -> tuple[list[str], Any]:
    path = folder / "tokenizer.json"
    path.write_text(handmade.unigram())
    return ["--vocab", str(path)], Library.from_file(str(path))


_CASES = {
    "the uncased vocabulary on cased text": (_bert("uncased", lowercase=False), _PROSE, "warning.*or --uncased if its"),
    "the cased vocabulary on Chinese": (
        _bert("cased", lowercase=False),
        _CHINESE,
        "warning.*give a --vocab made for it",
    ),
    "the uncased vocabulary on emoji": (_bert("uncased", lowercase=True), _EMOJI, "warning"),
    "an English Unigram on Chinese": (_unigram, _CHINESE, "warning"),
    "a vocabulary that fits": (_bert("cased", lowercase=False), _PROSE.lower(), None),
}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "text", "warning"), _CASES.values(), ids=_CASES)
def test_a_share_of_unknown_tokens_is_told(shell: Shell, make: Any, text: str, warning: str | None) -> None:
    options, library = make(shell.folder)
    source = shell.write("a.txt", text)
    told = shell.preshard(source, *options, "--json")
    dry = shell("preshard", source, "--seed", 1, *options, "--dry-run", 9)
    assert (told.code, dry.code) == (0, 0)
    ids = library.encode(text.strip(), add_special_tokens=False).ids
    unknown = ids.count(read_manifest(shell.folder / "out").vocabulary.special.unk)
    counts = spanmask.open(shell.folder / "out").manifest.statistics["train"]
    assert (counts["tokens"], counts["unknown_tokens"]) == (len(ids), unknown)
    summary = json.loads(told.out)
    assert summary["unknown_rate"] == unknown / len(ids)
    share = f"{unknown / len(ids):.2%} of the tokens"
    assert f"{share} unknown to it" in (shell.folder / "out" / "README.md").read_text()
    for shown in (summary["text"], dry.error):
        lines = [line for line in shown.split("\n") if "warning" in line and "unknown" in line]
        assert len(lines) == (warning is not None)
        if warning is not None:
            assert lines[0].startswith(f"warning: {share} are unknown")
            assert re.search(warning, lines[0])
