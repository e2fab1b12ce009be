"""Capacities chosen from histograms fill bins, of prose, titles, long words and Chinese, and hold what fresh masks bring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from small import VOCABULARY
from strategies import PIECE_IDS, WORD_IDS

from spanmask.config import MaskingConfig, Sampler, Scheme
from spanmask.errors import ConfigError
from spanmask.loading.packing import Capacities, Fill, assign, choose_capacities
from spanmask.loading.targets import Edges, SboRule, count_targets
from spanmask.masking import mask
from spanmask.records import MaskedBlock
from spanmask.statistics import RowStatistics

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
        return mask(tokens, np.cumsum([0, *self.lengths]), config, VOCABULARY)

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


def fill_of(block: MaskedBlock, capacities: Capacities, rule: SboRule | None = USE) -> Fill:
    needs = block.input_ids.lengths, block.labels.lengths, count_targets(block, rule).sbo
    return Fill.of(*needs, len(assign(*needs, capacities)), capacities)


@pytest.mark.parametrize("name", CORPORA)
def test_masks_of_other_epochs_fill_bins_to_97_percent(name: str) -> None:
    corpus = CORPORA[name]
    capacities = choose_capacities(corpus.statistics(), USE)
    for epoch in (1, 2, 3):
        fresh = corpus.masked(replace(CONFIG, mask_epoch=epoch), seed=SEED)
        assert fill_of(fresh, capacities).rates["tokens"] >= 0.97, capacities


@pytest.mark.parametrize(
    ("name", "mlm", "sequences"),
    [
        ("prose", (80, 104), (2, 5)),
        ("titles", (88, 112), (36, 64)),
        ("chinese", (80, 88), (2, 8)),
        ("two kinds", (88, 112), (36, 64)),
    ],
)
def test_slots_are_no_more_than_rows_of_such_lengths_use(
    name: str, mlm: tuple[int, int], sequences: tuple[int, int]
) -> None:
    capacities = choose_capacities(CORPORA[name].statistics(), USE)
    assert mlm[0] <= capacities.mlm <= mlm[1]
    assert sequences[0] <= capacities.sequences <= sequences[1]
    assert capacities.mlm % 8 == capacities.sbo % 8 == 0


def test_long_words_that_just_fit_the_budget_make_room_for_almost_twice_of_it() -> None:
    """Longer ones are never masked."""
    corpus = replace(PROSE, pieces=(1, 1, 1, 1, 1, 1, 1, 1, 1, 70))
    assert choose_capacities(corpus.statistics(), USE).mlm == 160


def test_where_masks_keep_to_the_budget_there_is_no_room_above_it() -> None:
    token = replace(CONFIG, scheme=Scheme.TOKEN, sampler=None, replacement_unit=None)
    exact = [replace(CONFIG, sampler=Sampler.REFERENCE, random_ids="uniform"), token]
    full = Corpus([510] * 300)
    assert {choose_capacities(full.statistics(config), USE).mlm for config in exact} == {80}
    assert choose_capacities(full.statistics(), USE).mlm > 80


def test_slots_grow_where_bins_of_short_rows_need_more_than_the_average_one() -> None:
    """Seven tokens have a budget of two: 113 a bin, where full rows have 77 and the average bin 95."""
    corpus = Corpus([510] * 150 + [7] * 8500, pieces=(1,))
    capacities = choose_capacities(corpus.statistics(), USE)
    assert 104 <= capacities.mlm <= 120
    assert fill_of(corpus.masked(replace(CONFIG, mask_epoch=1), seed=SEED), capacities).rates["tokens"] >= 0.97


def test_sbo_slots_follow_the_rule() -> None:
    statistics = PROSE.statistics()
    assert choose_capacities(statistics, None).sbo == 0
    whole = choose_capacities(statistics, USE)
    assert whole.sbo == whole.mlm
    first_only = SboRule(edges=Edges.USE, max_span_offset=1)
    few = choose_capacities(statistics, first_only)
    assert few.sbo < whole.sbo
    assert fill_of(PROSE.masked(replace(CONFIG, mask_epoch=1), seed=SEED), few, first_only).rates["tokens"] >= 0.97


def test_longer_bins_hold_more_of_everything() -> None:
    capacities = choose_capacities(PROSE.statistics(), USE, tokens=2048)
    assert 4 * 78 <= capacities.mlm <= 4 * 96
    assert fill_of(PROSE.masked(CONFIG, seed=SEED), capacities).rates["tokens"] >= 0.97


def test_rows_beyond_the_histograms_have_capacities_too() -> None:
    """Which end at 1,024, and count longer rows there."""
    corpus = Corpus([4000] * 20)
    capacities = choose_capacities(corpus.statistics(), USE, tokens=4096)
    assert 600 <= capacities.mlm <= 760
    assert len(assign(*(np.array([value]) for value in (4002, 610, 610)), capacities)) == 1


def test_rows_longer_than_a_bin_and_no_rows_at_all_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="rows have up to 512 tokens, a bin holds 256: give bins of 512 tokens or more"
    ):
        choose_capacities(PROSE.statistics(), USE, tokens=256)
    with pytest.raises(ConfigError, match="the split has no rows"):
        choose_capacities(RowStatistics().to_json(), USE)


def test_the_choice_is_the_same_each_time() -> None:
    statistics = TITLES.statistics()
    assert choose_capacities(statistics, USE) == choose_capacities(statistics, USE)
