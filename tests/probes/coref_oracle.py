"""A literal, slow twin of the coreference head on documents of a few sentences, in float64; it imports nothing of ours.

A document is sentences of words, each word the number of its pieces, and of each word a number that is its text; states are those of the
pieces alone, in order. Everything is written out pair by pair as the definition has it: no matrix but the weights.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

Weights = dict[str, np.ndarray]
Span = tuple[int, int]


def _read(weights: Weights, name: str, state: np.ndarray) -> np.ndarray:
    """LayerNorm(GELU(W·x + b)); the state itself where there is no layer."""
    if f"{name}.layers.0.weight" not in weights:
        return state
    inner = weights[f"{name}.layers.0.weight"] @ state + weights[f"{name}.layers.0.bias"]
    active = np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in inner])
    normed = (active - active.mean()) / math.sqrt(active.var() + 1e-12)
    return weights[f"{name}.layers.2.weight"] * normed + weights[f"{name}.layers.2.bias"]


class LiteralHead:
    """The head on one document, as its definition reads."""

    def __init__(
        self,
        weights: Weights,
        states: np.ndarray,
        sentences: Sequence[Sequence[int]],
        texts: Sequence[int],
        *,
        singletons: bool,
    ) -> None:
        self.weights, self.states, self.texts, self.singletons = weights, states, texts, singletons
        self.firsts, self.lasts, self.sentence = [], [], []
        piece = 0
        for number, words in enumerate(sentences):
            for pieces in words:
                self.firsts.append(piece)
                piece += pieces
                self.lasts.append(piece - 1)
                self.sentence.append(number)
        self.pieces = piece
        self.reading: dict[tuple[str, int], np.ndarray] = {}

    def read(self, name: str, piece: int) -> np.ndarray:
        """What a reader makes of a piece's state, told once."""
        if (name, piece) not in self.reading:
            self.reading[name, piece] = _read(self.weights, name, self.states[piece])
        return self.reading[name, piece]

    def candidates(self, max_span: int) -> list[Span]:
        words = range(len(self.firsts))
        return [
            (start, end)
            for start in words
            for end in words
            if start <= end
            and self.sentence[start] == self.sentence[end]
            and self.lasts[end] - self.firsts[start] + 1 <= max_span
        ]

    def words(self, span: Span) -> Sequence[int]:
        return self.texts[span[0] : span[1] + 1]

    def mention(self, span: Span) -> float:
        weights = self.weights
        start = self.read("mention_starts", self.firsts[span[0]])
        end = self.read("mention_ends", self.lasts[span[1]])
        alone = weights["start_score.weight"][0] @ start + weights["end_score.weight"][0] @ end
        biases = weights["start_score.bias"][0] + weights["end_score.bias"][0]
        both = (weights["mention_pair.weight"] @ start + weights["mention_pair.bias"]) @ end
        return alone + biases + both / math.sqrt(len(start))

    def antecedent(self, span: Span, earlier: Span, between: int) -> float:
        """The four bilinear scores, each by its own quarter of the weights, what is said of the earlier one alone, of the distance, of the
        same words and of the same last word."""
        weights = self.weights
        one, other = (
            [self.read("starts", self.firsts[start]), self.read("ends", self.lasts[end])]
            for start, end in (span, earlier)
        )
        size = len(one[0])
        total = 0.0
        for row in range(2):
            total += weights["antecedent_pair.bias"][row * size : (row + 1) * size] @ other[row]
            for column in range(2):
                quarter = weights["antecedent_pair.weight"][
                    row * size : (row + 1) * size, column * size : (column + 1) * size
                ]
                total += other[row] @ quarter @ one[column]
        total /= math.sqrt(2 * size)
        if "pair.weight" in weights:
            classes = ["0", "1", "2", "3", "4-6", "7-14", "15-30", "31-62"]
            inside = [range(int(name.split("-")[0]), int(name.split("-")[-1]) + 1) for name in classes]
            number = next((number for number, few in enumerate(inside) if between in few), len(classes))
            said = weights["pair.weight"] @ np.concatenate(one) + weights["pair.bias"]
            total += said[number]
            if self.words(span) == self.words(earlier):
                total += said[len(classes) + 1]
            if self.words(span)[-1] == self.words(earlier)[-1]:
                total += said[len(classes) + 2]
        return total if self.singletons else total + self.mention(span) + self.mention(earlier)

    def kept(self, max_span: int, top: float, gold: Collection[Span] = ()) -> list[Span]:
        """The likeliest, of those above 0 where singletons are learnt, before which then come the gold ones that are given."""
        found = self.candidates(max_span)
        count = max(int(top * self.pieces), 1)
        if not self.singletons:
            return sorted(sorted(found, key=self.mention, reverse=True)[:count])
        known = [span for span in found if span in gold]
        others = sorted((span for span in found if span not in gold), key=self.mention, reverse=True)
        return sorted([*known, *(span for span in others if self.mention(span) > 0)][:count])

    def loss(self, max_span: int, top: float, entities: Sequence[Sequence[Span]]) -> float:
        whose = {mention: number for number, mentions in enumerate(entities) for mention in mentions}
        kept = self.kept(max_span, top, whose)
        losses = []
        for place, span in enumerate(kept):
            weights = {
                earlier: math.exp(self.antecedent(span, earlier, place - other - 1))
                for other, earlier in enumerate(kept[:place])
            }
            gold = [earlier for earlier in kept[:place] if span in whose and whose.get(earlier) == whose[span]]
            right = sum(weights[earlier] for earlier in gold) if gold else 1.0
            losses.append(-math.log(right / (1.0 + sum(weights.values()))))
        total = sum(losses) / max(len(kept), 1)
        if self.singletons:
            crossed = 0.0
            for span in self.candidates(max_span):
                chance = 1 / (1 + math.exp(-self.mention(span)))
                crossed -= math.log(chance if span in whose else 1 - chance)
            total += crossed / max(len(kept), 1)
        return total

    def rows(self, max_span: int, top: float) -> list[tuple[int, int, int, float, float]]:
        kept = self.kept(max_span, top)
        rows = []
        for place, span in enumerate(kept):
            scores = [self.antecedent(span, earlier, place - other - 1) for other, earlier in enumerate(kept[:place])]
            best = max(scores, default=0.0)
            rows.append((*span, scores.index(best) if best > 0 else -1, self.mention(span), best))
        return rows
