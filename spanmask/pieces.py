"""What pieces stand for, as far as the word rule asks (FORMAT.md §6.7): classes of characters, and the bytes of entries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: Classes of characters: white space, combining marks, and those of scripts written without spaces; 0 is any other.
WHITE_SPACE, MARK, SPACELESS = 1, 2, 3
#: Tokens of a word at most: each token of a longer one counts as a word.
LONGEST_WORD = 16
#: What a piece that continues a word begins with.
CONTINUATION = "##"
FILE = "word-characters.txt"

_CLASSES = {"White_Space": WHITE_SPACE, "M": MARK}
#: What stands for a space where a tokenizer makes white space visible.
_VISIBLE_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@cache
def character_classes() -> npt.NDArray[np.uint8]:
    """Return the class of every code point, (0x110000,)."""
    classes = np.zeros(0x110000, np.uint8)
    classes[ord(_VISIBLE_SPACE)] = WHITE_SPACE
    for line in resources.files("spanmask.data").joinpath(FILE).read_text("utf-8").splitlines():
        if not line.startswith("#"):
            points, kind = line.split(" ; ")
            first, last = (int(point, 16) for point in points.split(".."))
            classes[first : last + 1] = _CLASSES.get(kind, SPACELESS)
    classes.flags.writeable = False
    return classes


def first_classes(entries: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return the class of the first character of each entry of WordPiece, (V,), ``##`` left out."""
    classes = character_classes()
    firsts = (entry.removeprefix(CONTINUATION)[:1] for entry in entries)
    return np.array([classes[ord(first)] if first else 0 for first in firsts], np.uint8)


class Speller(NamedTuple):
    """How the entries of a tokenizer spell text. added: those that stand for themselves; fallback: whether some name a byte."""

    added: frozenset[str]
    byte_level: bool
    fallback: bool
    prefix: str

    @classmethod
    def of(cls, content: dict[str, Any]) -> Speller:
        """Return that of a tokenizer.json."""
        model = content["model"]
        parts = (content.get(part) for part in ("normalizer", "pre_tokenizer", "decoder"))
        return cls(
            added=frozenset(token["content"] for token in content.get("added_tokens", []) if not token["special"]),
            byte_level=any(step.get("type") == "ByteLevel" for part in parts for step in steps_of(part)),
            fallback=bool(model.get("byte_fallback")),
            prefix=model.get("continuing_subword_prefix") or "",
        )

    def bytes_of(self, entry: str) -> bytes:
        """Return the bytes of text that an entry stands for."""
        if entry in self.added:
            return entry.encode()
        if self.byte_level:
            return _bytes_of(entry)
        found = _BYTE.fullmatch(entry) if self.fallback else None
        return bytes.fromhex(found[1]) if found else entry.removeprefix(self.prefix).encode()


def steps_of(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the steps of a part of a tokenizer.json, sequences taken apart."""
    if part is None:
        return []
    inner = next((part[name] for name in ("normalizers", "pretokenizers", "decoders") if name in part), None)
    return [part] if inner is None else [step for item in inner for step in steps_of(item)]


def byte_characters() -> dict[str, int]:
    """Return the byte that each character of byte-level entries stands for: its own code if printable, else from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTES = byte_characters()


def _bytes_of(entry: str) -> bytes:
    try:
        return bytes(map(_BYTES.__getitem__, entry))
    except KeyError:
        return b"".join(
            bytes([_BYTES[character]]) if character in _BYTES else character.encode() for character in entry
        )
