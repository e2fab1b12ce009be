"""What decides a model's shape and its arithmetic, without torch.

Defaults are BERT-base's, with the paper's span boundary head (Joshi et al. 2020, §4.2: dropout 0.1 everywhere, 200-dimensional offsets).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from spanmask.errors import ConfigError
from spanmask.options import Form, Options, look_up

#: The vocabulary is padded to a multiple of this, which matrix units like.
VOCABULARY_MULTIPLE = 128

#: The largest of a model's sizes, and its most layers: beyond them a shape is a mistake, and tensors are longer than 64 bits count.
LARGEST, DEEPEST = 1 << 24, 1 << 12

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
    """How attention is computed; all ways read the same packed batch.

    ``varlen``: a fused kernel over sequences of unequal length: CUDA, 16-bit floats, no dropout. ``unpadded``: part by part, and nothing at
    all is computed for slots without a token, whose hidden states are 0: CPU, not compiled. ``sdpa``: a block-diagonal mask, anywhere.
    ``auto``: ``varlen`` or ``unpadded`` where they can be used, else ``sdpa``.
    """

    AUTO = "auto"
    VARLEN = "varlen"
    UNPADDED = "unpadded"
    SDPA = "sdpa"


class Objective(StrEnum):
    """What is trained: masked tokens, and by heads of their own span boundaries, and whether a pair's second segment follows (NSP)."""

    MLM = "mlm"
    MLM_SBO = "mlm+sbo"
    MLM_NSP = "mlm+nsp"
    MLM_SBO_NSP = "mlm+sbo+nsp"

    @classmethod
    def with_heads(cls, *, sbo: bool, nsp: bool) -> Objective:
        """Return the objective that trains masked tokens and these."""
        return cls("mlm" + "+sbo" * sbo + "+nsp" * nsp)

    @property
    def sbo(self) -> bool:
        """Whether span boundaries are trained."""
        return self in (Objective.MLM_SBO, Objective.MLM_SBO_NSP)

    @property
    def nsp(self) -> bool:
        """Whether it is trained what follows."""
        return self in (Objective.MLM_NSP, Objective.MLM_SBO_NSP)


#: What SpanBERT is fine-tuned with, whatever it was trained with (paper, appendix B): dropout, which `Attention.VARLEN` has none of.
FINE_TUNING: dict[str, Any] = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "attention": Attention.AUTO}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanBertConfig(Options):
    """A model's shape.

    Attributes
    ----------
    vocab_size
        V.
    hidden
        H.
    layers
        Of the encoder.
    heads
        Of attention; they divide H.
    intermediate
        The feed-forward layer's width.
    max_positions
        The longest sequence.
    type_vocab
        Rows of the token-type embedding; the first is used, the others are kept for Hugging Face.
    hidden_dropout, attention_dropout
        Share of values set to 0.
    layer_norm_eps
        What layer norms add to the variance.
    initializer_range
        Standard deviation of initial weights.
    max_span_offset, span_offset_dim
        The table of a target's place in its span.
    objective
        Which heads the model has.
    attention
        How attention is computed.
    """

    vocab_size: Annotated[int, Form("a whole number", "V", "give the number of entries of the vocabulary")]
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

    def _check(self) -> None:
        sizes = ("vocab_size", "hidden", "heads", "intermediate", "max_positions", "type_vocab")
        wanted = f"a whole number from 1 to {LARGEST:,}"
        self._require(lambda value: 1 <= value <= LARGEST, wanted, *sizes, "max_span_offset", "span_offset_dim")
        self._require(lambda value: 1 <= value <= DEEPEST, f"a whole number from 1 to {DEEPEST:,}", "layers")
        self._require(lambda value: 0 <= value < 1, "a share from 0 to below 1", "hidden_dropout", "attention_dropout")
        self._require(lambda value: 0 < value < 1, "a number between 0 and 1", "layer_norm_eps", "initializer_range")
        if self.hidden % self.heads:
            raise ConfigError(
                f"hidden is {self.hidden} and heads {self.heads}: give a width that heads divide",
                options=("hidden", "heads"),
            )
        if self.attention is Attention.VARLEN and self.attention_dropout:
            raise ConfigError(
                f"attention varlen has no dropout, and attention_dropout is {self.attention_dropout}: set it to 0, or give sdpa",
                options=("attention",),
            )

    @classmethod
    def preset(cls, name: str, *, vocab_size: int, **changes: Any) -> Self:
        """Return a model of a known size; ``changes`` go over it.

        Raises
        ------
        ConfigError
            The name or a change is unknown, or a value cannot be used.
        """
        layers, hidden, heads = look_up(PRESETS, name, "model")
        sizes = {"layers": layers, "hidden": hidden, "heads": heads, "intermediate": 4 * hidden}
        return cls.of(**({"vocab_size": vocab_size} | sizes | changes))

    @property
    def padded_vocab(self) -> int:
        """W: the rows of the embedding, V rounded up to a multiple of 128."""
        return -(-self.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    def head_width(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads
