"""Boundary states of models, what a linear reader finds in them, and whole runs: known numbers first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory import traced
from probes.ordering import small_model, vocabulary
from probes.test_boundaries_parts import MASK, row
from safetensors.torch import load_file, save_file

import spanmask
from spanmask import PreshardConfig, preshard
from spanmask.blocks import block_of
from spanmask.errors import ConfigError, MismatchError
from spanmask.loading import LoadConfig, Position, Stream
from spanmask.model import SpanBertConfig
from spanmask.model.inputs import packed_tensors, padded_tensors
from spanmask.probes.boundaries import BoundariesConfig, Part, Place, Spans, classes_of, probe, read_spans
from spanmask.probes.boundaries.findings import Inside, Reader, chance
from spanmask.probes.boundaries.ground import Ground, Watch, _shuffled
from spanmask.probes.boundaries.reader import _scaled, read_tokens, scored_at_once
from spanmask.probes.boundaries.record import read_found
from spanmask.probes.boundaries.spans import asked, spans_of
from spanmask.probes.boundaries.states import boundary_states, random_encoder, require_memory, static_states
from spanmask.probes.comparing import compare
from spanmask.probes.results import read_results
from spanmask.probes.starting import Source
from spanmask.records import Ragged

STORIES = Path(spanmask.__file__).parent / "data" / "poe.txt"
#: Of readers that are trained in moments.
QUICK: dict[str, Any] = {"spans": 150, "decay": (0.1,), "epochs": 2, "device": "cpu", "threads": 1}
TINY = SpanBertConfig(vocab_size=60, hidden=32, layers=2, heads=2, intermediate=48, max_positions=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return _preshard(tmp_path_factory.mktemp("shards"), model, holdout=0.5)


def _preshard(folder: Path, vocab: object, **options: Any) -> Path:
    config = PreshardConfig.of(vocab=str(vocab), seed=3, max_tokens=64, **options)
    preshard([STORIES], folder / "shards", config, jobs=1)
    return folder / "shards"


# --- Known numbers


def _made(count: int) -> Spans:
    """Spans ``L first last R`` of which the first token is a function of L, and the last is any of 16 whatever stands beside."""
    draw = np.random.default_rng(1)
    left, right, last = draw.integers(10, 30, count), draw.integers(10, 30, count), draw.integers(40, 56, count)
    rows = [
        row([2, a, 30 + 3 * a % 10, z, b, 3], (2, 4), document=number)
        for number, (a, b, z) in enumerate(zip(left.tolist(), right.tolist(), last.tolist(), strict=True))
    ]
    return spans_of(block_of(rows), mask=MASK, most=count)


@pytest.fixture(scope="module")
def made() -> Spans:
    return _made(3000)


def _told(spans: Spans, place: Place, states: Any, **options: Any) -> tuple[float, float, float]:
    """Return a reader's bits, those without states, and what chance allows between them."""
    config = BoundariesConfig.of(**QUICK | {"epochs": 15, "spans": len(spans), "lr": 0.02} | options)
    numbers, targets = asked(spans, config)[place], spans.targets[place]
    classes = classes_of(
        targets[numbers[Part.TRAINING]], targets[numbers[Part.SELECTION]], entries=60, most=config.classes
    )
    told = read_tokens(states, numbers, targets, classes, config, seed=1)
    unigram = classes.unigram_bits(targets[numbers[Part.MEASURED]])
    return (
        float(told.bits.mean()),
        float(unigram.mean()),
        chance(told.bits - unigram, spans.documents[numbers[Part.MEASURED]], len(numbers[Part.SELECTION])) or 0.0,
    )


def test_a_token_that_follows_from_the_boundary_is_told_and_one_that_does_not_costs_its_entropy(made: Spans) -> None:
    states = static_states(random_encoder(TINY, 0), made)
    bits, unigram, _ = _told(made, Place.FIRST, states)
    assert bits < 0.05
    assert unigram > 3
    bits, unigram, limit = _told(made, Place.LAST, states)
    assert unigram == pytest.approx(4, abs=0.02)
    assert abs(bits - unigram) <= limit < 0.1
    # What is told of few classes is a part of what is told of all: of 10 tokens two stand in the rest.
    bits, _, _ = _told(made, Place.FIRST, states, classes=8)
    assert 0.05 < bits < 1


def test_shuffled_labels_cost_what_frequencies_do(made: Spans) -> None:
    config = BoundariesConfig.of(**QUICK | {"spans": len(made)})
    numbers = asked(made, config)[Place.FIRST]
    shuffled = _shuffled(made.targets[Place.FIRST], numbers, 1)
    for part, which in numbers.items():
        before, after = made.targets[Place.FIRST][which], shuffled[which]
        assert sorted(before) == sorted(after)
        assert np.array_equal(before, after) is (part is Part.MEASURED)
    states = static_states(random_encoder(TINY, 0), made)
    bits, unigram, limit = _told(replace(made, targets={**made.targets, Place.FIRST: shuffled}), Place.FIRST, states)
    assert abs(bits - unigram) <= limit < 0.2


def test_a_reader_is_a_function_of_states_and_seed(made: Spans) -> None:
    states = static_states(random_encoder(TINY, 0), made)
    one, again = (_told(made, Place.FIRST, states, epochs=2, patience=2) for _ in range(2))
    assert one == again
    # States that tell nothing, and one that has no deviation, are frequencies.
    bits, unigram, _ = _told(made, Place.FIRST, np.ones_like(states))
    assert bits == pytest.approx(unigram, abs=0.01)


def _classes(spans: Spans, config: BoundariesConfig, place: Place) -> tuple[Any, Any]:
    numbers, targets = asked(spans, config)[place], spans.targets[place]
    training, choosing = targets[numbers[Part.TRAINING]], targets[numbers[Part.SELECTION]]
    return numbers, classes_of(training, choosing, entries=60, most=config.classes)


def test_what_is_measured_decides_nothing_of_a_reader(made: Spans) -> None:
    """Other labels of the measured spans: the same guesses of them, by as many epochs of the same decay."""
    config = BoundariesConfig.of(**QUICK | {"spans": len(made), "epochs": 8, "lr": 0.02, "decay": (0.1, 1.0)})
    numbers, classes = _classes(made, config, Place.FIRST)
    states, targets = static_states(random_encoder(TINY, 0), made), made.targets[Place.FIRST]
    other, measured = targets.copy(), numbers[Part.MEASURED]
    other[measured] = np.random.default_rng(4).permutation(targets[measured])
    one, two = (read_tokens(states, numbers, labels, classes, config, seed=1) for labels in (targets, other))
    assert np.array_equal(one.guesses, two.guesses)
    assert (one.epochs, one.decay) == (two.epochs, two.decay)
    assert two.bits.mean() > one.bits.mean() + 1


def test_a_trained_reader_tells_a_distribution_over_the_whole_vocabulary(made: Spans) -> None:
    """One state, measured once with each token as its label: with a rest of many tokens, their shares sum to 1."""
    config = BoundariesConfig.of(**QUICK | {"spans": len(made), "epochs": 4, "lr": 0.02, "classes": 8})
    numbers, classes = _classes(made, config, Place.FIRST)
    states = static_states(random_encoder(TINY, 0), made)
    every = len(made) + np.arange(60)
    states = np.concatenate([states, np.repeat(states[:1], 60, axis=0)])
    targets = np.concatenate([made.targets[Place.FIRST], np.arange(60)])
    told = read_tokens(states, {**numbers, Part.MEASURED: every}, targets, classes, config, seed=1)
    assert told.epochs > 0
    assert np.exp2(-told.bits).sum() == pytest.approx(1, abs=1e-9)
    assert set(told.guesses.tolist()) == {int(told.bits.argmin())}


def test_states_are_scaled_a_few_at_a_time() -> None:
    draw = np.random.default_rng(5)
    states = draw.normal(3, 2, size=(30_000, 64)).astype(np.float32)
    numbers = dict(zip(Part, np.split(draw.permutation(30_000), [18_000, 22_000]), strict=True))
    with traced() as found:
        parts = _scaled(states, numbers, torch.device("cpu"))
    training = states[numbers[Part.TRAINING]].astype(np.float64)
    for part, which in numbers.items():
        wanted = (states[which] - training.mean(axis=0)) / training.std(axis=0)
        assert np.allclose(parts[part].numpy(), wanted, atol=1e-5)
    # The scaled copy, and blocks of it in float64.
    assert found.peak < states.nbytes + 4 * 4096 * 64 * 8
    assert [scored_at_once(classes) for classes in (1000, 30_000, 1 << 40)] == [4194, 139, 1]


def test_more_states_than_are_held_are_refused_with_their_scaled_copies(
    made: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanmask.probes.boundaries.states._MOST", len(made) * 2 * 64 * 4)
    require_memory(made, TINY)
    monkeypatch.setattr("spanmask.probes.boundaries.states._MOST", len(made) * 2 * 64 * 4 - 1)
    with pytest.raises(ConfigError, match=r"scaled ones too, and 0\.0 are held: give 2,999 spans or fewer"):
        require_memory(made, TINY)


# --- States


def test_states_of_masked_spans_know_nothing_of_what_is_hidden() -> None:
    draw, encoder = np.random.default_rng(2), random_encoder(TINY, 3)
    ids = draw.integers(10, 60, (4, 9)).tolist()
    hidden = [[*one[:2], *draw.integers(10, 60, 3).tolist(), *one[5:]] for one in ids]
    one, other = (
        spans_of(block_of([row([2, *i, 3], (3, 6)) for i in rows]), mask=MASK, most=9) for rows in (ids, hidden)
    )
    assert not np.array_equal(one.targets[Place.FIRST], other.targets[Place.FIRST])
    states = [
        [boundary_states(encoder, spans, rows, pad_id=0, bins=2) for rows in (spans.masked, spans.visible)]
        for spans in (one, other)
    ]
    assert np.array_equal(states[0][0], states[1][0])
    assert not np.allclose(states[0][1], states[1][1])


def test_each_reader_reads_what_it_is_named_for(model: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States that tell the token, of one encoder with one kind of rows alone: that reader saves bits, and no other does."""
    config = BoundariesConfig.of(**QUICK | {"spans": 600, "epochs": 8, "lr": 0.05})
    ground, source = Ground(spanmask.open(shards), config, Watch()), Source(model)
    ground.look(source)
    own, targets = source.begin().encoder.embeddings.words.weight.clone(), ground.spans.targets[Place.FIRST]
    common = np.argsort(-np.bincount(targets))[:20]
    telling = (targets[:, None] == common).astype(np.float32)
    silent = np.random.default_rng(3).normal(size=telling.shape).astype(np.float32)
    for reader, inside in ((Reader.MODEL, Inside.MASKED), (Reader.RANDOM, Inside.VISIBLE)):

        def states(encoder: Any, spans: Spans, rows: Any, reader: Any = reader, inside: Any = inside, **_: Any) -> Any:
            of = Reader.MODEL if torch.equal(encoder.embeddings.words.weight.cpu(), own) else Reader.RANDOM
            read = Inside.MASKED if rows is spans.masked else Inside.VISIBLE
            return telling if (of, read) == (reader, inside) else silent

        monkeypatch.setattr("spanmask.probes.boundaries.ground.boundary_states", states)
        found = ground.found(source, 1)
        saved = {
            (one, where): found[where]["first"]["readers"][one]["saved"]
            for one in (Reader.MODEL, Reader.RANDOM, Reader.SHUFFLED)
            for where in Inside
        }
        best = saved.pop((reader, inside))
        assert best > max(saved.values()) + 0.3


def test_states_are_those_of_each_row_alone_in_the_spans_order(made: Spans) -> None:
    draw = np.random.default_rng(2)
    rows = [row([2, *draw.integers(10, 60, size).tolist(), 3], (1, 2), (3, 6)) for size in (5, 11, 8, 6, 13, 9)]
    spans = spans_of(block_of(rows), mask=MASK, most=100)
    encoder = random_encoder(TINY, 3)
    found = boundary_states(encoder, spans, spans.masked, pad_id=0, bins=2)
    with torch.no_grad():
        for number in range(len(spans)):
            ids = torch.from_numpy(spans.masked[spans.rows[number]])[None]
            hidden = encoder.eval()(padded_tensors(ids, torch.ones_like(ids)))
            alone = torch.cat([hidden[spans.lefts[number]], hidden[spans.rights[number]]])
            assert torch.from_numpy(found[number]) == pytest.approx(alone, abs=1e-5)
    assert not np.allclose(found, boundary_states(encoder, spans, spans.visible, pad_id=0, bins=2))
    words = encoder.embeddings.words.weight.detach().numpy()
    assert np.array_equal(
        static_states(encoder, spans)[1], np.concatenate([words[one] for one in spans.boundaries()[1]])
    )


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return _preshard(tmp_path_factory.mktemp("paired"), model, segmentation="pairs", holdout=0.5)


def test_states_of_pairs_are_those_of_the_trainer_s_batch(paired: Path) -> None:
    """An encoder that types of tokens move by more than all else, and rows as they are stored."""
    shards = spanmask.open(paired)
    block, config = shards.blocks[0], replace(TINY, vocab_size=len(vocabulary()), max_positions=64)
    spans, encoder = spans_of(block, mask=MASK, most=9999), random_encoder(config, 3).eval()
    stored = Ragged(offsets=block.input_ids.offsets, values=block.input_ids.values.astype(np.int64))
    with torch.no_grad():
        encoder.embeddings.types.weight.mul_(50)
        found = boundary_states(encoder, spans, stored, pad_id=0, bins=2)
        batch = next(iter(Stream([shards], LoadConfig(batch_size=64, layout="packed")).batches(Position()))).batch
        hidden = encoder(packed_tensors(batch)).numpy()
    asked = 0
    for number, places in enumerate(batch.rows.tolist()):
        first = number * batch.input_ids.shape[1]
        for place in places[: places.index(-1) if -1 in places else None]:
            for one in np.flatnonzero(spans.rows == place):
                states = np.concatenate([hidden[first + side[one]] for side in (spans.lefts, spans.rights)])
                np.testing.assert_allclose(found[one], states, atol=1e-5)
                asked += 1
            first += len(shards[place].input_ids)
    assert asked > 50


# --- Whole runs


@pytest.mark.slow
def test_a_run_that_was_ended_goes_on_to_the_same_figures_and_runs_are_compared_by_seed(
    tmp_path: Path, model: Path, shards: Path
) -> None:
    other, config = small_model(tmp_path / "other", seed=1), BoundariesConfig.of(**QUICK)
    whole = probe([Source(model), Source(other)], shards, config, out=tmp_path / "whole")
    assert read_results(tmp_path / "whole") == whole.results
    assert whole.results.task == "boundaries"
    assert [one.name for one in whole.results.eval] == ["masked", "visible"]
    assert whole.results.train[0].name == "shards, validation"
    for one in whole.results.seeds:
        assert {"saved", "bits", "accuracy", "first_saved", "inner_over_random"} <= one.scores["masked"].keys()
    assert whole.found[1] != whole.found[2]

    class Ended(Watch):
        """Ends with the second model."""

        def states(self, told: str, done: int, total: int) -> None:
            if told.startswith("other"):
                raise KeyboardInterrupt

    models = [Source(model), Source(other)]
    with pytest.raises(KeyboardInterrupt):
        probe(models, shards, config, out=tmp_path / "ended", watch=Ended())
    assert read_found(tmp_path / "ended", 1) == json.loads(json.dumps(whole.found[1]))
    assert not (tmp_path / "ended" / "results.json").exists()
    for changed, told in (
        (config.changed(lr=0.1), "lr was 0.001, is 0.1"),
        (config.changed(spans=100), "spans was 150"),
    ):
        with pytest.raises(MismatchError, match=f"the run differs: {told}"):
            probe(models, shards, changed, out=tmp_path / "ended", resume=True)
    with pytest.raises(ConfigError, match="holds a run already"):
        probe(models, shards, config, out=tmp_path / "ended")
    again = probe(models, shards, config, out=tmp_path / "ended", resume=True)
    assert json.loads(json.dumps(again.found[2])) == json.loads(json.dumps(whole.found[2]))
    assert again.results == whole.results

    alone = probe([Source(other)], shards, config, out=tmp_path / "alone")
    comparison = compare([str(tmp_path / name) for name in ("whole", "alone")])
    (pair,) = comparison.of("masked", "first_saved")
    values = [run.seeds[0].scores["masked"]["first_saved"] for run in (whole.results, alone.results)]
    assert (pair.seeds, pair.differences) == ((1,), (values[1] - values[0],))


def test_rows_are_taken_in_one_order_and_masked_anew_where_that_is_asked(shards: Path) -> None:
    split = spanmask.open(shards, "validation")
    few, more = (read_spans(split, BoundariesConfig(spans=count)) for count in (50, 90))
    assert np.array_equal(few.documents, more.documents[:50])
    fresh = read_spans(split, BoundariesConfig(spans=50, mask_epoch=1))
    assert not np.array_equal(few.lefts, fresh.lefts)
    assert np.array_equal(few.visible[0], fresh.visible[0])
    stored = read_spans(split, BoundariesConfig(spans=50, mask_epoch=0))
    assert np.array_equal(few.lefts, stored.lefts)


def test_a_document_is_told_by_its_text_wherever_it_stands(tmp_path: Path) -> None:
    lines = STORIES.read_text("utf-8").splitlines()
    texts = [" ".join(lines[20 * number : 20 * number + 20]) for number in range(12)]
    # Another file stands before the rest, and of one text there are two.
    for folder, content in (("one", texts), ("other", ["It was a dull, dark day.", *texts[::-1], texts[3]])):
        (tmp_path / folder).mkdir()
        for number, text in enumerate(content):
            (tmp_path / folder / f"{number:02}.txt").write_text(text, "utf-8")
    found: list[dict[tuple[int, ...], set[int]]] = []
    for folder in ("one", "other"):
        preshard(
            [tmp_path / folder],
            tmp_path / f"{folder}-shards",
            PreshardConfig.of(vocab="uncased", seed=3, max_tokens=32),
            jobs=1,
        )
        spans = read_spans(spanmask.open(tmp_path / f"{folder}-shards"), BoundariesConfig())
        found.append({})
        for row_number, document in zip(spans.rows.tolist(), spans.documents.tolist(), strict=True):
            found[-1].setdefault(tuple(spans.visible[row_number].tolist()), set()).add(document)
    one, other = found
    assert len({document for documents in one.values() for document in documents}) == 12
    assert len({document for documents in other.values() for document in documents}) == 13
    # Every row of a document is of the same document still, in spite of its place, and of its twin's.
    assert all(len(documents) == 1 for documents in other.values())
    assert all(other[text] == documents for text, documents in one.items())
    few = read_spans(spanmask.open(tmp_path / "other-shards"), BoundariesConfig(spans=5, mask_epoch=3))
    assert set(few.documents.tolist()) <= {document for documents in other.values() for document in documents}


def test_a_span_of_a_pair_is_of_the_document_of_its_segment(paired: Path) -> None:
    shards = spanmask.open(paired, "validation")
    rows = {tuple(one.original().tolist()): one for one in shards}
    # What each document begins with: the first segment of its first row.
    texts: dict[int, tuple[int, ...]] = {}
    for one in shards:
        assert one.pair is not None
        texts.setdefault(one.document_id, tuple(one.original()[: one.pair.border].tolist()))
    spans = read_spans(shards, BoundariesConfig(spans=400))
    found = []
    for number, left, document in zip(spans.rows.tolist(), spans.lefts.tolist(), spans.documents.tolist(), strict=True):
        one = rows[tuple(spans.visible[number].tolist())]
        assert one.pair is not None
        assert spans.second_starts[number] == one.pair.border
        second = left + 1 >= one.pair.border
        found.append(
            (texts[one.pair.document_id if second else one.document_id], document, second and not one.pair.label)
        )
    assert len({text for text, *_ in found}) == len({document for _, document, _ in found}) > 5
    assert len({(text, document) for text, document, _ in found}) == len({text for text, *_ in found})
    assert sum(other for *_, other in found) > 50


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset of another vocabulary, without a validation split."""
    return _preshard(tmp_path_factory.mktemp("elsewhere"), "uncased")


def test_what_does_not_fit_is_refused(tmp_path: Path, model: Path, shards: Path, elsewhere: Path) -> None:
    config, out = BoundariesConfig.of(**QUICK), tmp_path / "run"
    with (
        pytest.warns(UserWarning, match="has no validation split: spans are those of train"),
        pytest.raises(
            MismatchError, match=r"model: its vocabulary hashes to .*: preshard held-out text with the model's own"
        ),
    ):
        probe([Source(model)], elsewhere, config, out=out)
    short = small_model(tmp_path / "short", max_positions=32)
    with pytest.raises(ConfigError, match="rows have up to 64 tokens, and the model 32 positions: preshard"):
        probe([Source(short)], shards, config, out=out)
    with pytest.raises(ConfigError, match="has no split 'test'; it has train, validation"):
        probe([Source(model)], shards, config.changed(split="test"), out=out)
    with pytest.raises(ConfigError, match="leave nothing to"):
        probe([Source(model)], shards, config.changed(spans=1), out=out)
    # A run that was refused has begun nothing.
    assert not (out / "probe.json").exists()


def test_a_model_that_changes_while_it_is_asked_is_refused(tmp_path: Path, shards: Path) -> None:
    folder = small_model(tmp_path / "model")
    ground, source = Ground(spanmask.open(shards), BoundariesConfig.of(**QUICK), Watch()), Source(folder)
    ground.look(source)
    (folder / "model.safetensors").write_bytes(
        (small_model(tmp_path / "new", seed=5) / "model.safetensors").read_bytes()
    )
    with pytest.raises(MismatchError, match="it has other weights than when the run began"):
        ground.found(source, 1)


def test_what_a_model_lacks_is_drawn_by_the_seed_whatever_was_drawn_before(tmp_path: Path, shards: Path) -> None:
    folder = small_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["bert.embeddings.token_type_embeddings.weight"]
    save_file(weights, folder / "model.safetensors")
    config = BoundariesConfig.of(**QUICK | {"epochs": 1, "spans": 100})
    ground, source = Ground(spanmask.open(shards), config, Watch()), Source(folder)
    ground.look(source)
    found = []
    for drawn in (1, 2):
        torch.manual_seed(drawn)
        found.append(ground.found(source, 3))
    assert found[0] == found[1]


def test_the_vocabulary_of_the_stories_is_that_of_the_dataset(shards: Path) -> None:
    assert spanmask.open(shards).manifest.stated_vocabulary.sha256 == vocabulary().sha256
