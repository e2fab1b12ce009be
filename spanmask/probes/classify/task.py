"""Classification of a user's texts for the engine: labelled files in, figures, predictions and what is taken for what out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import Any

from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.probes.classify.config import ClassifyConfig, Target
from spanmask.probes.classify.figures import confusion, mean_and_deviation, root_mean_squared_error
from spanmask.probes.classify.reading import find_columns, read_labelled
from spanmask.probes.faults import by_file, by_name
from spanmask.probes.files import Paths, evaluation_files, training_files
from spanmask.probes.labelled import divided, joined
from spanmask.probes.labelling import HeldTexts, Labelling, Sets, surest
from spanmask.probes.results import Figures
from spanmask.probes.scores.glue import accuracy, pearson, spearman
from spanmask.probes.scores.macro import macro_f1
from spanmask.probes.tasks import Outputs
from spanmask.probes.writing import as_tsv
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

PREDICTIONS, CONFUSION = "predictions.tsv", "confusion.tsv"
#: More labels than these are numbers, or identifiers.
_MOST_LABELS = 1000


class Classify(Labelling):
    """Labels, or numbers, of a user's texts or pairs of texts, with the files read; see `spanmask.probes.tasks.Task`.

    Of labels, ``macro_f1`` chooses, which unlike ``accuracy`` does not rise by telling all to have the most frequent one. Of numbers, the
    mean of Pearson's and Spearman's correlation chooses; one that does not exist, because a model says the same of all, is 0. They are
    learnt in standard deviations from the mean of those that are trained on, and told as they are.

    Parameters
    ----------
    vocabulary
        The model's.
    train, evaluate
        TSVs or JSON lines, in any mixture.
    config
        What is read of them, and how long examples are.
    selection
        Share of the training rows that chooses.
    on_error
        Whether a row that is not usable ends reading, or is left out and counted.

    Raises
    ------
    ConfigError
        A file is missing or has other columns, two evaluation files have one name, no row is left to train on or to choose by, or there is
        one label alone, or more than 1,000.
    CorpusError
        A row is not what it should be, or an evaluation's label is none of the training files'.
    StorageError
        A file cannot be read.
    MissingExtraError
        SciPy is not installed, which numbers need.
    """

    name = "classify"

    def __init__(
        self,
        vocabulary: Vocabulary,
        train: Paths,
        evaluate: Paths,
        config: ClassifyConfig,
        *,
        selection: float,
        on_error: OnError = OnError.FAIL,
    ) -> None:
        self._config, numbers = config, config.target is Target.NUMBERS
        self.metric = "mean" if numbers else "macro_f1"
        if numbers:
            self._correlations(["0", "1"], ["0", "1"])  # An extra that is missing is told now, not after an epoch.
        self.eval_files, self.train_files = evaluation_files(evaluate), training_files(train)
        columns = find_columns(train[0], config)
        learnt = [read_labelled(path, columns, numbers=numbers, on_error=on_error) for path in train]
        whole = joined(learnt)
        labels = () if numbers else _labels(whole.labels or ())
        held = [
            read_labelled(path, columns, labels=labels or None, numbers=numbers, on_error=on_error) for path in evaluate
        ]
        #: What was left out, by file.
        self.left_out = by_file((*train, *evaluate), learnt + held)
        training, choosing = divided(whole, selection, config.examples)
        if numbers:
            self.mean, self.deviation = mean_and_deviation(training.labels or ())
        evaluations = {file.name: texts for file, texts in zip(self.eval_files, held, strict=True)}
        sets = Sets(training=training, choosing=choosing, evaluations=evaluations)
        super().__init__(Tokenizer(vocabulary), sets, labels, config.max_tokens)

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        """The options, the labels or how numbers are spread, what was left out, and what the most frequent label would score."""
        spread = {} if self.labels else {"spread": {"mean": self.mean, "deviation": self.deviation}}
        return {
            **self._config.to_json(),
            "labels": list(self.labels),
            **spread,
            "left_out": by_name(self.left_out),
            "floor": self.floor,
        }

    def figures(self, gold: Sequence[str], predicted: Sequence[str]) -> Figures:
        """Return accuracy and macro-averaged F1 in [0, 1]; of numbers correlations, their mean, and the root mean squared error."""
        if self._config.target is Target.LABELS:
            return {"accuracy": accuracy(gold, predicted), "macro_f1": macro_f1(gold, predicted)}
        found = self._correlations(gold, predicted)
        return {**found, "mean": sum(found.values()) / 2, "rmse": root_mean_squared_error(gold, predicted)}

    @staticmethod
    def _correlations(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
        found = {"pearson": pearson(gold, predicted), "spearman": spearman(gold, predicted)}
        return {name: value if isfinite(value) else 0.0 for name, value in found.items()}

    def files(self, held: HeldTexts, outputs: Outputs) -> Mapping[str, bytes]:
        """Return predictions, with the probability of each label told; and how often which label is taken for which."""
        predicted = self.answers(outputs)
        if not self.labels:
            return {PREDICTIONS: as_tsv([("index", "prediction"), *zip(held.texts.names, predicted, strict=True)])}
        rows = zip(held.texts.names, predicted, (f"{value:.6f}" for value in surest(outputs)), strict=True)
        counted = confusion(held.texts.labels or (), predicted, self.labels)
        table = ((label, *map(str, counts)) for label, counts in zip(self.labels, counted, strict=True))
        return {
            PREDICTIONS: as_tsv([("index", "prediction", "probability"), *rows]),
            CONFUSION: as_tsv([("label", *self.labels), *table]),
        }


def _labels(told: Sequence[str]) -> tuple[str, ...]:
    labels = sorted(set(told))
    if not 2 <= len(labels) <= _MOST_LABELS:
        raise ConfigError(
            f"the training files have {len(labels):,} labels, {labels[0][:40]!r} among them, expected 2 to {_MOST_LABELS:,}; give another "
            "--label-field, or --target numbers",
            options=("target",),
        )
    return tuple(labels)
