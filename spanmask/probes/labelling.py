"""Labels of examples, or numbers, as tasks of the engine; and those of texts, which GLUE's tasks and a user's own have in common.

A pooler's output of each example goes through a `ClassHead`: one score for each label and their cross entropy, or one number and its
squared error, as transformers' ``BertForSequenceClassification`` has them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.model.config import SpanBertConfig
from spanmask.model.finetuning import ClassHead, NumberHead
from spanmask.probes.batching import Batch
from spanmask.probes.examples import Examples
from spanmask.probes.floors import label_floor
from spanmask.probes.labelled import LabelledTexts
from spanmask.probes.results import Figures
from spanmask.probes.sentences import sentence_examples
from spanmask.probes.tasks import Judged, Outputs, Rows, Settings, require_finite
from spanmask.tokenization import Tokenizer

#: What a head that tells numbers has for its only label.
NUMBER = "number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """What a task is made of. evaluations: by name; those without labels are predicted alone."""

    training: LabelledTexts
    choosing: LabelledTexts
    evaluations: Mapping[str, LabelledTexts]


class HeldTexts:
    """Texts that are labelled and not trained on. name: what results call them."""

    def __init__(self, name: str, texts: LabelledTexts, task: Labelling) -> None:
        self.name, self.texts, self._task = name, texts, task
        self.examples: Examples = task.examples_of(texts)

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        """Score the labels that scores, (N, K), come to; see `spanmask.probes.tasks.HeldOut`."""
        task, gold = self._task, self.texts.labels
        return Judged(
            figures={} if gold is None else task.figures(gold, task.answers(outputs)),
            files={} if settings is None else task.files(self, outputs),
        )


class LabelTask:
    """What tells the label of each example, or a number. labels: in the order of scores; none for numbers."""

    rows = Rows.EXAMPLE
    labels: tuple[str, ...]
    #: Of numbers, where a head begins, and what a loss counts their errors in.
    mean, deviation = 0.0, 1.0

    def head(self, config: SpanBertConfig) -> nn.Module:
        """Return a new head: a score for each label, or a number."""
        if self.labels:
            return ClassHead(config, self.labels)
        return NumberHead(config, NUMBER, mean=self.mean, deviation=self.deviation)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return the summed loss of n examples, of one target: of each the cross entropy of its label, or its number's squared error."""
        (told,) = batch.targets.values()
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.labels:
            return functional.cross_entropy(wide, told, reduction="sum")
        said, numbers = (values / self.deviation for values in (wide[:, 0], told.to(wide.dtype)))
        return functional.mse_loss(said, numbers, reduction="sum")

    def answers(self, outputs: Outputs) -> list[str]:
        """Return the label of the highest score of each of N examples, of equals the first, or its number, as texts that files have.

        Raises
        ------
        ConfigError
            A score is no finite number.
        """
        require_finite(outputs)
        if self.labels:
            return [self.labels[place] for place in outputs.argmax(1).tolist()]
        return [f"{value:.9g}" for value in outputs[:, 0].tolist()]


def surest(outputs: Outputs) -> list[float]:
    """Return the probability of the highest score of each of N examples, (N, K)."""
    wide = outputs.astype(np.float64)
    shares: list[float] = (1 / np.exp(wide - wide.max(1, keepdims=True)).sum(1)).tolist()
    return shares


class Labelling(LabelTask, ABC):
    """Texts into labels, or into numbers; see `spanmask.probes.tasks.Task`.

    Parameters
    ----------
    tokenizer
        The model's.
    sets
        What is trained on, what chooses, and what is scored.
    labels
        In the order of scores; none for numbers.
    max_tokens
        Of an example.
    """

    def __init__(self, tokenizer: Tokenizer, sets: Sets, labels: Sequence[str], max_tokens: int) -> None:
        self._tokenizer, self._sets, self.labels, self.width = tokenizer, sets, tuple(labels), max_tokens
        self.training = self.examples_of(sets.training)
        self.selection = HeldTexts("selection", sets.choosing, self)
        self.evaluations = tuple(HeldTexts(name, texts, self) for name, texts in sets.evaluations.items())

    @abstractmethod
    def figures(self, gold: Sequence[str], predicted: Sequence[str]) -> Figures:
        """Return what predictions are worth, the metric that chooses among it."""

    @abstractmethod
    def files(self, held: HeldTexts, outputs: Outputs) -> Mapping[str, bytes]:
        """Return files of what scores, (N, K), come to, by name."""

    def examples_of(self, texts: LabelledTexts) -> Examples:
        """Return texts as a model reads them, with what is to be learnt where labels are known."""
        columns = list(zip(*texts.texts, strict=True))
        return sentence_examples(columns, self._tokenizer, self.width, self._targets(texts.labels))

    def _targets(self, told: Sequence[str] | None) -> dict[str, Any]:
        if told is None:
            return {}
        if not self.labels:
            return {"numbers": np.array([*map(float, told)], np.float32)}
        places = {label: place for place, label in enumerate(self.labels)}
        return {"labels": np.array([places[label] for label in told], np.int64)}

    @property
    def floor(self) -> dict[str, Any]:
        """What the most frequent label of the training files would score; nothing where there are numbers."""
        if not self.labels:
            return {}
        told = ((name, texts.labels) for name, texts in self._sets.evaluations.items())
        training = (*(self._sets.training.labels or ()), *(self._sets.choosing.labels or ()))
        return label_floor(training, self.labels, {name: gold for name, gold in told if gold}, self.figures)
