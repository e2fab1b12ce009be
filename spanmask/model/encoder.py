"""BERT's encoder by composition (Devlin et al. 2019): learned positions, layer norm after each residual sum, the exact (erf) GELU.

Hidden states are flat, (R, H): all but attention treats each slot alone, so the R slots are all B·L, or those that hold a token.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from spanmask.errors import ConfigError
from spanmask.model.attention import Neighbours, SelfAttention, neighbours_of, resolve_attention
from spanmask.model.config import SpanBertConfig
from spanmask.model.dropout import Dropout
from spanmask.model.inputs import PackedTensors


class Embeddings(nn.Module):
    """Word, position and token-type embeddings, summed and normalised. Rows of the word embedding from V on are padding, all zero."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.padded_vocab, config.hidden)
        self.positions = nn.Embedding(config.max_positions, config.hidden)
        self.types = nn.Embedding(config.type_vocab, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, input_ids: Tensor, positions: Tensor, token_types: Tensor | None) -> Tensor:
        """Map ids, positions and token types, (R,) each, to (R, H). token_types: None where all are 0."""
        types = self.types.weight[0] if token_types is None else self.types(token_types)
        summed = self.words(input_ids) + self.positions(positions) + types
        embedded: Tensor = self.dropout(self.norm(summed))
        return embedded


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to its input and normalised."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.up = nn.Linear(config.hidden, config.intermediate)
        self.down = nn.Linear(config.intermediate, config.hidden)
        self.output_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, hidden: Tensor, neighbours: Neighbours) -> Tensor:
        """Map hidden states (R, H) to (R, H)."""
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, neighbours)))
        expanded = functional.gelu(self.up(hidden))
        normed: Tensor = self.output_norm(hidden + self.dropout(self.down(expanded)))
        return normed


class SpanBertEncoder(nn.Module):
    """Packed sequences in, hidden states of the last layer out. Sequences of one bin do not see each other."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        initialise(self, config)

    def forward(self, batch: PackedTensors) -> Tensor:
        """Map a batch of B bins of L slots to hidden states (B·L, H).

        Raises
        ------
        ConfigError
            Bins are wider than there are positions, or attention cannot be computed as asked.
        """
        config, width = self.config, batch.input_ids.shape[1]
        if width > config.max_positions:
            raise ConfigError(
                f"bins of {width} slots, and the model has {config.max_positions} positions: pack to that width, or give more positions"
            )
        weight = self.embeddings.words.weight
        dropout = config.attention_dropout if self.training else 0.0
        way = resolve_attention(config.attention, weight.device, weight.dtype, dropout)
        neighbours = neighbours_of(batch, way, weight.dtype)
        tokens = neighbours.tokens
        ids, positions = _flat(batch.input_ids, tokens), _flat(batch.positions, tokens)
        types = None if batch.token_types is None else _flat(batch.token_types, tokens)
        hidden: Tensor = self.embeddings(ids, positions, types)
        for layer in self.layers:
            hidden = layer(hidden, neighbours)
        # Back to all slots, since heads gather by slot; those of padding are zero and of no target.
        slots = batch.input_ids.numel()
        return hidden if tokens is None else hidden.new_zeros(slots, config.hidden).index_copy(0, tokens, hidden)


def _flat(slots: Tensor, tokens: Tensor | None) -> Tensor:
    """Return the values of slots, (B, L), that are computed, (R,)."""
    return slots.flatten() if tokens is None else slots.flatten()[tokens]


def initialise(module: nn.Module, config: SpanBertConfig) -> None:
    """Draw all weights as `draw_weights` does, and set the vocabulary's padding to zero."""
    draw_weights(module, config.initializer_range)
    for part in module.modules():
        if isinstance(part, Embeddings):
            nn.init.zeros_(part.words.weight[config.vocab_size :])


def draw_weights(module: nn.Module, deviation: float) -> None:
    """Draw all weights from N(0, deviation), from torch's global generator; biases are zero."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=deviation)
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
