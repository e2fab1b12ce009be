"""Text in, tokens out, for tokenizers that take text unit by unit: each distinct unit is encoded once and looked up from then on.

A unit goes from a space that follows a character other than white space to the next such space. A tokenizer takes units one by one if its
pre-tokenizer splits before every such space, and neither it nor the normalizer looks across one. That follows from their types (`kind_of`);
it is checked besides, at start, on texts that would tell (`CachedUnits.agrees`). Units of GPT-2's pattern, which takes letters, digits and
marks apart, are cut before a mark that follows a letter or digit, too: there are fewer distinct ones then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from spanmask.blocks import read_only
from spanmask.kernels.units import cut_units
from spanmask.pieces import steps_of
from spanmask.records import Bytes, Offsets
from spanmask.tokenization.agreement import agree
from spanmask.tokenization.library import HIDDEN, failing, load_library
from spanmask.tokenization.unit_table import UnitTable
from spanmask.tokenization.whole_documents import Encoded, WholeDocuments
from spanmask.vocab import Vocabulary

#: Units looked up at a time.
_LOOKUP = 1 << 17

#: Normalizers that change characters by themselves or with the marks behind them, and make none white space or nothing.
LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase"}
#: Pre-tokenizers that split before every space that follows another character, and those that split by characters alone.
_SPLITTING = {"BertPreTokenizer", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit"}
_BY_CHARACTER = {"Digits", "Punctuation"}
#: Regular expressions of one character or class, which may be repeated.
_REPEATED = re.compile(r"(?:[^\\()\[\]{}|*+?^$]|\\[sSdDwWtrn]|\[[^\[\]\\]+\])(?:[*+?]|\{\d*,?\d*\})?")


class Kind(NamedTuple):
    """How a tokenizer takes units. at_marks: cut at punctuation marks, too. normalizes_first: after whole documents were normalized."""

    at_marks: bool
    normalizes_first: bool


def kind_of(content: dict[str, Any]) -> Kind | None:
    """Return how the tokenizer of a tokenizer.json takes units, as far as that follows from the types of its parts."""
    splits = steps_of(content.get("pre_tokenizer"))
    if not any(step["type"] in _SPLITTING for step in splits) or not all(_is_known(step) for step in splits):
        return None
    if content["model"].get("byte_fallback") and content["model"].get("end_of_word_suffix"):
        return None  # What stands for the end of a word lies in the unit behind it for the library.
    ordinary = [token for token in content.get("added_tokens", []) if not token["special"]]
    if not all(_stays_in_unit(token) for token in ordinary):
        return None
    if all(step["type"] in LOCAL_NORMALIZERS for step in steps_of(content.get("normalizer"))):
        regex_alone = [(step["type"], step.get("add_prefix_space")) for step in splits] == [("ByteLevel", False)]
        return Kind(at_marks=regex_alone and not ordinary, normalizes_first=False)
    if not all(map(_takes_texts_in_one_pass, steps_of(content.get("normalizer")))):
        return None
    # What begins a text is another thing after a normalizer took something off its start.
    prepends_first = any(step.get("prepend_scheme") == "first" for step in splits)
    return None if ordinary or prepends_first else Kind(at_marks=False, normalizes_first=True)


def _takes_texts_in_one_pass(step: dict[str, Any]) -> bool:
    """Tell whether a normalizer surely ends: one alone can neither be watched nor ended, and most regular expressions can explode."""
    pattern = step.get("pattern") or {}
    return "Regex" not in pattern or _REPEATED.fullmatch(pattern["Regex"]) is not None


def _is_known(step: dict[str, Any]) -> bool:
    return (
        step["type"] in _SPLITTING | _BY_CHARACTER
        and step.get("use_regex") is not False
        and step.get("split") is not False
    )


def _stays_in_unit(token: dict[str, Any]) -> bool:
    """Tell whether an added token neither holds a place where units are cut nor looks at what is behind it."""
    return " " not in token["content"].lstrip(" ") and not token["rstrip"] and not token["single_word"]


class CachedUnits:
    """The library, given each distinct unit once.

    Parameters
    ----------
    content
        A tokenizer.json, parsed.
    kind
        Its kind.
    vocabulary
        The same as a vocabulary.
    whole
        The library, given whole documents.
    """

    def __init__(self, content: dict[str, Any], kind: Kind, vocabulary: Vocabulary, whole: WholeDocuments) -> None:
        self._whole = whole
        self._vocabulary = vocabulary
        self._at_marks = kind.at_marks
        self._names = [token["content"].removeprefix(HIDDEN) for token in content.get("added_tokens", [])]
        library, self._normalizer = load_library(vocabulary, parse=False), None
        if kind.normalizes_first:
            self._normalizer, library.normalizer = library.normalizer, None
        # To the one pre-tokenizer whose units are cut at marks, a newline before a unit changes nothing.
        self._table = UnitTable(library, vocabulary, separator="\n" if kind.at_marks else "")

    def agrees(self) -> bool:
        """Tell whether telling texts get the same tokens as from the library alone."""
        return agree(self, self._whole, self._names)

    def encode(self, text: Bytes, offsets: Offsets, *, spots: bool) -> Encoded:
        """Tokenize D documents; see `WholeDocuments.encode`."""
        if self._normalizer is not None:
            if spots:
                return self._whole.encode(text, offsets, spots=True)
            text, offsets = _normalized(self._normalizer, self._vocabulary, text, offsets)
        starts = np.empty(cut_units(text, offsets, self._at_marks, np.empty(0, np.int64)), np.int64)
        cut_units(text, offsets, self._at_marks, starts)
        found = [self._table.look_up(text, bounds, spots=spots) for bounds in _slices(starts, int(offsets[-1]))]
        sizes = np.concatenate([np.zeros(1, np.int64), *(encoded.counts for encoded in found)])
        ends = np.cumsum(sizes)[np.searchsorted(starts, offsets)]
        ids, flags, _, places = zip(*found, strict=True)
        return Encoded(
            np.concatenate(ids), np.concatenate(flags), np.diff(ends), np.concatenate(places) if spots else None
        )


def _slices(starts: Offsets, end: int) -> Iterator[Offsets]:
    """Yield where units start, some at a time, with the end of the last; an empty slice where there are none."""
    bounds = np.append(starts, end)
    for first in range(0, max(len(starts), 1), _LOOKUP):
        yield bounds[first : first + _LOOKUP + 1]


def _normalized(normalizer: Any, vocabulary: Vocabulary, text: Bytes, offsets: Offsets) -> tuple[Bytes, Offsets]:
    """Return documents as the library's normalizer makes them, with their offsets."""
    data = memoryview(text.data)
    with failing(vocabulary, "its normalizer fails on a text", "mend its tokenizer.json"):
        made = [
            normalizer.normalize_str(str(data[start:end], "utf-8")).encode()
            for start, end in pairwise(offsets.tolist())
        ]
    offsets = read_only(np.array([0, *accumulate(map(len, made))], np.int64))
    return np.frombuffer(b"".join(made), np.uint8), offsets
