"""Spans of a dataset, what they are for, and what a reader without states says; no torch."""

from __future__ import annotations

import numpy as np
import pytest

from spanmask.blocks import block_of
from spanmask.errors import ConfigError
from spanmask.probes.boundaries import BoundariesConfig, Part, Place, classes_of
from spanmask.probes.boundaries.findings import Reader, Said, chance, complaints, found_of, scores_of
from spanmask.probes.boundaries.spans import Spans, asked, parts_of, spans_of
from spanmask.records import Row

MASK = 4


def row(ids: list[int], *spans: tuple[int, int], document: int = 0) -> Row:
    """A row of original ids whose spans hold a mask token, the label or another, in turn."""
    corrupted = np.array(ids, np.uint16)
    for start, end in spans:
        corrupted[start:end] = [(MASK, ids[place], 99)[place % 3] for place in range(start, end)]
    return Row(
        document_id=document,
        segment=0,
        input_ids=corrupted,
        span_starts=np.array([start for start, _ in spans], np.uint16),
        span_ends=np.array([end for _, end in spans], np.uint16),
        labels=np.concatenate([np.zeros(0, np.uint16), *(np.array(ids[s:e], np.uint16) for s, e in spans)]),
        kept={},
    )


def test_spans_are_what_rows_say_of_them_one_by_one() -> None:
    rows = [
        row([2, 10, 11, 12, 13, 14, 15, 3], (1, 2), (3, 7), document=7),
        row([2, 20, 3], document=8),
        row([2, 30, 31, 32, 33, 3], (1, 4), document=9),
    ]
    spans = spans_of(block_of(rows), mask=MASK, most=100)
    found = []
    for number, one in enumerate(rows):
        original = one.original().tolist()
        assert spans.visible[number].tolist() == original
        hidden = list(original)
        for start, end in zip(one.span_starts.tolist(), one.span_ends.tolist(), strict=True):
            inside = original[start:end]
            hidden[start:end] = [MASK] * len(inside)
            found.append((number, start - 1, end, len(inside), one.document_id, inside[0], inside[-1]))
        assert spans.masked[number].tolist() == hidden
    columns = (spans.rows, spans.lefts, spans.rights, spans.sizes, spans.documents)
    told = [*columns, spans.targets[Place.FIRST], spans.targets[Place.LAST]]
    assert list(zip(*(one.tolist() for one in told), strict=True)) == found
    assert spans.boundaries().tolist() == [[2, 11], [11, 3], [2, 33]]
    # The inner one: of 4 pieces the second, of 3 the middle one; shorter spans have none.
    assert [spans.having(place).tolist() for place in Place] == [[True] * 3, [False, True, True], [False, True, True]]
    assert spans.targets[Place.INNER][1:].tolist() == [13, 31]


def test_no_more_spans_than_are_wanted() -> None:
    spans = spans_of(block_of([row([2, 10, 11, 12, 13, 14, 3], (1, 2), (3, 4), (5, 6))]), mask=MASK, most=2)
    assert (len(spans), spans.rights.tolist()) == (2, [2, 4])
    # What is left out is masked all the same: the encoder reads the row as it is.
    assert spans.masked[0].tolist() == [2, MASK, 11, MASK, 13, MASK, 3]


def test_what_a_document_is_for_depends_on_it_alone() -> None:
    documents = np.arange(2000, dtype=np.uint64)
    parts = parts_of(documents, selection=0.15, measured=0.25)
    assert np.array_equal(sum(flags.astype(int) for flags in parts.values()), np.ones(2000))
    # Within 4 deviations of the share that is wanted.
    for part, share in ((Part.SELECTION, 0.15), (Part.MEASURED, 0.25)):
        assert abs(parts[part].mean() - share) < 4 * (share * (1 - share) / 2000) ** 0.5
    again = parts_of(np.repeat(documents[::-3], 2), selection=0.15, measured=0.25)
    for part, flags in parts.items():
        assert np.array_equal(again[part], np.repeat(flags[::-3], 2))


def _spans(documents: int, size: int = 1) -> Spans:
    ids = [2, *range(10, 10 + size), 3]
    rows = [row(ids, (1, 1 + size), document=number) for number in range(documents)]
    return spans_of(block_of(rows), mask=MASK, most=1000)


def test_a_place_that_no_span_has_is_left_out_and_a_part_without_documents_refused() -> None:
    config = BoundariesConfig()
    assert list(asked(_spans(100), config)) == [Place.FIRST]
    assert list(asked(_spans(100, size=2), config)) == [Place.FIRST, Place.LAST]
    assert list(asked(_spans(100, size=3), config)) == [*Place]
    with pytest.raises(
        ConfigError, match=r"1 span of 1 document leave nothing to .*: give a dataset of more documents"
    ):
        asked(_spans(1), config)


# --- Classes


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_frequencies_are_a_distribution_over_all_tokens_whatever_is_told_apart(most: int) -> None:
    draw = np.random.default_rng(5)
    training, choosing = draw.geometric(0.2, 3000), draw.geometric(0.2, 500)
    classes = classes_of(training, choosing, entries=60, most=most)
    every = np.arange(60)
    shares = np.exp2(-classes.unigram_bits(every))
    assert shares.sum() == pytest.approx(1)
    assert classes.unigram_bits(every) == pytest.approx(
        classes_of(training, choosing, entries=60, most=2).unigram_bits(every)
    )
    counts = np.bincount(training, minlength=60)
    assert len(classes) == min(most, np.count_nonzero(counts)) + 1
    own = classes.likeliest[:-1]
    assert np.array_equal(classes.of[own], np.arange(len(own)))
    assert counts[own].min() >= np.delete(counts, own).max()
    # The share of a token that comes often is what was counted.
    assert shares[1] == pytest.approx(counts[1] / 3000, rel=0.02)


def test_frequencies_cost_what_the_entropy_is() -> None:
    """Uniform over 16: 4 bits, and what is lost by not knowing that is about half a bit of 15 frequencies over the 20,000 counted."""
    draw = np.random.default_rng(6)
    training, choosing, measured = (draw.integers(0, 16, size) for size in (20_000, 5000, 5000))
    classes = classes_of(training, choosing, entries=16, most=8)
    assert classes.unigram_bits(measured).mean() == pytest.approx(4, abs=0.005)


# --- Figures


def test_figures_are_means_by_length_and_over_places() -> None:
    sizes, documents = np.array([1, 1, 2, 12]), np.arange(4, dtype=np.uint64)
    unigram, model = np.array([4.0, 4, 6, 6]), np.array([1.0, 3, 6, 2])
    right = np.array([True, False, True, True])
    said = {Reader.UNIGRAM: Said(unigram, ~right)} | {
        reader: Said(model, right) for reader in Reader if reader is not Reader.UNIGRAM
    }
    found = found_of(said, sizes, documents, choosing=4, seed=1)
    assert found["readers"]["unigram"] == {"bits": 5, "saved": 0, "accuracy": 25}
    assert {**found["readers"]["model"], "saved_interval": None} == {
        "bits": 3,
        "saved": 2,
        "accuracy": 75,
        "saved_interval": None,
    }
    low, high = found["readers"]["model"]["saved_interval"]
    assert low <= 2 <= high
    assert {length: (one["tokens"], one["readers"]["model"]["saved"]) for length, one in found["lengths"].items()} == {
        "1": (2, 2),
        "2": (1, 0),
        "10+": (1, 4),
    }
    scores = scores_of(
        {
            "first": found,
            "last": {
                **found,
                "tokens": 12,
                "readers": found["readers"] | {"model": {"bits": 7.0, "saved": -2.0, "accuracy": 0.0}},
            },
        }
    )
    assert (scores["saved"], scores["bits"], scores["accuracy"]) == (-1, 6, 18.75)
    assert (scores["first_saved"], scores["first_over_random"], scores["last_over_random"]) == (2, 0, -4)
    assert (scores["first_total"], scores["last_total"]) == (4, 12)


def test_a_probe_that_finds_more_in_shuffled_labels_than_chance_has_it_complains() -> None:
    noise = np.random.default_rng(7).normal(size=4000)
    documents = np.arange(4000)
    limit = chance(noise, documents, 2000)
    assert limit == pytest.approx(4 * noise.std(ddof=1) * (1 / 4000 + 1 / 2000) ** 0.5)
    for shift, lines in ((0.0, 0), (2 * limit, 1), (-2 * limit, 1)):
        said = {Reader.UNIGRAM: Said(np.full(4000, 8.0), noise > 0)}
        said |= {one: Said(8 + noise - noise.mean() + shift, noise > 0) for one in (Reader.SHUFFLED, Reader.MODEL)}
        found = found_of(said, np.ones(4000, np.int64), documents, choosing=2000, seed=1)
        assert len(complaints({"masked": {"first": found}})) == lines


def _checked(differences: np.ndarray, documents: np.ndarray) -> list[str]:
    """Return what is said of shuffled labels that are off by so many bits."""
    unigram, right = np.full(len(differences), 8.0), differences > 0
    said = {reader: Said(unigram + differences, right) for reader in Reader} | {Reader.UNIGRAM: Said(unigram, right)}
    found = found_of(said, np.ones(len(differences), np.int64), documents, choosing=len(differences), seed=1)
    return complaints({"masked": {"first": found}})


def test_rounding_is_no_complaint_however_many_spans_there_are() -> None:
    """A bias in float32 beside frequencies in float64: some 1e-7 bits, the same for every token of a kind."""
    rounded = 1e-7 + np.random.default_rng(9).normal(0, 1e-8, 50_000)
    assert not _checked(rounded, np.arange(50_000) // 10)


def test_chance_is_that_of_documents_whose_tokens_are_alike() -> None:
    """40 documents of 100 tokens: as many tokens by themselves would vary a tenth as much."""
    draw = np.random.default_rng(10)
    of_document = draw.normal(size=40)
    documents = np.repeat(np.arange(40), 100)
    alike = np.repeat(of_document - of_document.mean(), 100)
    limit = chance(alike, documents, 4000)
    assert limit == pytest.approx(4 * of_document.std(ddof=1) * (2 / 40) ** 0.5)
    assert limit > 9 * (chance(alike, np.arange(4000), 4000) or 0)
    assert not _checked(alike + 0.5 * (limit or 0), documents)
    assert _checked(alike + 2 * (limit or 0), documents)


def test_few_documents_say_nothing_of_shuffled_labels() -> None:
    noise = np.random.default_rng(11).normal(5, 0.01, size=700)
    assert chance(noise, np.arange(700) // 100, 700) is None
    assert not _checked(noise, np.arange(700) // 100)
    assert len(_checked(noise, np.arange(700) // 70)) == 1


# --- Options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"selection": 0.5, "measured": 0.5}, "leaves nothing to train on: give smaller shares"),
        ({"spans": 0}, "spans is 0: give a whole number, 1 or more"),
        ({"decay": ()}, "decay is \\[\\]|decay is \\(\\)"),
        ({"lr": 1.5}, "lr is 1.5"),
        ({"mask_epoch": -1}, "mask_epoch is -1"),
        ({"seeds": "1,1"}, "seeds is '1,1'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        BoundariesConfig.of(**options)


def test_each_model_has_a_seed_of_its_own() -> None:
    assert BoundariesConfig().numbers(3) == (1, 2, 3)
    assert BoundariesConfig(seeds="4,2").numbers(2) == (4, 2)
    assert BoundariesConfig(seeds="2").numbers(1) == (2,)
    with pytest.raises(ConfigError, match="seeds are 4,2, and models 3: give one seed a model"):
        BoundariesConfig(seeds="4,2").numbers(3)
