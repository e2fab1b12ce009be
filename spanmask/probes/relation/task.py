"""Relation extraction as a task to fine-tune on: files in, and of each model the figures that TACRED's or SemEval's program computes.

As in the paper, a label is read off the first token's state, behind a pooler and dropout; a pooler that a model lacks is drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.escaping import counted
from spanmask.probes.examples import Examples
from spanmask.probes.faults import by_file, by_name
from spanmask.probes.files import Paths, evaluation_files, training_files
from spanmask.probes.floors import label_floor
from spanmask.probes.labelling import LabelTask, surest
from spanmask.probes.relation.config import Entities, RelationConfig
from spanmask.probes.relation.encoding import Encoded, encode
from spanmask.probes.relation.marking import mark
from spanmask.probes.relation.reading import read_relations
from spanmask.probes.relation.relations import Layout, Relations, joined
from spanmask.probes.relation.scoring import figures, label_files, require_scored, rules_of
from spanmask.probes.selection import parted, selected
from spanmask.probes.tasks import Judged, Outputs, Settings
from spanmask.probes.writing import as_json
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary


class HeldPairs:
    """Pairs whose relations are predicted and not trained on. name: what results call them."""

    def __init__(self, name: str, relations: Relations, encoded: Encoded, task: RelationExtraction) -> None:
        require_scored(task.rules, name, relations)
        self.name, self.encoded = name, encoded
        self._relations, self._task = relations, task

    @property
    def examples(self) -> Examples:
        """The pairs as a model reads them."""
        return self.encoded.examples

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        """Score the labels that scores, (N, K), come to; see `spanmask.probes.tasks.HeldOut`."""
        predicted = self._task.answers(outputs)
        files = {} if settings is None else self._files(predicted, outputs)
        return Judged(figures=figures(self._task.rules, self._relations.labels, predicted), files=files)

    def _files(self, predicted: Sequence[str], outputs: Outputs) -> dict[str, bytes]:
        told = {
            "pairs": len(self.examples),
            "cut": {str(cut): count for cut, count in self.encoded.cut.items()},
            "unknown_types": self.encoded.unknown_types,
            "unknown_labels": self.encoded.unknown_labels,
        }
        relations = self._relations
        return {
            "counts.json": as_json(told),
            **label_files(self._task.rules, relations.ids, relations.labels, predicted, surest(outputs)),
        }


class RelationExtraction(LabelTask):
    """Relations between two entities of a sentence, with their files read and made examples; see `spanmask.probes.tasks.Task`.

    Parameters
    ----------
    vocabulary
        The model's.
    train, evaluate
        Files of TACRED, OpenNRE or SemEval-2010 task 8.
    config
        What is seen of entities, and how much of a sentence.
    selection
        Share of the training sentences that chooses.
    on_error
        Whether a pair that is not usable ends reading, or is left out and counted.

    Attributes
    ----------
    labels
        Those that training files have, sorted: the order of scores.
    rules
        By which predictions are scored.
    marking
        What stands for entities.
    left_out
        How many pairs were left out, by file and fault.
    notes
        What was cut or is not known to training, in lines.

    Raises
    ------
    ConfigError
        A file is missing or has another layout, two evaluation files have one name, training files have one label alone, no pair is left to
        train on or to choose by, the vocabulary has nothing that could stand for entities, or there are no types to be seen.
    CorpusError
        Something in a file is not what it should be.
    StorageError
        A file cannot be read.
    """

    name = "relation"

    def __init__(
        self,
        vocabulary: Vocabulary,
        train: Paths,
        evaluate: Paths,
        config: RelationConfig,
        *,
        selection: float,
        on_error: OnError = OnError.FAIL,
    ) -> None:
        self._config, self._vocabulary, tokenizer = config, vocabulary, Tokenizer(vocabulary)
        self.eval_files, self.train_files = evaluation_files(evaluate), training_files(train)
        trained, scored = ([read_relations(path, on_error) for path in paths] for paths in (train, evaluate))
        self.left_out = by_file((*train, *evaluate), trained + scored)
        whole = joined(trained)
        self.labels = _labels(whole)
        self.rules = rules_of({one.layout for one in trained}, self.labels)
        self.marking = mark(whole.types, _seen(config, trained), config.marks, tokenizer)

        def held(name: str, relations: Relations) -> HeldPairs:
            return HeldPairs(name, relations, self._encoded(relations, tokenizer), self)

        learnt, choosing = _divided(whole, selection)
        self._learnt = self._encoded(learnt, tokenizer)
        self.selection = held("selection", choosing)
        self.evaluations = tuple(held(file.name, one) for file, one in zip(self.eval_files, scored, strict=True))
        gold = {file.name: one.labels for file, one in zip(self.eval_files, scored, strict=True)}
        self._floor = label_floor(whole.labels, self.labels, gold, partial(figures, self.rules))
        self.notes = [
            line
            for name, one in {
                "training": self._learnt,
                **{one.name: one.encoded for one in (self.selection, *self.evaluations)},
            }.items()
            for line in _notes(name, one, config.window)
        ]

    def _encoded(self, relations: Relations, tokenizer: Tokenizer) -> Encoded:
        return encode(relations, tokenizer, self.marking, self.labels, self._config.window)

    @property
    def metric(self) -> str:
        """The figure that chooses: F1, or accuracy where no label is apart from the others."""
        return self.rules.metric

    @property
    def training(self) -> Examples:
        """What is trained on."""
        return self._learnt.examples

    @property
    def width(self) -> int:
        """Slots of a bin: a longest example's."""
        return self._config.window

    @property
    def protocol(self) -> Mapping[str, Any]:
        """The options, the rules, what was left out, labels that training lacks, and the floor; nothing that a vocabulary decides."""
        unknown = {held.name: held.encoded.unknown_labels for held in self.evaluations}
        told = {
            "rules": str(self.rules),
            "left_out": by_name(self.left_out),
            "unknown_labels": unknown,
            "floor": self._floor,
        }
        return {**self._config.to_json(), **told}

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How a sentence becomes what the model reads; see `spanmask.probes.tasks.Recipe`."""
        return {"window": self._config.window, **self.marking.to_json(self._vocabulary)}


def _labels(whole: Relations) -> tuple[str, ...]:
    labels = tuple(sorted(set(whole.labels)))
    if len(labels) < 2:
        raise ConfigError(
            f"the training files have the label {labels[0]!r} alone, and nothing is to be learnt of one; give more"
        )
    return labels


def _seen(config: RelationConfig, trained: Sequence[Relations]) -> Entities:
    """Return what is seen of entities once the training files are known."""
    if config.entities is Entities.AUTO:
        return Entities.TYPES if all(one.layout is Layout.TACRED for one in trained) else Entities.MARKERS
    if config.entities is Entities.TYPES and not any(any(pair) for one in trained for pair in one.types):
        raise ConfigError(
            "no entity of the training files has a type to be seen; keep them between markers (--entities markers)",
            options=("entities",),
        )
    return config.entities


def _divided(whole: Relations, share: float) -> tuple[Relations, Relations]:
    """Return what is trained on, and what chooses: sentences by their hash, each with all its pairs."""
    chosen = selected((sentence.encode() for sentence in whole.sentences), share)
    trained, choosing = parted(chosen, "pairs", "sentences")
    return whole.take(trained), whole.take(choosing)


_CUTS = {
    "end": "their end was left out",
    "moved": "the window begins later",
    "middle": "the middle between entities was left out",
}


def _notes(name: str, encoded: Encoded, window: int) -> list[str]:
    lines = []
    if encoded.cut:
        cuts = ", ".join(f"{_CUTS[cut]} {count:,}" for cut, count in encoded.cut.items())
        lines.append(f"{name}: {counted(sum(encoded.cut.values()), 'sentence')} of more than {window} tokens: {cuts}")
    if encoded.unknown_types:
        lines.append(
            f"{name}: {counted(encoded.unknown_types, 'pair')} with a type that training lacks: the same stands for any such"
        )
    if encoded.unknown_labels:
        lines.append(f"{name}: {counted(encoded.unknown_labels, 'pair')} with a label that training lacks: never right")
    return lines
