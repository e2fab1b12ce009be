"""What a normalizer makes of little text, a step at a time: one that writes much for little would take all memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from spanmask.errors import ConfigError

#: How many times its text a normalizer may write; of one character Unicode makes 18 at most.
GROWTH = 64
#: Characters that steps are tried on, each so many times; and how long a pattern is that they are tried on besides.
_TRIED, _TIMES, _LONGEST = " \na0.A-é日\u0301\ufdfa", 8, 32


def require_moderate(name: str, normalizer: Any) -> None:
    """Refuse a normalizer of the library that writes more than `GROWTH` times what it is given.

    Raises
    ------
    ConfigError
        It does. name: the vocabulary's.
    """
    steps = list(_steps(normalizer))
    patterns = [(json.loads(step.__getstate__()).get("pattern") or {}).get("String", "") for step in steps]
    texts = [text * _TIMES for text in (*_TRIED, *(pattern for pattern in patterns if 0 < len(pattern) <= _LONGEST))]
    limits = [GROWTH * len(text) for text in texts]
    for step in steps:
        # Looked at before the next step makes as many times more of it.
        texts = [step.normalize_str(text) for text in texts]
        if any(len(text) > limit for text, limit in zip(texts, limits, strict=True)):
            raise ConfigError(
                f"vocabulary {name}: its normalizer writes over {GROWTH} characters for one ({str(step)[:80]}); mend its tokenizer.json"
            )


def _steps(normalizer: Any) -> Iterator[Any]:
    """Yield the steps of a normalizer, sequences taken apart."""
    if type(normalizer).__name__ == "Sequence":
        for number in range(len(normalizer)):
            yield from _steps(normalizer[number])
    elif normalizer is not None:
        yield normalizer
