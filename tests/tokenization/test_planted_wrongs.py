"""Wrongs planted in the kernels of byte pair encoding and Unigram, and in their tables: each is found by comparing with the library."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

import pytest
from children import run_child
from planted import planted
from tokenization.kinds import KINDS, MIXED
from tokenization.plain_library import PlainLibrary
from tokenization.reference import same
from tokenization.test_bpe import file_of
from tokenization.traps import TRAPS
from tokenization.variants import vocabulary_of
from trained import changed, stories

from spanmask.tokenization import Tokenizer
from spanmask.vocab import vocabulary_from_tokenizer

#: By what is wrong: a tokenizer that tells, the module, and its line before and after.
WRONGS: dict[str, tuple[str, str, str, str]] = {
    "of equal merges, the last": (
        "roberta",
        "kernels.merging",
        "return merge << _PLACE | left if merge >= 0 else _NONE",
        "return merge << _PLACE | (63 - left) if merge >= 0 else _NONE",
    ),
    "merges in another order": (
        "roberta",
        "tokenization.library",
        'if pair[:8] != "#version"]',
        'if pair[:8] != "#version"][::-1]',
    ),
    "of a pair listed twice, the first place": (
        "merges twice",
        "tokenization.bpe",
        "last = len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]",
        "last = np.unique(pairs, return_index=True)[1]",
    ),
    "a window that goes on behind its stretch": (
        "modernbert",
        "kernels.windows",
        "((1 << min(end - at, _BITS)) - 1)",
        "((1 << _BITS) - 1)",
    ),
    "a window that takes other characters for ASCII": ("gpt-2", "kernels.windows", "valid = _below(wide) &", "valid ="),
    "contractions of one case": ("qwen", "kernels.patterns", "FOLD if splitter.contractions == FOLDED else 0", "0"),
    "entries that merge all the same": ("whole entries", "kernels.bpe", "if entry >= 0:", "if False:"),
    "parts of a character that stand for a part": (
        "gpt-2",
        "kernels.tokens",
        "while stop < end and _continues(text, stop):",
        "while False:",
    ),
    "unknown bytes that are not fused": (
        "unknown bytes fused",
        "kernels.bpe",
        "and not (unknown and model.fused)",
        "",
    ),
    "of ways that tie, the last": (
        "unigram ties",
        "kernels.viterbi",
        "or total > scratch.sums[place]:",
        "or total >= scratch.sums[place]:",
    ),
    "unknown characters that are not fused": (
        "xlm-r",
        "kernels.unigram",
        "while end < size and scratch.ids[scratch.before[end]] == token:",
        "while False:",
    ),
    "no bytes to fall back to": ("unigram with bytes", "kernels.unigram", "if token < 0:", "if True:"),
    "scores of 32 bits": (
        "unigram tenths",
        "tokenization.unigram",
        'for _, score in model["vocab"]], np.float64)',
        'for _, score in model["vocab"]], np.float32).astype(np.float64)',
    ),
    "a window of words that goes on behind its stretch": (
        "t5",
        "kernels.metaspace",
        "(1 << min(end - at, BLOCK - 2)) - 1",
        "(1 << BLOCK - 2) - 1",
    ),
    "no mark in front": (
        "t5",
        "kernels.metaspace",
        "return splitter.prepend == ALWAYS or (head and at == start)",
        "return False",
    ),
}


def _tenths(content: dict[str, Any]) -> None:
    """Scores whose sums tie but for the order in which they are made."""
    content["model"]["vocab"] = [[entry, -len(entry) / 10] for entry, _ in content["model"]["vocab"]]


#: Tokenizers that are no kind and no variant of one.
OTHERS = {
    "whole entries": lambda: file_of([("t", "h")], ignore_merges=True, entries=("the", "Ġof")),
    "unigram tenths": lambda: changed(KINDS["t5"](), _tenths),
}
TEXTS = [stories()[70_000:71_000], *MIXED.splitlines(), *(text for texts in TRAPS.values() for text in texts[:12])]


@contextmanager
def wrong_in(name: str, old: str, new: str) -> Iterator[None]:
    """Have a module say something else, to itself and to all that have imported of it."""
    module = import_module(f"spanmask.{name}")
    before = dict(vars(module))
    source = planted(inspect.getsource(module), old, new)
    exec(compile(source, module.__file__ or "", "exec"), vars(module))
    made = {id(value): vars(module)[key] for key, value in before.items() if inspect.isfunction(value)}
    others = [other for key, other in sys.modules.items() if key.startswith("spanmask.") and other is not module]
    taken = [(other, key, value) for other in others for key, value in vars(other).items() if id(value) in made]
    for other, key, value in taken:
        setattr(other, key, made[id(value)])
    yield
    vars(module).update(before)
    for other, key, value in taken:
        setattr(other, key, value)


def is_as_library(name: str) -> bool:
    """Say whether texts get the library's tokens, words and bytes, one that fails on them not being so."""
    vocabulary = vocabulary_from_tokenizer(name, OTHERS[name]()) if name in OTHERS else vocabulary_of(name)
    with mock.patch("spanmask.tokenization.compiled.agree", return_value=True):
        tokenizer = Tokenizer(vocabulary)
    assert tokenizer.through_library is None
    expected = PlainLibrary(vocabulary).encode(TEXTS)
    try:
        return all(same(tokenizer.encode(TEXTS, offsets=offsets), expected) for offsets in (False, True))
    except (IndexError, ValueError, OverflowError):
        return False


def tell() -> None:
    """Print of each wrong whether it is found, and was right before; run where kernels are interpreted, which sees the changed source."""
    for what, (name, *wrong) in WRONGS.items():
        before = is_as_library(name)
        with wrong_in(*wrong):
            print(what, before and not is_as_library(name))


@pytest.mark.slow
def test_each_wrong_is_found() -> None:
    told = run_child("-c", "from tokenization.test_planted_wrongs import tell; tell()", NUMBA_DISABLE_JIT="1")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [f"{what} True" for what in WRONGS]
