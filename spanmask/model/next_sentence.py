"""Next-sentence prediction: whether the second segment of a pair follows the first (Devlin et al. 2019, §3.1, task 2)."""

from __future__ import annotations

from torch import Tensor, nn

from spanmask.model.config import SpanBertConfig
from spanmask.model.encoder import initialise
from spanmask.model.finetuning import Pooler


class NextSentenceHead(nn.Module):
    """BERT's: two scores of what its pooler makes of a sequence's first state; the first is that the second segment follows."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.pooler = Pooler(config)
        self.dense = nn.Linear(config.hidden, 2)
        initialise(self, config)

    def forward(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Map hidden states (B·L, H) and the positions of sequences' first slots, (S,), to scores (S, 2)."""
        scores: Tensor = self.dense(self.pooler(hidden.index_select(0, positions)))
        return scores
