"""The NumPy baselines do the kernels' work: the same rows, bit for bit."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spanmask_bench.baselines import lockstep_masking, numpy_masking
from spanmask_bench.baselines.lockstep_masking import LockstepMasker
from spanmask_bench.baselines.numpy_masking import NumpyMasker, bounded, philox, thresholds
from spanmask_bench.masking import require_equal

from spanmask.config import MaskingConfig, ReplacementUnit, Sampler, VocabularyConfig
from spanmask.masking import Masker
from spanmask.records import SequenceBlock
from spanmask.vocab import Vocabulary, load_vocabulary

BASELINES = (NumpyMasker, LockstepMasker)
CASED = load_vocabulary(VocabularyConfig())


def ragged_block(
    rng: np.random.Generator, sizes: list[int], word_share: float, vocabulary: Vocabulary
) -> SequenceBlock:
    """Segments of these sizes, in disorder and with gaps, under identities from all over."""
    gaps = rng.integers(0, 4, len(sizes))
    starts = np.cumsum(np.array(sizes) + gaps) - sizes
    tokens = int(starts[-1]) + sizes[-1]
    order = rng.permutation(len(sizes))
    return SequenceBlock(
        token_ids=rng.choice(vocabulary.ordinary_ids, tokens),
        word_starts=rng.random(tokens) < word_share,
        starts=starts[order],
        ends=(starts + sizes)[order],
        document_index=np.zeros(len(sizes), np.int64),
        document_ids=rng.integers(0, 2**64, len(sizes), np.uint64),
        segments=rng.integers(0, 2**24, len(sizes), np.uint32),
        dropped={},
    )


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**64 - 1),
    sizes=st.lists(st.integers(1, 600), min_size=1, max_size=12),
    ratio=st.sampled_from([0.01, 0.15, 0.3, 0.5, 0.85, 0.99]),
    p=st.sampled_from([0.02, 0.2, 0.9]),
    max_words=st.sampled_from([1, 3, 10, 40]),
    word_share=st.sampled_from([0.05, 0.5, 0.8, 1.0]),
    mask_epoch=st.sampled_from([0, 5000]),
)
@settings(max_examples=40, deadline=None)
def test_the_baselines_equal_the_kernels(seed, sizes, ratio, p, max_words, word_share, mask_epoch):
    block = ragged_block(np.random.default_rng(seed), sizes, word_share, CASED)
    config = MaskingConfig(seed=seed, mask_ratio=ratio, geometric_p=p, max_words=max_words, mask_epoch=mask_epoch)
    rows = Masker(config, CASED).mask(block)[0]
    for baseline in BASELINES:
        require_equal(rows, baseline(config, CASED).mask(block))


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("batch", [1, 3, 256])
def test_the_baselines_mask_alike_in_batches_of_any_size(baseline, batch, monkeypatch):
    monkeypatch.setattr(baseline, "batch_sequences", batch)
    rng = np.random.default_rng(3)
    block = ragged_block(rng, rng.integers(1, 600, 40).tolist(), 0.8, CASED)
    config = MaskingConfig(seed=11)
    require_equal(Masker(config, CASED).mask(block)[0], baseline(config, CASED).mask(block))


def test_a_difference_is_noticed():
    rng = np.random.default_rng(3)
    config = MaskingConfig(seed=11)
    rows = Masker(config, CASED).mask(ragged_block(rng, [500, 300], 0.8, CASED))[0]
    labels = dataclasses.replace(rows.labels, values=rows.labels.values.copy())
    labels.values[-1] ^= 1
    with pytest.raises(AssertionError, match="labels"):
        require_equal(rows, dataclasses.replace(rows, labels=labels))


def test_the_baseline_refuses_what_it_does_not_know():
    for asked in ({"sampler": Sampler.REFERENCE}, {"replacement_unit": ReplacementUnit.TOKEN}):
        with pytest.raises(ValueError, match="knows"):
            NumpyMasker(MaskingConfig(seed=1, **asked), CASED)


@given(counter=st.tuples(*[st.integers(0, 2**32 - 1)] * 4), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=50, deadline=None)
def test_the_baselines_philox_is_the_published_one(counter, seed):
    words = philox(tuple(np.array([word], np.uint64) for word in counter), seed)
    assert words[0].tolist() == list(oracle.philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)))


@given(draw=st.integers(0, 2**32 - 1), bound=st.integers(1, 2**32 - 1))
def test_the_baselines_bounded_draws_are_lemires(draw, bound):
    value, accepted = bounded(np.array([draw], np.uint64), bound)
    assert value[0] == draw * bound >> 32
    assert accepted[0] == (draw * bound % 2**32 >= 2**32 % bound)


def test_rejected_draws_are_passed_over(monkeypatch):
    """With a rule that rejects every third word of a stream, the flat draws are the accepted ones in order."""

    def rejecting(draws, bound):
        return draws.astype(np.int64), draws % np.uint64(3) != 0

    block = ragged_block(np.random.default_rng(1), [30] * 5, 1.0, CASED)
    streams = numpy_masking.Streams(MaskingConfig(seed=5), block)
    monkeypatch.setattr(numpy_masking, "bounded", rejecting)
    counts = np.array([0, 7, 1, 40, 0])
    words = streams.draw(numpy_masking.RANDOM, slice(None), 0, 30)
    expected = [word for row, count in zip(words, counts, strict=True) for word in row[row % 3 != 0][:count].tolist()]
    assert streams.draw_below_flat(numpy_masking.RANDOM, counts, 10).tolist() == expected


@given(p=st.sampled_from([0.01, 0.2, 0.5, 0.99]), max_words=st.integers(1, 60))
def test_the_baselines_thresholds_are_those_of_the_law(p, max_words):
    fraction = Fraction(repr(p))
    assert thresholds(fraction, max_words).tolist() == oracle.length_thresholds(fraction, max_words)


def test_rejected_starts_are_no_trials(monkeypatch):
    """Under a rule that rejects every third word, one baseline filters the stream, and the other passes over them in its steps."""

    def rejecting(draws, bounds):
        return bounded(draws, bounds)[0], draws % np.uint64(3) != 0

    block = ragged_block(np.random.default_rng(4), [1, 20, 150, 600, 7], 0.8, CASED)
    config = MaskingConfig(seed=2, mask_ratio=0.5)
    unchanged = NumpyMasker(config, CASED).mask(block)
    for module in (numpy_masking, lockstep_masking):
        monkeypatch.setattr(module, "bounded", rejecting)
    rows = NumpyMasker(config, CASED).mask(block)
    assert not np.array_equal(rows.spans.starts, unchanged.spans.starts)
    require_equal(rows, LockstepMasker(config, CASED).mask(block))
