"""GLUE's tasks (Wang et al. 2018, arXiv 1804.07461) for the engine: a folder of official files in, figures and a submission's files out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from os import PathLike
from typing import Any

from spanmask.config import OnError
from spanmask.probes.faults import by_file, by_name
from spanmask.probes.glue.config import GlueConfig
from spanmask.probes.glue.files import find_files
from spanmask.probes.glue.reading import read_files
from spanmask.probes.labelled import divided
from spanmask.probes.labelling import HeldTexts, Labelling, Sets
from spanmask.probes.results import Figures, Named
from spanmask.probes.scores.glue import TASKS
from spanmask.probes.tasks import Outputs
from spanmask.probes.writing import as_tsv
from spanmask.storage import digest
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

#: Labelled texts as predictions are named, and the mean of a task's figures, by which those that have two are chosen.
PREDICTIONS, MEAN = "predictions.tsv", "mean"
#: What STS-B's scores lie between; a submission must not go beyond.
_LOWEST, _HIGHEST = 0.0, 5.0


class Glue(Labelling):
    """One of GLUE's tasks with its files read; see `spanmask.probes.tasks.Task`.

    Figures are those that `spanmask.probes.scores.glue.score` finds for the predictions that are written, with the mean of two where a
    task has two; a correlation that does not exist, because a model says the same of all, is 0 here.

    Parameters
    ----------
    vocabulary
        The model's.
    data
        A folder of GLUE, or of the task.
    task
        One of `spanmask.probes.scores.glue.TASKS`.
    config
        How long examples are, and how many.
    selection
        Share of the training rows that chooses.
    on_error
        Whether a row that is not usable ends reading, or is left out and counted.

    Raises
    ------
    ConfigError
        There is no such task, a file is missing or has other columns, or no row is left to train on or to choose by.
    CorpusError
        A row is not what it should be.
    StorageError
        A file cannot be read.
    MissingExtraError
        SciPy is not installed, which STS-B needs.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        data: str | PathLike[str],
        task: str,
        config: GlueConfig,
        *,
        selection: float,
        on_error: OnError = OnError.FAIL,
    ) -> None:
        files = find_files(data, task)
        self.name, self._task, self._config, self._files = f"glue-{task}", TASKS[task], config, files
        self.metric = MEAN if len(self._task.metrics) > 1 else next(iter(self._task.metrics))
        self.figures(
            *[self._task.labels or ("0", "1")] * 2
        )  # An extra that is missing is told now, not after an epoch.
        self.train_files = (Named(name=files.train.name, sha256=digest(files.train)),)
        self.eval_files = tuple(Named(name=name, sha256=digest(path)) for name, path in files.evaluations.items())
        read = read_files(files, self._task, on_error)
        #: What was left out, by file.
        self.left_out = by_file((files.train, *files.evaluations.values(), *files.tests.values()), read.values())
        training, choosing = divided(read.pop("train"), selection, config.examples)
        sets = Sets(training=training, choosing=choosing, evaluations=read)
        super().__init__(Tokenizer(vocabulary), sets, self._task.labels, config.max_tokens)

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        """The options, what was left out, what is predicted without labels, and what the most frequent label would score."""
        tests = {name: digest(path) for name, path in self._files.tests.items()}
        return {**self._config.to_json(), "left_out": by_name(self.left_out), "tests": tests, "floor": self.floor}

    def figures(self, gold: Sequence[str], predicted: Sequence[str]) -> Figures:
        """Return the official figures, and their mean where there are two."""
        found = {name: metric(gold, predicted) for name, metric in self._task.metrics.items()}
        found = {name: value if isfinite(value) else 0.0 for name, value in found.items()}
        return found | ({MEAN: sum(found.values()) / len(found)} if len(found) > 1 else {})

    def files(self, held: HeldTexts, outputs: Outputs) -> Mapping[str, bytes]:
        """Return predictions as one submits them, under a submission's name where the file has no labels."""
        name, predicted = self._files.submitted.get(held.name, PREDICTIONS), self.answers(outputs)
        if held.texts.labels is None and not self.labels:
            predicted = [f"{min(max(float(text), _LOWEST), _HIGHEST):.9g}" for text in predicted]
        return {name: as_tsv([("index", "prediction"), *zip(held.texts.names, predicted, strict=True)])}
