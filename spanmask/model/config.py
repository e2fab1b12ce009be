"""What decides a model's shape and its arithmetic, without torch.

Defaults are BERT-base's, with the paper's span boundary head (Joshi et al. 2020, §4.2: dropout 0.1 everywhere, 200-dimensional offsets).
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from spanmask.errors import ConfigError

#: The vocabulary is padded to a multiple of this, which matrix units like.
VOCABULARY_MULTIPLE = 128

#: Layers, hidden width and heads by name; the feed-forward layer is four times as wide (Devlin et al. 2019; Turc et al. 2019).
PRESETS = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


class Attention(StrEnum):
    """How attention is computed; both ways read the same packed batch.

    ``varlen``: a fused kernel over sequences of unequal length: CUDA, 16-bit floats, no dropout. ``sdpa``: a block-diagonal mask, anywhere.
    ``auto``: ``varlen`` where it can be used, else ``sdpa``.
    """

    AUTO = "auto"
    VARLEN = "varlen"
    SDPA = "sdpa"


class Objective(StrEnum):
    """What is trained: masked tokens alone, or span boundaries too, which need their own head."""

    MLM = "mlm"
    MLM_SBO = "mlm+sbo"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanBertConfig:
    """A model's shape.

    vocab_size: V. hidden: H. intermediate: the feed-forward layer's width. max_positions: the longest sequence. type_vocab: rows of the
    token-type embedding; the first is used, the others are kept for Hugging Face. max_span_offset, span_offset_dim: the table of a target's
    place in its span. objective: which heads the model has.

    Raises
    ------
    ConfigError
        A value is of another type, out of range, or contradicts another.
    """

    vocab_size: int
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    max_positions: int = 512
    type_vocab: int = 2
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    max_span_offset: int = 20
    span_offset_dim: int = 200
    objective: Objective = Objective.MLM_SBO
    attention: Attention = Attention.AUTO

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _require_kind(field.name, str(field.type), getattr(self, field.name))
        if self.hidden % self.heads:
            raise ConfigError(f"hidden is {self.hidden} and heads {self.heads}: give a width that heads divide")
        if self.attention is Attention.VARLEN and self.attention_dropout:
            raise ConfigError(
                f"attention varlen has no dropout, and attention_dropout is {self.attention_dropout}: set it to 0, or give sdpa"
            )

    @classmethod
    def preset(cls, name: str, *, vocab_size: int, **changes: Any) -> Self:
        """Return a model of a known size; ``changes`` go over it.

        Raises
        ------
        ConfigError
            The name or a change is unknown, or a value cannot be used.
        """
        if name not in PRESETS:
            raise ConfigError(f"unknown model {name!r}: give one of {', '.join(PRESETS)}")
        layers, hidden, heads = PRESETS[name]
        sizes = {"layers": layers, "hidden": hidden, "heads": heads, "intermediate": 4 * hidden}
        return cls.from_json({"vocab_size": vocab_size} | sizes | changes)

    def changed(self, **changes: Any) -> Self:
        """Return the configuration with other values of some fields, as `from_json` takes them.

        Raises
        ------
        ConfigError
            A name is unknown, or a value cannot be used.
        """
        return self.from_json(self.to_json() | changes)

    @property
    def padded_vocab(self) -> int:
        """W: the rows of the embedding, V rounded up to a multiple of 128."""
        return -(-self.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    def head_width(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            name: str(value) if isinstance(value, StrEnum) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build the configuration that `to_json` wrote; fields left out have their defaults.

        Raises
        ------
        ConfigError
            A name is unknown (the nearest known one is told), one that has no default is missing, or a value cannot be used.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(f"unknown option {name!r} of a model; did you mean {(near or known)[0]!r}?")
        if "vocab_size" not in values:
            raise ConfigError("vocab_size is missing: give the number of entries of the vocabulary")
        return cls(**{name: _plain(name, value) for name, value in values.items()})


_CHOICES: dict[str, type[StrEnum]] = {"objective": Objective, "attention": Attention}


def _plain(name: str, value: Any) -> Any:
    """Turn a JSON value into the field's: a choice from its text, a float from an integer."""
    if name in _CHOICES and value in list(_CHOICES[name]):
        return _CHOICES[name](value)
    whole = type(value) is int and name in (
        "hidden_dropout",
        "attention_dropout",
        "layer_norm_eps",
        "initializer_range",
    )
    return float(value) if whole else value


def _require_kind(name: str, kind: str, value: Any) -> None:
    if kind == "int" and (type(value) is not int or value < 1):
        raise ConfigError(f"{name} is {value!r}: give a whole number from 1")
    if kind == "float" and type(value) is not float:
        raise ConfigError(f"{name} is {value!r}: give a number")
    if name.endswith("_dropout") and not 0 <= value < 1:
        raise ConfigError(f"{name} is {value!r}: give a share from 0 to below 1")
    if name in ("layer_norm_eps", "initializer_range") and not 0 < value < 1:
        raise ConfigError(f"{name} is {value!r}: give a number between 0 and 1")
    if name in _CHOICES and not isinstance(value, _CHOICES[name]):
        raise ConfigError(f"{name} is {value!r}: give one of {', '.join(_CHOICES[name])}")
