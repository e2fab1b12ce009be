"""Ask the `tokenizers` library what its steps look at in each code point: ``python -m spanmask.tokenization.derive_traits``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import spanmask.data
from spanmask.storage import publish_bytes
from spanmask.tokenization.charsmap import charsmap
from spanmask.tokenization.derive import POINTS, between, ranks_of_marks
from spanmask.tokenization.traits import (
    BLOCK,
    FILE,
    FORMS,
    JOINS_BEFORE,
    JOINS_BEHIND,
    STEPS,
    UNASSIGNED,
    WHITE,
    WORD,
    attaches,
    changes,
)

#: Conjoining jamo, which are in one grapheme with each other: the one class whose graphemes have too many bytes for the library to show.
_JAMO = (range(0x1100, 0x1200), range(0xA960, 0xA980), range(0xD7B0, 0xD800))


def derive() -> dict[str, npt.NDArray[Any]]:
    """Return the traits of all code points, in blocks of `BLOCK`, and which block each of theirs is."""
    traits = np.zeros(0x110000, np.uint32)
    _add_steps(traits)
    _set(traits, WHITE, _white_space())
    _set(traits, WORD, _parts_of_words())
    _set(traits, UNASSIGNED, _unassigned())
    _add_graphemes(traits)
    unique, blocks = np.unique(traits.reshape(-1, BLOCK), axis=0, return_inverse=True)
    return {"blocks": blocks.reshape(-1).astype(np.uint16), "traits": unique.reshape(-1)}


def _set(traits: npt.NDArray[np.uint32], bit: int, points: Iterable[int]) -> None:
    traits[list(points)] |= np.uint32(bit)


def _made_by(step: str) -> dict[int, str]:
    """Return what a step makes of each code point that stands alone: no digit is composed with a mark."""
    from tokenizers import normalizers

    made = between("0", getattr(normalizers, step)().normalize_str, map(chr, POINTS))
    return dict(zip(POINTS, made, strict=True))


def _add_steps(traits: npt.NDArray[np.uint32]) -> None:
    from tokenizers import normalizers

    made = {step: _made_by(step) for step in STEPS}
    ranks = ranks_of_marks(partial(between, "0", normalizers.NFD().normalize_str))
    for point, rank in ranks.items():
        traits[point] |= rank
    for step in STEPS:
        _set(traits, changes(step), (point for point, text in made[step].items() if text != chr(point)))
    # One is composed with what is before it if it is the last of what a composed character is taken apart into.
    composed = {
        ord(made["NFD"][point][-1])
        for point in POINTS
        if made["NFC"][point] == chr(point) and len(made["NFD"][point]) > 1
    }
    for form in FORMS:
        behind = composed if form.endswith("C") else set[int]()
        apart = made[form[:-1] + "D"]
        moved = {point for point, text in apart.items() if ord(text[0]) in ranks or ord(text[0]) in behind}
        _set(traits, attaches(form), moved)
        _set(traits, changes(form), behind)


def _white_space() -> list[int]:
    from tokenizers import normalizers

    strip = normalizers.Strip().normalize_str
    return [point for point in POINTS if not strip(chr(point))]


def _parts_of_words() -> list[int]:
    """Return the code points behind which an added token is none if it has to be a word of its own."""
    from tokenizers import AddedToken, Tokenizer, models

    library: Any = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    library.add_tokens([AddedToken("\0", single_word=True, normalized=False)])
    encodings = library.encode_batch_fast([f"{chr(point)}\0" for point in POINTS])
    return [point for point, encoding in zip(POINTS, encodings, strict=True) if len(encoding.ids) == 1 and point]


def _unassigned() -> list[int]:
    from tokenizers import Regex, pre_tokenizers

    points = [point for point in POINTS if point < 0x20000]
    text = "".join(map(chr, points))
    runs = pre_tokenizers.Split(Regex(r"\p{Cn}+"), "removed", invert=True).pre_tokenize_str(text)
    return [point for _, (start, end) in runs for point in points[start:end]]


def _graphemes(keys: Iterable[int]) -> Callable[[str], bool]:
    """Return what tells whether a text of less than six bytes that begins with one of some bytes is one grapheme."""
    from tokenizers import normalizers

    normalize = normalizers.Precompiled(charsmap(keys, "X")).normalize_str
    return lambda text: bool(normalize(text) == "X")


def _add_graphemes(traits: npt.NDArray[np.uint32]) -> None:
    any_first = _graphemes(range(1, 256))
    behind_a, behind_return = _graphemes(b"a"), _graphemes(b"\r")
    points = [point for point in POINTS if point]
    _set(traits, JOINS_BEFORE, (p for p in points if behind_a(f"a{chr(p)}") or behind_return(f"\r{chr(p)}")))
    _set(traits, JOINS_BEHIND, (p for p in points if any_first(f"{chr(p)}a") or any_first(f"{chr(p)}\n")))
    for jamo in _JAMO:
        _set(traits, JOINS_BEFORE | JOINS_BEHIND, jamo)


def write() -> None:
    """Write the table that ships with the package."""
    file = io.BytesIO()
    tables: dict[str, Any] = derive()
    np.savez_compressed(file, **tables)
    publish_bytes(Path(spanmask.data.__file__).with_name(FILE), file.getvalue())


if __name__ == "__main__":
    write()
