"""What decides how GLUE's files become examples."""

from __future__ import annotations

from dataclasses import dataclass

from spanmask.options import Options

_LONGEST = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class GlueConfig(Options):
    """Examples of GLUE, as the paper's released code has them (run_glue.py).

    Attributes
    ----------
    max_tokens
        Tokens of a sentence or pair with its special ones; of a pair that has more, the longer one is cut first.
    examples
        Training rows at most, those that choose among them: the ones of the lowest hashes. [all]
    """

    max_tokens: int = 128
    examples: int | None = None

    def _check(self) -> None:
        self._require(lambda value: 5 <= value <= _LONGEST, f"5 to {_LONGEST} tokens", "max_tokens")
        self._require(lambda value: value >= 2, "2 or more rows", "examples")
