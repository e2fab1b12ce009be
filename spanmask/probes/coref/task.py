"""Coreference as a task to fine-tune on: documents in segments, entities and their figures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spanmask.blocks import offsets_of
from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.escaping import counted
from spanmask.model.config import SpanBertConfig
from spanmask.model.coreference import CorefHead, CorefShape
from spanmask.model.finetuned_folder import load_finetuned, read_recipe
from spanmask.model.tokenizer_files import read_tokenizer
from spanmask.probes.batching import Batch, GroupPacker
from spanmask.probes.coref.config import CorefConfig, Singletons
from spanmask.probes.coref.decoding import entities_of, equal_strings
from spanmask.probes.coref.documents import Fault, Text, Texts, fold, read_texts
from spanmask.probes.coref.figures import METRIC, figures_of
from spanmask.probes.coref.segments import Segments, cut_texts, reaches, unreached
from spanmask.probes.examples import Examples
from spanmask.probes.faults import by_file, by_name
from spanmask.probes.files import Paths, evaluation_files, training_files
from spanmask.probes.predicting import predict
from spanmask.probes.results import Named
from spanmask.probes.scores.conll import Entities, Mention, conll_bytes, split_name
from spanmask.probes.scores.coref_metrics import distinct
from spanmask.probes.selection import selected
from spanmask.probes.tasks import Judged, Outputs, Rows, Settings
from spanmask.probes.writing import as_json
from spanmask.records import Offsets
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

PREDICTIONS, KEY, COUNTS = "predictions.conll", "key.conll", "counts.json"
#: Mentions that were predicted and left out since they cross others of their entity.
CROSSING = "crossing_left_out"
#: Of the options, what decides what a model reads and what its head is.
_RECIPE = ("segment", "max_span", "top_spans", "ffnn", "singletons")
#: What is beyond a model, and how notes say it. How many pieces a word has, if any, is the vocabulary's.
BEYOND = {
    Fault.ACROSS: "mentions across sentences",
    Fault.LONG: "mentions too long",
    Fault.DROPPED: "words read as unknown",
}


class HeldTexts:
    """Documents whose entities are predicted.

    name: what results call them. numbers: (D,) of the documents, in the groups of the examples. beyond: how often something of them is
    beyond what the model finds or reads. singletons: whether they are told.
    """

    def __init__(
        self,
        name: str,
        texts: Sequence[Text],
        numbers: Offsets,
        segments: Segments,
        beyond: Counter[Fault],
        *,
        singletons: bool,
    ) -> None:
        self.name, self.examples, self.beyond = name, _of(segments, numbers), beyond
        self._texts, self._numbers, self._singletons = texts, numbers, singletons

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        """Score the entities that rows, (R, 6), come to; see `spanmask.probes.tasks.HeldOut` and `CorefHead.predict`."""
        found = _entities(outputs, self._numbers, singletons=self._singletons)
        told, left = [entities for entities, _ in found], sum(crossing for _, crossing in found)
        held = list(zip(self._texts, told, strict=True))
        figures = figures_of(
            [(text.entities, entities) for text, entities in held],
            [
                (text.entities, equal_strings(entities, text.words, singletons=self._singletons))
                for text, entities in held
            ],
        )
        files = {} if settings is None else self._files(told)
        return Judged(figures={**figures, CROSSING: left}, files=files)

    def _files(self, told: Sequence[Entities]) -> dict[str, bytes]:
        """Return the predictions, the key of just these documents, in which no mention stands twice, and what is beyond the model."""
        keys = [distinct(text.entities) for text in self._texts]
        counts = {
            "documents": len(self._texts),
            "mentions": sum(len(mentions) for entities in keys for mentions in entities),
            **{str(fault): self.beyond[fault] for fault in BEYOND},
        }
        columns = {
            name: conll_bytes(
                {text.name: (_writable(text), own) for text, own in zip(self._texts, entities, strict=True)}
            )
            for name, entities in ((PREDICTIONS, told), (KEY, keys))
        }
        return {**columns, COUNTS: as_json(counts)}


class Coreference:
    """Coreference with its files read and cut into segments; see `spanmask.probes.tasks.GroupTask`.

    Parameters
    ----------
    vocabulary
        The model's.
    train, evaluate
        Files, folders or archives of CoNLL-2012, as `read_texts` takes them.
    config
        Segments, spans, and the fold by which files given to both are divided; `CorefConfig.settled` says what a frozen encoder wants.
    selection
        Share of the training documents, each with all its parts, that chooses.
    on_error
        Whether a bracket without its other half ends reading, or is left out and counted.

    Attributes
    ----------
    left_out
        By file, how often something of it was left out.
    notes
        What is beyond what the model finds or reads, in lines.

    Raises
    ------
    ConfigError
        A file is missing or has no document; files are given to both and not divided, or a fold without any; a document is trained on and
        evaluated; none is left to train on, to choose by or to evaluate.
    CorpusError
        Something in a file is not what it should be.
    MissingExtraError
        SciPy, of the extra ``probes``, is not installed.
    StorageError
        A file cannot be read.
    """

    name, metric, rows = "coref", METRIC, Rows.GROUP

    def __init__(
        self,
        vocabulary: Vocabulary,
        train: Paths,
        evaluate: Paths,
        config: CorefConfig,
        *,
        selection: float,
        on_error: OnError = OnError.FAIL,
    ) -> None:
        # That SciPy is missing is told before anything is read: which two entities are which takes it, and one alone would not.
        figures_of([([[(0, 0), (1, 1)], [(2, 2), (3, 3)]], [[(0, 0), (2, 2)], [(1, 1), (3, 3)]])], [])
        self._config = config.settled()
        self.train_files, self.eval_files = training_files(train), evaluation_files(evaluate)
        read = self._read(train, evaluate, on_error)
        learning, held = self._divided(read)
        self._singletons = self._learns_singletons(learning)
        texts = [*learning, *chain.from_iterable(held)]
        self._segments = cut_texts(texts, Tokenizer(vocabulary), self._config)
        files = (*self.train_files, *self.eval_files)
        self.left_out = by_file((*train, *evaluate), (read[file.sha256] for file in files))
        self._beyond = [
            unreached(cut, self._config.max_span) + Counter({Fault.DROPPED: unknown})
            for cut, unknown in zip(self._segments.cut, self._segments.unknown.tolist(), strict=True)
        ]
        chosen = selected(_documents(learning), selection)
        trained, choosing = (np.flatnonzero(flags) for flags in (~chosen, chosen))
        if not len(trained) or not len(choosing):
            raise ConfigError(
                f"of {len(learning):,} training documents {len(choosing):,} choose and {len(trained):,} are trained on; "
                f"give more documents, or another {'--selection' if self._config.folds is None else '--fold or --selection'}",
                options=("fold", "selection"),
            )
        self.training = _of(self._segments, trained)
        self.selection = self._held("selection", [learning[number] for number in choosing.tolist()], choosing)
        bounds = offsets_of([len(learning), *map(len, held)])[1:-1].tolist()
        self.evaluations = tuple(
            self._held(file.name, part, np.arange(begin, begin + len(part)))
            for file, part, begin in zip(self.eval_files, held, bounds, strict=True)
        )
        learnt = ("training", sum(self._beyond[: len(learning)], Counter[Fault]()))
        told = [learnt, *((one.name, one.beyond) for one in self.evaluations)]
        self.notes = [line for name, beyond in told for line in _notes(name, beyond)]

    def _read(self, train: Paths, evaluate: Paths, on_error: OnError) -> dict[str, Texts]:
        """Return the documents of all files by the files' digests, each read once."""
        found: dict[str, Texts] = {}
        for file, path in zip((*self.train_files, *self.eval_files), (*train, *evaluate), strict=True):
            if file.sha256 not in found:
                found[file.sha256] = read_texts(path, on_error)
        return found

    def _divided(self, read: Mapping[str, Texts]) -> tuple[list[Text], list[list[Text]]]:
        """Return the documents to learn from, and those of each evaluation file; of a file in both, by their folds."""
        both = {file.sha256 for file in self.train_files} & {file.sha256 for file in self.eval_files}
        folds = self._config.folds
        if bool(both) != (folds is not None):
            shared = next((file.name for file in self.eval_files if file.sha256 in both), "")
            raise ConfigError(
                f"{shared} is given to train on and to evaluate; say which part of its documents is evaluated, as in --fold 1/10"
                if both
                else "no file is given both to train on and to evaluate, so that none is to be divided; leave out --fold",
                options=("fold",),
            )

        def part(file: Named, *, held: bool) -> list[Text]:
            texts = read[file.sha256].texts
            if folds is None or file.sha256 not in both:
                return [*texts]
            return [text for text in texts if (fold(text.name, folds[1]) == folds[0]) is held]

        held = [part(file, held=True) for file in self.eval_files]
        for file, texts in zip(self.eval_files, held, strict=True):
            if not texts:
                raise ConfigError(
                    f"{file.name}: no document of it is in fold {self._config.fold}; give another --fold",
                    options=("fold",),
                )
        learning = [text for file in self.train_files for text in part(file, held=False)]
        _require_unseen(learning, list(chain.from_iterable(held)))
        return learning, held

    def _learns_singletons(self, texts: Sequence[Text]) -> bool:
        """Tell whether one entity in 100 has one mention: what mending brackets leaves makes no corpus one with singletons."""
        if self._config.singletons is not Singletons.AUTO:
            return self._config.singletons is Singletons.LEARN
        single, whole = sum(text.singletons for text in texts), sum(len(text.entities) for text in texts)
        return single > 0 and 100 * single >= whole

    def _held(self, name: str, texts: Sequence[Text], numbers: Offsets) -> HeldTexts:
        beyond = sum((self._beyond[number] for number in numbers.tolist()), Counter[Fault]())
        return HeldTexts(name, texts, numbers, self._segments, beyond, singletons=self._singletons)

    @property
    def width(self) -> int:
        """Tokens of the longest segment."""
        return self._config.segment

    @property
    def most_examples(self) -> int | None:
        """How many neighbouring segments of a document are trained on at once; None: all."""
        return self._config.max_segments or None

    @property
    def protocol(self) -> Mapping[str, Any]:
        """The options, whether singletons are learnt, and what was left out; nothing that a vocabulary decides."""
        told = {"singletons_learnt": self._singletons, "left_out": by_name(self.left_out)}
        return {**self._config.to_json(), **told}

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How texts become what the model reads, and what its head is; see `spanmask.probes.tasks.Recipe` and `CorefModel`."""
        singletons = Singletons.LEARN if self._singletons else Singletons.IGNORE
        told = self._config.changed(singletons=singletons).to_json()
        return {name: told[name] for name in _RECIPE}

    def head(self, config: SpanBertConfig) -> nn.Module:
        """Return a new head."""
        return _head(self._config, config, singletons=self._singletons)

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """Return what a head knows of neighbouring segments of a document, n examples; see `CorefHead`."""
        return given_of(self._segments, batch, self._config.max_span)

    @staticmethod
    def loss(scores: Tensor, batch: Batch) -> Tensor:  # noqa: ARG004 - the head was given what it needs of it
        """Return the loss of a document, which the head has told already."""
        return scores


class CorefModel:
    """A model of coreference that tells the entities of any documents.

    Parameters
    ----------
    folder
        ``RUN/seed-K/model``, as `spanmask.probes.finetune.fine_tune` wrote it.
    device
        Where it computes.

    Attributes
    ----------
    config
        By what it was trained, as far as that matters to what it reads and tells.

    Raises
    ------
    ConfigError
        It is no such model, or a broken one.
    StorageError
        A file cannot be read.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        recipe = read_recipe(folder, Coreference.name)
        try:
            self.config = CorefConfig.of(**{name: recipe.get(name) for name in _RECIPE})
        except ConfigError as error:
            raise ConfigError(f"{folder}: what it was trained with is broken ({error}); copy it again") from None
        self._singletons = self.config.singletons is Singletons.LEARN
        self._vocabulary = read_tokenizer(Path(folder))
        head = partial(_head, self.config, singletons=self._singletons)
        self._model = load_finetuned(folder, head=head).to(device)

    def entities(self, texts: Sequence[Text]) -> list[list[list[Mention]]]:
        """Return the entities of each text, whose own are not looked at: first and last word of each mention, as `entities_of` has them."""
        segments = cut_texts(texts, Tokenizer(self._vocabulary), self.config)
        packing = GroupPacker(segments.examples, width=self.config.segment, pad_id=self._vocabulary.special.pad)
        outputs = predict(self._model, _Reading(segments, self.config), packing, dtype=torch.float32)
        found = _entities(outputs, np.arange(len(texts)), singletons=self._singletons)
        return [entities for entities, _ in found]


class _Reading:
    """Segments that a model reads and does not learn from; see `spanmask.probes.tasks.GroupReading`."""

    rows = Coreference.rows

    def __init__(self, segments: Segments, config: CorefConfig) -> None:
        self._segments, self._config = segments, config

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """Return what a head knows of segments."""
        return given_of(self._segments, batch, self._config.max_span)


def _head(own: CorefConfig, config: SpanBertConfig, *, singletons: bool) -> CorefHead:
    shape = CorefShape(ffnn=own.ffnn or 0, dropout=own.head_dropout, top=own.top_spans, singletons=singletons)
    return CorefHead(config, shape)


def _entities(outputs: Outputs, numbers: Offsets, *, singletons: bool) -> list[tuple[list[list[Mention]], int]]:
    """Return what `entities_of` finds in each of some documents, ascending, by rows of all, (R, 6), the document's number first."""
    groups = outputs[:, 0] if outputs.size else np.empty(0, np.float32)
    bounds = [(np.searchsorted(groups, number), np.searchsorted(groups, number, side="right")) for number in numbers]
    return [entities_of(outputs[begin:end, 1:].reshape(-1, 5), singletons=singletons) for begin, end in bounds]


def given_of(segments: Segments, batch: Batch, max_span: int) -> dict[str, Tensor]:
    """Return what a head knows of neighbouring segments of a document; see `CorefHead`.

    Parameters
    ----------
    segments
        Of all documents.
    batch
        n of them.
    max_span
        Pieces of a mention at most.
    """
    number, place = (int(batch.targets[name][0]) for name in ("documents", "segments"))
    text = segments.cut[number]
    bounds = text.bounds[place : place + len(batch.which) + 1]
    begin = int(np.searchsorted(text.first, bounds[0]))
    end = int(np.searchsorted(text.last, bounds[-1]))
    # A word that segments cut is whole where both are there; one cut by the first or the last bound is left out.
    slots = batch.firsts.cpu().numpy() + 1 - bounds[:-1]
    first, last = (
        pieces[begin:end] + slots[np.searchsorted(bounds, pieces[begin:end], side="right") - 1]
        for pieces in (text.first, text.last)
    )
    mentions = text.mentions[(text.mentions[:, 0] >= begin) & (text.mentions[:, 1] < end)]
    arrays = {
        "first": first,
        "last": last,
        "reach": reaches(text, begin, end, max_span),
        "texts": text.texts[begin:end],
        "mentions": mentions - np.array([begin, begin, 0]),
        "pieces": np.array(bounds[-1] - bounds[0]),
    }
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


def _notes(name: str, beyond: Mapping[Fault, int]) -> list[str]:
    told = ", ".join(f"{words} {beyond[fault]:,}" for fault, words in BEYOND.items() if beyond[fault])
    return [f"{name}: beyond the model: {told}"] if told else []


def _of(segments: Segments, documents: Offsets) -> Examples:
    """Return the segments of some documents, ascending."""
    return segments.examples.take(np.flatnonzero(np.isin(segments.examples.groups, documents)))


def _content(text: Text) -> bytes:
    return "\n".join(map(" ".join, text.sentences)).encode()


def _documents(texts: Sequence[Text]) -> list[bytes]:
    """Return what stands in the document that each text is, or is a part of: in all its parts, each once.

    So parts of one stay together, and so does a copy under another name. One without a name is none other's part.
    """
    keys = [split_name(text.name)[0] or number for number, text in enumerate(texts)]
    parts: dict[str | int, dict[bytes, None]] = {}
    for key, text in zip(keys, texts, strict=True):
        parts.setdefault(key, {})[_content(text)] = None
    return [b"\n".join(parts[key]) for key in keys]


def _require_unseen(learning: Sequence[Text], held: Sequence[Text]) -> None:
    """Refuse documents that are evaluated and trained on, whatever files they came in; one without words tells nothing."""
    known = {_content(text) for text in learning if text.words}
    seen = [text.name for text in held if text.words and _content(text) in known]
    if seen:
        raise ConfigError(
            f"{counted(len(seen), 'document')} to evaluate would be trained on too, the first {seen[0]!r}; give them to train on or to "
            "evaluate, or one and the same file to both, divided as by --fold 1/10",
            options=("fold",),
        )


def _writable(text: Text) -> list[list[str]]:
    """Return the words of each sentence as columns can hold them: nothing, and white space, is an underscore."""
    return [["_".join(word.split()) or "_" for word in sentence] for sentence in text.sentences]
