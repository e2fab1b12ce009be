"""Capacities and slots chosen from histograms are filled, by prose, titles, long words and Chinese; the second slots hold any masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import strategies as shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from small import VOCABULARY, config_of
from strategies import PIECE_IDS, WORD_IDS

from spanmask.config import MaskingConfig, Sampler, Scheme
from spanmask.errors import ConfigError
from spanmask.loading.binning import Capacities, assign
from spanmask.loading.capacities import choose_capacities, choose_slots, most_slots
from spanmask.loading.targets import Edges, SboRule, count_targets
from spanmask.masking import mask
from spanmask.records import MaskedBlock
from spanmask.statistics import RowStatistics

SAMPLERS = [pair for pair in shapes.SAMPLERS if pair[0] != "annotated"]
USE = SboRule(edges=Edges.USE)
CONFIG = MaskingConfig(seed=3)
SEED = 20181


@dataclass(frozen=True)
class Corpus:
    """Rows: how long each is without special tokens, and the pieces of words, drawn from those given."""

    lengths: list[int]
    pieces: tuple[int, ...] = (1,) * 40 + (2,) * 6 + (3, 4, 7)

    def masked(self, config: MaskingConfig, *, seed: int) -> MaskedBlock:
        rng = np.random.default_rng(seed)
        tokens = np.full(sum(self.lengths), PIECE_IDS[0])
        starts = np.cumsum(rng.choice(self.pieces, len(tokens)))
        tokens[np.concatenate(([0], starts[starts < len(tokens)]))] = WORD_IDS[0]
        words = VOCABULARY.base_word_table[tokens]
        return mask(tokens, np.cumsum([0, *self.lengths]), config, VOCABULARY, word_starts=words)

    def statistics(self, config: MaskingConfig = CONFIG) -> dict[str, Any]:
        counts = RowStatistics()
        counts.add(self.masked(config, seed=SEED), VOCABULARY, config.mask_fraction)
        return counts.to_json()


def lengths_of_prose(rows: int) -> list[int]:
    """As enwiki has them at 512: four rows in five full but for the last word, the rest of any length."""
    rng = np.random.default_rng(SEED)
    full, rest = rng.choice([510, 510, 510, 509, 508], rows), rng.integers(6, 508, rows)
    return np.where(rng.random(rows) < 0.85, full, rest).tolist()


PROSE = Corpus(lengths_of_prose(1500))
TITLES = Corpus(np.random.default_rng(SEED).integers(8, 17, 3000).tolist())
LONG_WORDS = Corpus(np.random.default_rng(SEED).integers(30, 510, 700).tolist(), pieces=(1, 1, 1, 100))
CHINESE = Corpus(np.random.default_rng(SEED).integers(30, 510, 700).tolist(), pieces=(1,))
TWO_KINDS = Corpus([510] * 300 + [12] * 3000)
CORPORA = {"prose": PROSE, "titles": TITLES, "long words": LONG_WORDS, "chinese": CHINESE, "two kinds": TWO_KINDS}


def bins_of(block: MaskedBlock, capacities: Capacities, rule: SboRule | None = USE) -> np.ndarray:
    """Tokens, MLM and SBO targets of each bin, (n, 3)."""
    needs = block.input_ids.lengths, block.labels.lengths, count_targets(block, rule).sbo
    bins = assign(needs[0], capacities)
    return np.add.reduceat(np.stack(needs, axis=1)[bins.members], bins.offsets[:-1])


def filled(block: MaskedBlock, capacities: Capacities) -> float:
    """The share of the bins' slots that hold tokens."""
    used = bins_of(block, capacities)[:, 0]
    return float(used.sum() / (len(used) * capacities.tokens))


def batches_of(block: MaskedBlock, capacities: Capacities, size: int, rule: SboRule | None = USE) -> np.ndarray:
    """MLM and SBO targets of batches of as many bins, drawn at random, (1000, 2)."""
    targets = bins_of(block, capacities, rule)[:, 1:]
    return targets[np.random.default_rng(SEED).integers(0, len(targets), (1000, size))].sum(axis=1)


def fresh(corpus: Corpus, epoch: int, config: MaskingConfig = CONFIG) -> MaskedBlock:
    return corpus.masked(replace(config, mask_epoch=epoch), seed=SEED)


@pytest.mark.parametrize("name", CORPORA)
def test_masks_of_other_epochs_fill_bins_to_97_percent(name: str) -> None:
    corpus = CORPORA[name]
    capacities = choose_capacities(corpus.statistics())
    for epoch in (1, 2, 3):
        assert filled(fresh(corpus, epoch), capacities) >= 0.97, capacities


@pytest.mark.parametrize(
    ("name", "sequences"),
    [("prose", (2, 5)), ("titles", (36, 64)), ("chinese", (2, 8)), ("two kinds", (36, 64))],
)
def test_bins_have_room_for_no_more_sequences_than_rows_of_such_lengths_need(
    name: str, sequences: tuple[int, int]
) -> None:
    capacities = choose_capacities(CORPORA[name].statistics())
    assert sequences[0] <= capacities.sequences <= sequences[1]


#: The share of the usual slots of 8 bins, and of 64, that is filled: the less the more bins differ.
FILLED = {
    "prose": (0.96, 0.98),
    "titles": (0.84, 0.94),
    "long words": (0.4, 0.65),
    "chinese": (0.92, 0.97),
    "two kinds": (0.91, 0.96),
}


@pytest.mark.parametrize("bins", [8, 64])
@pytest.mark.parametrize("name", CORPORA)
def test_usual_slots_are_filled_and_rarely_too_few(name: str, bins: int) -> None:
    corpus = CORPORA[name]
    statistics = corpus.statistics()
    capacities = choose_capacities(statistics)
    slots = choose_slots(statistics, USE, capacities, bins=bins)
    assert slots.mlm % 8 == slots.sbo % 8 == 0
    batches = batches_of(fresh(corpus, 1), capacities, bins)
    rates = batches.mean(axis=0) / (slots.mlm, slots.sbo)
    assert (rates >= FILLED[name][bins == 64]).all(), rates
    assert ((batches[:, 0] > slots.mlm) | (batches[:, 1] > slots.sbo)).mean() <= 0.02


@pytest.mark.parametrize("limit", [1, 2, 20])
@pytest.mark.parametrize("edges", Edges)
def test_sbo_slots_follow_the_rule(edges: Edges, limit: int) -> None:
    rule = SboRule(edges=edges, max_span_offset=limit)
    statistics = PROSE.statistics()
    capacities = choose_capacities(statistics)
    slots = choose_slots(statistics, rule, capacities, bins=16)
    batches = batches_of(fresh(PROSE, 1), capacities, 16, rule)[:, 1]
    above = (slots.sbo - batches.mean()) / batches.std()
    assert 2 <= above <= 4 + 8 / batches.std()


def test_without_a_rule_there_are_no_sbo_slots() -> None:
    statistics = PROSE.statistics()
    capacities = choose_capacities(statistics)
    assert choose_slots(statistics, None, capacities, bins=8).sbo == 0
    assert most_slots([CONFIG], None, capacities, bins=8).sbo == 0


def block_of(segments: list[shapes.Segment], masking: Any) -> MaskedBlock:
    offsets = np.cumsum([0, *(len(segment.tokens) for segment in segments)])
    tokens = np.array([token for segment in segments for token in segment.tokens], np.int64)
    unigram = None if masking.unigram is None else np.array(masking.unigram, np.int64)
    return mask(tokens, offsets, config_of(masking), VOCABULARY, unigram=unigram)


@settings(deadline=None)
@given(
    segments=st.lists(shapes.segments(), min_size=1, max_size=8),
    masking=shapes.maskings(samplers=SAMPLERS),
    spare=st.sampled_from([0, 1, 17]),
)
def test_no_masks_exceed_the_second_slots(segments, masking, spare: int) -> None:
    """Of rows that share a bin, and of bins that share a batch."""
    config = config_of(masking)
    block = block_of(segments, masking)
    tokens = int(block.input_ids.offsets[-1])
    for capacities, bins in (
        (Capacities(tokens=tokens + spare, sequences=len(segments)), 1),
        (Capacities(tokens=int(block.input_ids.lengths.max()) + spare, sequences=1), len(segments)),
    ):
        most = most_slots([config], USE, capacities, bins=bins)
        assert len(block.labels.values) <= most.mlm <= bins * capacities.tokens
        assert most.sbo == most.mlm


def test_long_words_that_just_fit_the_budget_come_near_the_second_slots() -> None:
    """So that these could not be many fewer."""
    corpus = Corpus([510] * 1500, pieces=(1, 1, 1, 1, 1, 1, 1, 1, 1, 70))
    assert most_slots([CONFIG], USE, Capacities(tokens=512, sequences=1), bins=1).mlm == 160
    assert 140 <= int(fresh(corpus, 1).labels.lengths.max()) <= 153


def test_where_masks_keep_to_the_budget_the_second_slots_hold_half_as_many() -> None:
    token = replace(CONFIG, scheme=Scheme.TOKEN, sampler=None, replacement_unit=None)
    exact = [replace(CONFIG, sampler=Sampler.REFERENCE, random_ids="uniform"), token]
    one = Capacities(tokens=512, sequences=1)
    assert {most_slots([config], USE, one, bins=1).mlm for config in exact} == {80}
    assert most_slots([CONFIG], USE, one, bins=1).mlm == 160
    assert most_slots([CONFIG, token], USE, one, bins=1).mlm == 160


def test_longer_bins_hold_more_of_everything() -> None:
    statistics = PROSE.statistics()
    capacities = choose_capacities(statistics, tokens=2048)
    assert filled(PROSE.masked(CONFIG, seed=SEED), capacities) >= 0.97
    assert 4 * 77 <= choose_slots(statistics, USE, capacities, bins=1).mlm <= 4 * 90


def test_rows_beyond_the_histograms_have_capacities_and_slots_too() -> None:
    """Which end at 1,024, and count longer rows there."""
    corpus = Corpus([4000] * 20)
    statistics = corpus.statistics()
    capacities = choose_capacities(statistics, tokens=4096)
    assert 600 <= choose_slots(statistics, USE, capacities, bins=1).mlm <= 640
    assert len(assign(np.array([4002]), capacities)) == 1


def lengths_of_long_documents(rows: int, most: int) -> list[int]:
    """As enwiki has them at 8,192: three articles in ten longer, which are cut, and what is left of any length."""
    rng = np.random.default_rng(SEED)
    articles = rng.exponential(most * 0.8, rows)
    return np.concatenate([[most - 2] * int(one // most) + [int(one % most) + 6] for one in articles]).tolist()


@pytest.mark.parametrize("most", [2048, 8192])
def test_long_documents_fill_bins_though_histograms_tell_only_the_mean_of_long_rows(most: int) -> None:
    corpus = Corpus([min(length, most - 2) for length in lengths_of_long_documents(120, most)], pieces=(1,))
    statistics = corpus.statistics()
    capacities = choose_capacities(statistics, tokens=most)
    assert filled(fresh(corpus, 1), capacities) >= 0.97, capacities
    slots = choose_slots(statistics, USE, capacities, bins=8)
    batches = batches_of(fresh(corpus, 1), capacities, 8)
    assert (batches[:, 0] > slots.mlm).mean() <= 0.05
    assert batches[:, 0].mean() / slots.mlm >= 0.7


def test_rows_longer_than_a_bin_and_no_rows_at_all_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="rows have up to 512 tokens, a bin holds 256: give bins of 512 tokens or more"
    ):
        choose_capacities(PROSE.statistics(), tokens=256)
    with pytest.raises(ConfigError, match="the split has no rows"):
        choose_capacities(RowStatistics().to_json())


def test_the_sep_between_segments_counts_as_a_token_of_a_row() -> None:
    statistics = Corpus([510] * 5 + [100] * 3000).statistics()
    rows = statistics["rows"]
    pairs = statistics | {"tokens": statistics["tokens"] - rows, "pairs": rows}
    assert choose_capacities(pairs) == choose_capacities(statistics)


def test_rows_longer_than_a_bin_on_average_are_refused_though_histograms_end_before_it() -> None:
    with pytest.raises(ConfigError, match="the longest rows have 4,002 tokens on average, a bin holds 2,048: give bin"):
        choose_capacities(Corpus([4000] * 20).statistics(), tokens=2048)
    damaged = PROSE.statistics()
    damaged["masked_tokens"] += 10_000_000
    with pytest.raises(ConfigError, match=r"the most masked rows have .* masked tokens on average, a bin holds 512"):
        choose_slots(damaged, USE, choose_capacities(PROSE.statistics()), bins=1)


def test_the_choice_is_the_same_each_time() -> None:
    statistics = TITLES.statistics()
    capacities = choose_capacities(statistics)
    assert choose_capacities(statistics) == capacities
    assert choose_slots(statistics, USE, capacities, bins=8) == choose_slots(statistics, USE, capacities, bins=8)
