"""What all models of a run are asked, and what is found of one: states of the model and of what it stands beside, a reader of each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from spanmask.errors import MismatchError
from spanmask.escaping import short_digest
from spanmask.model.encoder import SpanBertEncoder
from spanmask.probes.boundaries.classes import Classes, classes_of
from spanmask.probes.boundaries.config import BoundariesConfig
from spanmask.probes.boundaries.findings import Inside, Reader, Said, found_of
from spanmask.probes.boundaries.reader import read_tokens
from spanmask.probes.boundaries.record import Found
from spanmask.probes.boundaries.spans import Ids, Part, Place, asked, read_spans
from spanmask.probes.boundaries.states import (
    States,
    boundary_states,
    draw_by,
    random_encoder,
    require_memory,
    require_room,
    static_states,
)
from spanmask.probes.boundaries.watching import Watch
from spanmask.probes.results import Named
from spanmask.probes.starting import Source
from spanmask.records import Offsets
from spanmask.shard.reader import ShardSet
from spanmask.train.distributed import device_of
from spanmask.train.starting import require_casing

#: What a reader said, by place.
_Said = Mapping[Place, Said]


class Ground:
    """The spans of a dataset, what of them is told apart, and how.

    Parameters
    ----------
    shards
        The split that they are of.
    config
        Options.
    watch
        Told what is computed.

    Attributes
    ----------
    spans
        The spans.

    Raises
    ------
    ConfigError
        There are no spans, or none for a part of the documents.
    ShardError
        A shard is damaged.
    """

    def __init__(self, shards: ShardSet, config: BoundariesConfig, watch: Watch) -> None:
        self._shards, self._config, self._watch, self._device = shards, config, watch, device_of(config.device)
        self._vocabulary = shards.manifest.stated_vocabulary
        self.spans = read_spans(shards, config)
        self._asked = asked(self.spans, config)
        self._classes = {place: self._classes_of(place) for place in self._asked}

    def _classes_of(self, place: Place) -> Classes:
        targets, numbers = self.spans.targets[place], self._asked[place]
        training, choosing = targets[numbers[Part.TRAINING]], targets[numbers[Part.SELECTION]]
        return classes_of(training, choosing, entries=self._vocabulary.size, most=self._config.classes)

    def look(self, model: Source) -> Named:
        """Return what names a model that can be asked.

        Raises
        ------
        ConfigError
            It is none, takes shorter rows only, or its states need more memory than they get.
        MismatchError
            Its vocabulary is not the dataset's.
        """
        loaded = model.begin()
        found, wanted = loaded.vocabulary.sha256, self._vocabulary.sha256
        if found != wanted:
            raise MismatchError(
                f"{model.named.name}: its vocabulary hashes to {short_digest(found)}, that of {self._shards.root} to "
                f"{short_digest(wanted)}: preshard held-out text with the model's own tokenizer (--vocab)"
            )
        require_casing(model.named.name, loaded.vocabulary, self._shards)
        require_room(self.spans, loaded.encoder.config)
        require_memory(self.spans, loaded.encoder.config)
        return model.named

    def found(self, model: Source, seed: int) -> Found:
        """Return what is found of a model, by what stands inside the spans and by place.

        Parameters
        ----------
        model
            What it is.
        seed
            Of order, shuffled labels, random weights, and of token types where the model has none.

        Raises
        ------
        MismatchError
            The folder has other weights than when it was looked at.
        """
        before = model.named
        # What a folder lacks, as token types may be, is drawn with torch's generator: anew alike, whatever was computed before.
        draw_by(seed)
        encoder = model.begin().encoder
        if model.named != before:
            raise MismatchError(
                f"{before.name}: it has other weights than when the run began: give a folder that nobody writes, or --step of a run that "
                "still trains"
            )
        static = self._read(static_states(encoder, self.spans), seed)
        bodies = {Reader.RANDOM: random_encoder(encoder.config, seed), Reader.MODEL: encoder}
        found = {}
        for inside in Inside:
            said = {Reader.UNIGRAM: self._unigram(), Reader.STATIC: static}
            for reader, body in bodies.items():
                states = self._states(body, inside, f"{model.named.name}, {inside}: {reader}")
                said[reader] = self._read(states, seed)
                if reader is Reader.MODEL:
                    said[Reader.SHUFFLED] = self._read(states, seed, shuffled=True)
            found[str(inside)] = {str(place): self._figures(place, said, seed) for place in self._asked}
        return found

    def _states(self, encoder: SpanBertEncoder, inside: Inside, told: str) -> States:
        rows = self.spans.masked if inside is Inside.MASKED else self.spans.visible
        return boundary_states(
            encoder.to(self._device),
            self.spans,
            rows,
            pad_id=self._vocabulary.special.pad,
            bins=self._config.bins,
            on_progress=partial(self._watch.states, told),
        )

    def _unigram(self) -> _Said:
        """Return what is said without states: how often each token comes, and for every one the most frequent."""
        said = {}
        for place, classes in self._classes.items():
            targets = self._measured(place)
            right = targets == classes.likeliest[0]
            said[place] = Said(classes.unigram_bits(targets), right)
        return said

    def _read(self, states: States, seed: int, *, shuffled: bool = False) -> _Said:
        """Return what readers of states say. shuffled: whether they are trained, and chosen, by labels of other spans."""
        said = {}
        for place, numbers in self._asked.items():
            targets = self.spans.targets[place]
            if shuffled:
                targets = _shuffled(targets, numbers, seed)
            told = read_tokens(states, numbers, targets, self._classes[place], self._config, seed=seed)
            said[place] = Said(told.bits, told.guesses == self._measured(place), decay=told.decay, epochs=told.epochs)
        return said

    def _measured(self, place: Place) -> Ids:
        return self.spans.targets[place][self._asked[place][Part.MEASURED]]

    def _figures(self, place: Place, said: Mapping[Reader, _Said], seed: int) -> dict[str, Any]:
        numbers, classes = self._asked[place], self._classes[place]
        measured = numbers[Part.MEASURED]
        rest = classes.of[self._measured(place)] == len(classes) - 1
        found = found_of(
            {reader: said[reader][place] for reader in Reader},
            self.spans.sizes[measured],
            self.spans.documents[measured],
            choosing=len(numbers[Part.SELECTION]),
            seed=seed,
        )
        return found | {"rest": 100 * float(rest.mean())}


def _shuffled(targets: Ids, numbers: Mapping[Part, Offsets], seed: int) -> Ids:
    """Return targets of which those that are trained on have changed places, and those that choose; those that are measured have not."""
    draw, shuffled = np.random.Generator(np.random.Philox(key=seed)), targets.copy()
    for part in (Part.TRAINING, Part.SELECTION):
        shuffled[numbers[part]] = draw.permutation(targets[numbers[part]])
    return shuffled
