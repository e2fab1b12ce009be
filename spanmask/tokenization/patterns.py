"""Which pre-tokenizers are compiled: the patterns that byte-level tokenizers publish, and the classes of characters in them.

The classes were asked of the `tokenizers` library (`spanmask.tokenization.derive_classes`) and ship, as those of BERT do.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.kernels.patterns import ENDING, EXACT, FOLDED, LETTER, NUMBER, UNLIMITED, Splitter
from spanmask.records import Bytes

FILE = "pattern_classes.npz"
#: Bits of a class in the file, besides those of `spanmask.kernels.patterns`: ``\p{M}``, and what the library's Digits takes apart.
MARK, DIGIT = 64, 128
#: Characters of a pattern that are shown.
_SHOWN = 160

#: GPT-2's pattern, which ByteLevel splits by.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
#: Patterns that set numbers apart before another one is tried, and how many they take.
_APART = {r"\p{N}": 1, r"\p{N}{1,2}": 2, r"\p{N}{1,3}": 3, r"\p{N}+": UNLIMITED}

#: Patterns are read part by part: what each spelling says. The `tokenizers` library's engine takes ``++``, ``*+`` and ``?+`` as possessive,
#: which changes nothing here, but ``{1,3}+`` as any number of times one to three.
_EITHER_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_PREFIX, _UPPER, _LOWER = r"[^\r\n\p{L}\p{N}]?", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_PARTS: tuple[dict[str, dict[str, int]], ...] = (
    {
        r"'s|'t|'re|'ve|'m|'ll|'d|": {"contractions": EXACT},
        r"'(?:[sdmt]|ll|ve|re)|": {"contractions": EXACT},
        rf"{_EITHER_CASE}|": {"contractions": FOLDED},
        r"'(?i:[sdmt]|ll|ve|re)|": {"contractions": FOLDED},
        "": {},
    },
    {
        r" ?\p{L}+|": {"marks": False},
        r" ?\p{L}++|": {"marks": False},
        rf"{_PREFIX}\p{{L}}+|": {"any_prefix": True, "marks": False},
        rf"{_PREFIX}+\p{{L}}+|": {"any_prefix": True, "marks": False},
        rf"{_PREFIX}+\p{{L}}++|": {"any_prefix": True, "marks": False},
        rf"{_PREFIX}[\p{{L}}\p{{M}}]+|": {"any_prefix": True, "marks": True},
        rf"{_PREFIX}{_UPPER}*{_LOWER}+|{_PREFIX}{_UPPER}+{_LOWER}*|": {
            "any_prefix": True,
            "cased": True,
            "marks": False,
        },
        rf"{_PREFIX}{_UPPER}*{_LOWER}+{_EITHER_CASE}?|{_PREFIX}{_UPPER}+{_LOWER}*{_EITHER_CASE}?|": {
            "any_prefix": True,
            "cased": True,
            "contractions": ENDING,
            "marks": False,
        },
    },
    {
        r" ?\p{N}+|": {"numbers": UNLIMITED, "spaced_numbers": True},
        r" ?\p{N}++|": {"numbers": UNLIMITED, "spaced_numbers": True},
        r"\p{N}+|": {"numbers": UNLIMITED},
        r"\p{N}{1,3}+|": {"numbers": UNLIMITED},
        r"\p{N}{1,3}|": {"numbers": 3},
        r"\p{N}{1,2}|": {"numbers": 2},
        r"\p{N}|": {"numbers": 1},
    },
    {
        r" ?[^\s\p{L}\p{N}]+|": {"marks": False},
        r" ?[^\s\p{L}\p{N}]++|": {"marks": False},
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|": {"newlines": True, "marks": False},
        r" ?[^\s\p{L}\p{N}]++[\r\n]*|": {"newlines": True, "marks": False},
        r" ?[^\s\p{L}\p{N}]++[\r\n]*+|": {"newlines": True, "marks": False},
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*|": {"newlines": True, "slashes": True, "marks": False},
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|": {"newlines": True, "marks": True},
    },
    {
        r"\s+(?!\S)|\s+": {},
        r"\s++$|\s+(?!\S)|\s": {},
        r"\s*[\r\n]+|\s+(?!\S)|\s+": {"to_newline": True},
        r"\s*[\r\n]|\s+(?!\S)|\s+": {"to_newline": True},
        r"\s++$|\s*[\r\n]|\s+(?!\S)|\s": {"to_newline": True, "whole_ending": True},
    },
)


@cache
def table_of_classes() -> dict[str, npt.NDArray[Any]]:
    """Return which 128 classes hold a code point's, ``blocks`` (8704,), and ``classes`` (128 · B,)."""
    with resources.files("spanmask.data").joinpath(FILE).open("rb") as file, np.load(file) as tables:
        return dict(tables)


def splitter_of(steps: list[dict[str, Any]]) -> Splitter | str:
    """Return what a pre-tokenizer, step by step, is compiled to, or in one line why it is not."""
    *before, last = steps or [{"type": "no pre-tokenizer"}]
    if last["type"] != "ByteLevel":
        return f"the pre-tokenizer ends with {last['type']}, and those that end with ByteLevel are compiled"
    if before and last.get("add_prefix_space", True):
        return f"ByteLevel puts a space before every part that {before[-1]['type']} makes"
    if last.get("use_regex", True):
        pattern = GPT2
    elif before:
        pattern = _pattern_of(before.pop())
    else:
        return "ByteLevel splits nothing"
    said = _read(pattern)
    if said is None:
        return f"the text is not split by a known pattern, but by {pattern[:_SHOWN]!r}"
    if before:
        apart = _numbers_apart(before[-1])
        # The pattern splits what was set apart again.
        if len(before) > 1 or not apart or apart["numbers"] > said["numbers"]:
            return f"{before[0]['type']} before the pattern is not a known way to set numbers apart"
        said |= apart
    return _splitter(adds_space=bool(last.get("add_prefix_space", True)), **said)


def _pattern_of(step: dict[str, Any]) -> str:
    """Return the pattern by whose matches a step splits, if it loses nothing where they are all of the text; else what it is called."""
    keeps = (step.get("behavior"), step.get("invert")) in (("Isolated", False), ("Isolated", True), ("Removed", True))
    return str(step["pattern"].get("Regex", "a string")) if step["type"] == "Split" and keeps else step["type"]


def _read(pattern: str) -> dict[str, Any] | None:
    """Return what a pattern says, by the names of `Splitter`, and whether marks are letters; nothing, if a part is not a known one."""
    found = dict[str, Any]()
    for spellings in _PARTS:
        spelling = max((known for known in spellings if pattern.startswith(known)), key=len, default=None)
        if spelling is None or any(found.get(name, value) != value for name, value in spellings[spelling].items()):
            return None
        found |= spellings[spelling]
        pattern = pattern.removeprefix(spelling)
    return None if pattern else found


def _numbers_apart(step: dict[str, Any]) -> dict[str, Any]:
    """Return what a step says that sets every number apart; nothing, if it does something else."""
    if step["type"] == "Digits" and step["individual_digits"]:
        return {"apart": True, "digits": True, "numbers": 1, "spaced_numbers": False}
    isolates = step["type"] == "Split" and (step["behavior"], step["invert"]) == ("Isolated", False)
    numbers = _APART.get(step["pattern"].get("Regex", "")) if isolates else None
    return {} if numbers is None else {"apart": True, "numbers": numbers, "spaced_numbers": False}


@cache
def _splitter(*, marks: bool, digits: bool = False, **said: Any) -> Splitter:
    """Return a splitter. marks: whether they are letters; digits: whether numbers are what Digits takes for them, which may be more."""
    table = table_of_classes()
    classes: Bytes = table["classes"] & np.uint8(MARK - 1)
    for bit, wanted, as_class in ((MARK, marks, LETTER), (DIGIT, digits, NUMBER)):
        if wanted:
            classes[table["classes"] & bit != 0] |= np.uint8(as_class)
    return Splitter(table["blocks"], classes, **said)
