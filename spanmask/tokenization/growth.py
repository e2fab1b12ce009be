"""What a normalizer makes of little text, a step at a time: one that writes much for little would take all memory."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from spanmask.errors import ConfigError

#: How many times its text a normalizer may write; of one character Unicode makes 18 at most.
GROWTH = 64
#: Characters that steps are tried on, each so many times; so are texts that a step looks for, the long ones once.
_TRIED, _TIMES, _LONG = " \na0.A-é日\u0301\ufdfa", 8, 32
#: The characters that a table writes for one from which on it is looked at what later steps make of them.
_MANY = 4


def require_moderate(name: str, steps: Sequence[dict[str, Any]], made: Sequence[Any]) -> None:
    """Refuse a normalizer that writes more than `GROWTH` times what it is given.

    Parameters
    ----------
    name
        The vocabulary's.
    steps, made
        Its steps, sequences taken apart, as a tokenizer.json has them and as the library does.

    Raises
    ------
    ConfigError
        It does.
    """
    for number, step in enumerate(steps):
        written = _written_for_one(step)
        limits = [GROWTH] * len(written)
        _require(name, made[number], written, limits)
        _try(name, made[number + 1 :], written, limits)
    tried = [text * _TIMES for text in _TRIED]
    tried += [text * (1 if len(text) > _LONG else _TIMES) for text in map(_sought, steps) if text]
    _try(name, made, tried, [GROWTH * len(text) for text in tried])


def _try(name: str, steps: Sequence[Any], texts: list[str], limits: list[int]) -> None:
    """Refuse steps that make more than so many characters of a text, one behind the other."""
    for step in steps:
        texts = [step.normalize_str(text) for text in texts]
        # Looked at before the next step makes as many times more of it.
        _require(name, step, texts, limits)


def _require(name: str, step: Any, texts: list[str], limits: list[int]) -> None:
    if any(len(text) > limit for text, limit in zip(texts, limits, strict=True)):
        raise ConfigError(
            f"vocabulary {name}: its normalizer writes over {GROWTH} characters for one ({str(step)[:80]}); mend its tokenizer.json"
        )


def _sought(step: dict[str, Any]) -> str:
    """Return the text that a step looks for, where that is one."""
    text: str = (step.get("pattern") or {}).get("String", "")
    return text


def _written_for_one(step: dict[str, Any]) -> list[str]:
    """Return what a step may write for a single character that no one can name beforehand."""
    if "Regex" in (step.get("pattern") or {}):
        return [step["content"]]
    if step["type"] != "Precompiled":
        return []
    table = base64.b64decode(step["precompiled_charsmap"])
    # Behind its size and the trie come the texts that are written, with a zero byte behind each.
    (size,) = struct.unpack_from("<I", table)
    return [text.decode(errors="replace") for text in set(table[4 + size :].split(b"\0")) if len(text) > _MANY]
