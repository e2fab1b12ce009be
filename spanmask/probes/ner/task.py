"""Named entities as a task of the engine: tagged sentences in, windows to train on and to be judged by out.

A word's tag is what its first piece's scores say, in IOB2, the labels being O and the types of the training files; other pieces are not
looked at. What chooses are sentences, by a hash of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.batches import IGNORED
from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.escaping import counted
from spanmask.model.config import SpanBertConfig
from spanmask.model.finetuning import TokenClassHead
from spanmask.probes.batching import Batch
from spanmask.probes.examples import Examples
from spanmask.probes.faults import by_file, by_name
from spanmask.probes.files import Paths, evaluation_files, training_files
from spanmask.probes.floors import floor_of
from spanmask.probes.ner.baseline import most_frequent_tags
from spanmask.probes.ner.config import NerConfig
from spanmask.probes.ner.reading import Tagged, read_tagged
from spanmask.probes.ner.windows import Windows, cut_sentences
from spanmask.probes.scores.columns import OUTSIDE, Sentence
from spanmask.probes.scores.ner import span_scores, spans_of
from spanmask.probes.selection import selected
from spanmask.probes.tasks import Judged, Outputs, Rows, Settings, require_finite
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

#: The file of predictions.
PREDICTIONS = "predictions.conll"


class TaggedText:
    """Sentences that are tagged and not trained on. name: what results call them. labels: those of a model, in the order of its scores."""

    def __init__(self, name: str, sentences: Sequence[Sentence], windows: Windows, labels: Sequence[str]) -> None:
        self.name, self.windows, self._sentences, self._labels = name, windows, sentences, labels

    @property
    def examples(self) -> Examples:
        """Their windows."""
        return self.windows.examples

    @property
    def count(self) -> int:
        """How many sentences have a piece that a model reads."""
        return len(np.unique(self.examples.groups))

    @property
    def has_spans(self) -> bool:
        """Whether there is any span to be learnt or found."""
        return any(tag != OUTSIDE for sentence in self._sentences for tag in sentence.tags)

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        """Score the tags that logits, (T, K), come to; see `spanmask.probes.tasks.HeldOut`."""
        predicted = self._tags(outputs)
        scores = span_scores((sentence.tags for sentence in self._sentences), predicted)
        types = {f"f1_{kind}": own["f1"] for kind, own in scores["types"].items() if own["support"]}
        return Judged(
            figures={name: scores[name] for name in ("precision", "recall", "f1")} | types,
            files={} if settings is None else {PREDICTIONS: as_columns(self._sentences, predicted)},
        )

    def _tags(self, outputs: Outputs) -> list[list[str]]:
        """Return the tag of each word: the label that scores most; O where a word has no piece."""
        require_finite(outputs)
        counts = [len(sentence.words) for sentence in self._sentences]
        best = np.full(sum(counts), self._labels.index(OUTSIDE))
        best[self.windows.words] = outputs[self.windows.slots].argmax(axis=1)
        tags = iter([self._labels[number] for number in best.tolist()])
        return [[next(tags) for _ in range(count)] for count in counts]

    def floor(self, train: Sequence[Sentence]) -> dict[str, float]:
        """Return F1 where each word has the tag that is its most frequent in training."""
        guessed = most_frequent_tags(train, self._sentences)
        return {"f1": float(span_scores((sentence.tags for sentence in self._sentences), guessed)["f1"])}

    @property
    def unknown(self) -> Counter[str]:
        """Spans that cannot be found, by their type: training has none of it."""
        known = {label[2:] for label in self._labels}
        kinds = (kind for sentence in self._sentences for kind, *_ in spans_of(sentence.tags))
        return Counter(kind for kind in kinds if kind not in known)


class NamedEntities:
    """Spans of words with a type, their files read and cut into windows; see `spanmask.probes.tasks.Task`.

    Parameters
    ----------
    vocabulary
        The model's.
    train, evaluate
        Files of columns.
    config
        Windows and tags.
    selection
        Share of the training sentences that chooses.
    on_error
        Whether a sentence that is not usable ends reading, or is left out and counted.

    Raises
    ------
    ConfigError
        A file is missing, has no tags, or no span to be learnt or found; two evaluation files have one name; or no sentence, or none with
        a span, is left to train on or to choose by.
    CorpusError
        Something in a file is not what it should be.
    StorageError
        A file cannot be read.
    """

    name, metric, rows = "ner", "f1", Rows.TOKEN

    def __init__(
        self,
        vocabulary: Vocabulary,
        train: Paths,
        evaluate: Paths,
        config: NerConfig,
        *,
        selection: float,
        on_error: OnError = OnError.FAIL,
    ) -> None:
        self._config, self._tokenizer = config, Tokenizer(vocabulary)
        self.train_files, self.eval_files = training_files(train), evaluation_files(evaluate)
        self._read = {f"{path}": read_tagged(path, config.tags, on_error) for path in (*train, *evaluate)}
        learnt = [self._read[f"{path}"] for path in train]
        kinds = sorted(set[str]().union(*(tagged.kinds for tagged in learnt)))
        #: What a model scores, in order.
        self.labels = (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))
        if not kinds:
            raise ConfigError(
                f"{', '.join(map(str, train))}: no span in it, all tags are O; give files with tags to learn"
            )
        self._whole = [*chain.from_iterable(tagged.sentences for tagged in learnt)]
        chosen = selected((" ".join(sentence.words).encode() for sentence in self._whole), selection)
        trained, choosing = (
            [sentence for sentence, one in zip(self._whole, chosen.tolist(), strict=True) if one is flag]
            for flag in (False, True)
        )
        self._trained = self._held("training", trained)
        self.selection = self._held("selection", choosing)
        self._require_examples()
        self.training = self._with_targets(trained)
        self.evaluations = tuple(
            self._evaluation(file.name, self._read[f"{path}"])
            for file, path in zip(self.eval_files, evaluate, strict=True)
        )
        self._mean_words = len(self._trained.windows.words) / len(self.training)

    def _held(self, name: str, sentences: Sequence[Sentence]) -> TaggedText:
        windows = cut_sentences([sentence.words for sentence in sentences], self._tokenizer, self._config.window)
        return TaggedText(name, sentences, windows, self.labels)

    def _evaluation(self, name: str, tagged: Tagged) -> TaggedText:
        held = self._held(name, tagged.sentences)
        if not tagged.kinds or not len(held.examples):
            found = (
                "no span to be found, all tags are O"
                if not tagged.kinds
                else "no word of which the tokenizer makes a piece"
            )
            raise ConfigError(f"{name}: {found}; give another file to score")
        return held

    def _require_examples(self) -> None:
        trained, choosing = (held.count for held in (self._trained, self.selection))
        parted = f"of {len(self._whole):,} training sentences {choosing:,} choose and {trained:,} are trained on"
        advice = "give more, or another --selection"
        if not trained or not choosing:
            raise ConfigError(f"{parted}; {advice}", options=("selection",))
        for held, what in ((self._trained, "are trained on"), (self.selection, "choose")):
            if not held.has_spans:
                raise ConfigError(
                    f"{parted}, and those that {what} have no span, so that nothing can be told by them; {advice}",
                    options=("selection",),
                )

    def _with_targets(self, sentences: Sequence[Sentence]) -> Examples:
        """Return what is trained on, with the label of the word at each token."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        labels = np.array([numbers[tag] for sentence in sentences for tag in sentence.tags], np.int16)
        windows = self._trained.windows
        return replace(windows.examples, targets={"tags": windows.targets(labels)})

    @property
    def left_out(self) -> Mapping[str, Mapping[Any, int]]:
        """How many sentences were left out, by file and fault."""
        return by_file(self._read, self._read.values())

    @property
    def width(self) -> int:
        """Slots of a bin: a longest window's."""
        return self._config.window

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        """The options, what was left out, and the floor."""
        floors = {held.name: held.floor(self._whole) for held in self.evaluations}
        floor = floor_of("each word's most frequent tag in training", floors)
        return {**self._config.to_json(), "left_out": by_name(self.left_out), "floor": floor}

    @property
    def notes(self) -> Iterator[str]:
        """What else is to be told: what files are, and words that are predicted otherwise or not at all."""
        for path, tagged in self._read.items():
            odd = f", {counted(tagged.irregular, 'tag')} otherwise than these would be" if tagged.irregular else ""
            yield f"{path}: {counted(len(tagged.sentences), 'sentence')}, tags {tagged.scheme}{odd}"
        for held in (self._trained, self.selection, *self.evaluations):
            yield from _window_notes(held)
        for held in self.evaluations:
            if held.unknown:
                told = ", ".join(f"{kind} {count:,}" for kind, count in sorted(held.unknown.items()))
                yield f"{held.name}: spans of types that training has not, which count as not found: {told}"

    def head(self, config: SpanBertConfig) -> nn.Module:
        """Return a new head: a score a label and token."""
        return TokenClassHead(config, self.labels)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return the cross entropies of all words of n windows, summed, over the mean number of words of a training window.

        All words weigh alike: of a batch it is n times transformers' loss, the mean over its words, but for how many words the batch has
        beside the mean; summed over all training windows it is exactly that.
        """
        tags = batch.targets["tags"]
        count, longest = tags.shape
        owners = batch.owners.clamp(max=count - 1)
        places = torch.arange(len(owners), device=owners.device) - batch.firsts[owners]
        held = tags[owners, places.clamp(0, longest - 1)].long()
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        labels = torch.where(batch.owners < count, held, IGNORED)
        return functional.cross_entropy(wide, labels, ignore_index=IGNORED, reduction="sum") / self._mean_words


def as_columns(sentences: Sequence[Sentence], predicted: Sequence[Sequence[str]]) -> bytes:
    """Return predictions as conlleval takes them: a line a word, which is followed by its tag and the predicted one."""
    lines = [
        "".join(
            f"{word} {tag} {guess}\n" for word, tag, guess in zip(sentence.words, sentence.tags, guesses, strict=True)
        )
        for sentence, guesses in zip(sentences, predicted, strict=True)
    ]
    return "\n".join(lines).encode()


def _window_notes(held: TaggedText) -> Iterator[str]:
    windows = held.windows
    if windows.dropped:
        yield f"{held.name}: {counted(windows.dropped, 'word')} of which the tokenizer makes nothing, tagged O and not trained on"
    if windows.cut:
        yield f"{held.name}: {counted(windows.cut, 'sentence')} longer than a window, cut into several"
    if windows.clipped:
        yield f"{held.name}: {counted(windows.clipped, 'word')} longer than a window, of which the first pieces are seen"
