"""Which pre-tokenizers are compiled: the patterns that byte-level tokenizers publish, and the classes of characters in them.

The classes were asked of the `tokenizers` library (`spanmask.tokenization.derive_classes`) and ship, as those of BERT do.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.kernels.patterns import EXACT, NUMBER, Splitter
from spanmask.records import Bytes

FILE = "pattern_classes.npz"
#: Bits of a class in the file, besides those of `spanmask.kernels.patterns`: ``\p{M}``, and what the library's Digits takes apart.
MARK, DIGIT = 64, 128

_UNLIMITED = 1 << 62


#: Patterns by what published them, each with what tells it from the others.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@cache
def table_of_classes() -> dict[str, npt.NDArray[Any]]:
    """Return which 128 classes hold a code point's, ``blocks`` (8704,), and ``classes`` (128 · B,)."""
    with resources.files("spanmask.data").joinpath(FILE).open("rb") as file, np.load(file) as tables:
        return dict(tables)


@cache
def _plain(adds_space: bool, apart: bool) -> Splitter:
    """Return GPT-2's pattern; apart: behind Digits, which takes every number by itself."""
    tables = table_of_classes()
    classes: Bytes = tables["classes"] & np.uint8(DIGIT - 1)
    if apart:
        classes[tables["classes"] & DIGIT != 0] |= NUMBER
    return Splitter(
        blocks=tables["blocks"],
        classes=classes,
        contractions=EXACT,
        any_prefix=False,
        cased=False,
        numbers=1 if apart else _UNLIMITED,
        spaced_numbers=not apart,
        apart=apart,
        newlines=False,
        slashes=False,
        adds_space=adds_space,
    )


def splitter_of(steps: list[dict[str, Any]]) -> Splitter | str:
    """Return what a pre-tokenizer, step by step, is compiled to, or in one line why it is not."""
    *before, last = steps or [{"type": "no pre-tokenizer"}]
    if last["type"] != "ByteLevel":
        return f"its pre-tokenizer ends with {last['type']}, and those that end with ByteLevel are compiled"
    adds_space = last.get("add_prefix_space", True)
    if not last.get("use_regex", True):
        return "ByteLevel splits nothing"
    if not before:
        return _plain(adds_space, apart=False)
    if len(before) == 1 and before[0]["type"] == "Digits" and before[0].get("individual_digits") and not adds_space:
        return _plain(adds_space=False, apart=True)
    return f"no pre-tokenizer of {' and '.join(step['type'] for step in steps)} is compiled"
