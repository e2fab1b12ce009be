"""Ask the `tokenizers` library which characters its regular expressions count to a class.

``python -m spanmask.tokenization.derive_classes`` writes the table anew.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import spanmask.data
from spanmask.kernels.patterns import CAPITAL, LETTER, NEWLINE, NUMBER, SMALL, WHITE
from spanmask.records import Bytes
from spanmask.storage import publish_bytes
from spanmask.tokenization.patterns import DIGIT, FILE, MARK

_BLOCK = 128
#: What each bit says of a character, as a regular expression.
_PATTERNS = {
    LETTER: r"\p{L}",
    NUMBER: r"\p{N}",
    WHITE: r"\s",
    NEWLINE: r"[\r\n]",
    CAPITAL: r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
    SMALL: r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
    MARK: r"\p{M}",
}


def classes_of(text: str) -> Bytes:
    """Return (C,) what the installed library says of each character of a text; the first is no digit."""
    from tokenizers import Regex, pre_tokenizers

    runs = {
        bit: pre_tokenizers.Split(Regex(f"{pattern}+"), "removed", invert=True).pre_tokenize_str(text)
        for bit, pattern in _PATTERNS.items()
    }
    # Here runs of other characters are given as well; one of those comes first.
    runs[DIGIT] = pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str(text)[1::2]
    classes = np.zeros(len(text), np.uint8)
    for bit, found in runs.items():
        for _, (start, end) in found:
            classes[start:end] |= bit
    return classes


def derive() -> dict[str, npt.NDArray[Any]]:
    """Return the table: blocks (8704,) and classes (128 · B,), those of ASCII first."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    classes = np.zeros(0x110000, np.uint8)
    classes[points] = classes_of("".join(map(chr, points)))
    unique, firsts, blocks = np.unique(classes.reshape(-1, _BLOCK), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    return {"blocks": np.argsort(order)[blocks.reshape(-1)].astype(np.uint16), "classes": unique[order].reshape(-1)}


def write() -> None:
    """Write the table that ships with the package."""
    file = io.BytesIO()
    tables: dict[str, Any] = derive()
    np.savez_compressed(file, **tables)
    publish_bytes(Path(spanmask.data.__file__).with_name(FILE), file.getvalue())


if __name__ == "__main__":
    write()
