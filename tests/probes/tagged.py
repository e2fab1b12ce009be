"""The stories that ship as tagged sentences: the word behind an article with it, and who is spoken of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from probes.ordering import sentences

WHO = {"i", "he", "me", "my", "his", "him"}
Tagged = list[tuple[str, str]]


def tagged(first: int, count: int) -> list[Tagged]:
    """Words with their tags in IOB2, of some sentences from one on."""
    return [_tagged(re.findall(r"\w+|[^\w\s]", text)) for text in sentences()[first : first + count]]


def _tagged(words: list[str]) -> Tagged:
    tags = ["B-WHO" if word.lower() in WHO else "O" for word in words]
    for place, word in enumerate(words[:-1]):
        if word.lower() in ("the", "a"):
            tags[place : place + 2] = ["B-THING", "I-THING"]
    return list(zip(words, tags, strict=True))


def columns(held: Sequence[Tagged]) -> str:
    return "\n".join("".join(f"{word} {tag}\n" for word, tag in sentence) for sentence in held)


def write_columns(path: Path, first: int, count: int) -> Path:
    path.write_text(columns(tagged(first, count)), "utf-8")
    return path
