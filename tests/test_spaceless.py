"""Text without spaces is masked as much as asked for, whatever the tokenizer and scheme. The slow test tells the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import spaceless
import trained
from schemes import SCHEMES
from together import each_two_or_all

from spanmask import PreshardConfig, audit, preshard, verify
from spanmask.words import LINES


def share_met(folder: Path, language: str, tokenizer: str, scheme: str, *, count: int) -> tuple[float, dict[str, int]]:
    """Make a dataset, verify and audit it; return masked tokens as a share of the budget, and how often lines of the rule acted."""
    make, source = spaceless.TOKENIZERS[tokenizer], folder / "text.jsonl"
    lines = [{"text": text, "spans": spaceless.ranges(text)} for text in spaceless.documents(language, count=count)]
    source.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    vocab = tokenizer if make is None else trained.saved(make(), folder)
    options = {"seed": 3, "random_ids": "uniform", "vocab": vocab} | SCHEMES[scheme]
    manifest = preshard(source, folder / scheme, PreshardConfig.of(**options), jobs=1, overwrite=True)
    audited, verified = audit(folder / scheme), verify(folder / scheme)
    assert verified.ok, verified.findings
    assert audited.ok, [gate for gate in audited.gates if not gate.passed]
    counts = manifest.statistics["train"]
    masked = counts["masked_tokens"] / counts["budget_tokens"]
    assert masked >= 0.95
    assert counts["rows"] >= 3
    return masked, manifest.conservation["word_rule"]


@pytest.mark.parametrize("tokenizer", ["cased", "xlmr", "roberta"])
@pytest.mark.parametrize("language", spaceless.LANGUAGES)
def test_text_without_spaces_is_masked_as_much_as_asked_for(tmp_path: Path, language: str, tokenizer: str) -> None:
    _, acted = share_met(tmp_path, language, tokenizer, "paper", count=4)
    if language in ("Chinese", "Japanese", "Thai") and tokenizer != "cased":
        assert acted["scripts_without_spaces"] > 100
    if language == "DNA" or (language == "Korean" and tokenizer != "cased"):
        assert acted["long_words"] > 3
    assert (acted["combining_marks"] > 100) is (language == "Thai" and tokenizer == "roberta")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "tokenizer", "scheme"),
    each_two_or_all([*spaceless.LANGUAGES], [*spaceless.TOKENIZERS], [*SCHEMES]),
)
def test_text_without_spaces_is_masked_with_every_tokenizer_and_scheme(
    tmp_path: Path, tell: Callable[[str], None], language: str, tokenizer: str, scheme: str
) -> None:
    """Each two of them together; all combinations in a long run."""
    masked, acted = share_met(tmp_path, language, tokenizer, scheme, count=30)
    lines = ", ".join(f"{line} {acted[line]:,}" for line in LINES[1:])
    tell(f"{language:9} {tokenizer:13} {scheme:9} {masked:.3f} of the budget; {lines}")
