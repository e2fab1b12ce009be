"""Replay the masking of stored rows, and hold what was drawn against the law it should follow.

Replay shows that disk and kernels agree; the gates show that the kernels follow the law. Each gate rejects a sound dataset with
probability 10⁻⁶ as its chi-square law has it (for the 80/10/10 split, up to 2·10⁻⁵ on small counts).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import as_stored, columns_of, extra_tokens
from spanmask.config import SHORTFALL_LIMIT, PreshardConfig, ReplacementUnit, Sampler, Scheme
from spanmask.errors import ConfigError
from spanmask.kernels.rows import count_coverage
from spanmask.masking import Draws, Masker, length_law, segments_of
from spanmask.pair_replay import PairReplay
from spanmask.pairing import without_other
from spanmask.records import MaskedBlock, Offsets, SequenceBlock
from spanmask.shard.invariants import Rows, span_is_mixed
from spanmask.shard.manifest import Manifest, require_current
from spanmask.shard.reader import OnRows, ShardSet, open_shards
from spanmask.shard.schema import BATCH_ROWS
from spanmask.statistics import ChiSquare, RowStatistics, chi_square, merge_counts

#: Probability that a gate rejects a sound dataset.
FALSE_ALARM = 1e-6
#: Words from the front, and from the back, whose coverage is told apart.
COVERAGE_WORDS = 24
#: Bins between the first and the last place, for the starts tried first.
START_BINS = 18
#: Seeds, beside the dataset's own, whose masks estimate the coverage to expect.
EXPECTATION_SEEDS = 3
_SHOWN_DIFFERENCES = 10
_REPLACEMENT_LAW = (0.8, 0.1, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One thing that must hold. p_value: probability of at least this under the law; None where the gate is exact."""

    name: str
    passed: bool
    detail: str
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A stored row that its replay does not give."""

    row: int
    document_id: int
    segment: int
    columns: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What rows and their replay show, summed over blocks.

    sampling: counts of draws. starts_seen, starts_expected: (START_BINS + 2,). coverage: for first and last words (K, 2), as
    `count_coverage` writes them; expected_coverage: the same under other seeds. mixed_spans: spans that are partly [MASK]. pairs: where
    rows are pairs of segments.
    """

    statistics: RowStatistics = field(default_factory=RowStatistics)
    sampling: dict[str, Any] = field(default_factory=dict)
    starts_seen: Offsets = field(default_factory=lambda: np.zeros(START_BINS + 2, np.int64))
    starts_expected: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(START_BINS + 2))
    coverage: Offsets = field(default_factory=lambda: np.zeros((2, COVERAGE_WORDS, 2), np.int64))
    expected_coverage: Offsets = field(default_factory=lambda: np.zeros((2, COVERAGE_WORDS, 2), np.int64))
    mixed_spans: int = 0
    pairs: PairReplay | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The result of `audit`; `to_json` gives all of it. word_rule: how often each line of the word rule acted in the whole dataset."""

    split: str
    config: PreshardConfig
    word_rule: dict[str, int]
    rows: int
    rows_in_split: int
    differing_rows: int
    differences: tuple[Difference, ...]
    gates: tuple[Gate, ...]
    evidence: Evidence

    @property
    def ok(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)

    def to_json(self) -> dict[str, Any]:
        """Return the audit as plain JSON values."""
        evidence, counts = self.evidence, self.evidence.statistics.to_json()
        return {
            "ok": self.ok,
            "split": self.split,
            "rows": self.rows,
            "rows_in_split": self.rows_in_split,
            "config": self.config.to_json(),
            "differing_rows": self.differing_rows,
            "differences": [asdict(difference) for difference in self.differences],
            "gates": [asdict(gate) for gate in self.gates],
            "mask_rate": float(counts["masked_tokens"] / max(counts["tokens"], 1)),
            "span_lengths": {
                "law": expected_lengths(self.config),
                "drawn": evidence.sampling["lengths"],
                "realised": counts["histograms"]["span_words"],
            },
            "first_starts": {
                "observed": evidence.starts_seen.tolist(),
                "expected": evidence.starts_expected.tolist(),
            },
            "coverage": {
                "first_words": _rates(evidence.coverage[0]),
                "last_words": _rates(evidence.coverage[1]),
                "expected_first_words": _rates(evidence.expected_coverage[0]),
                "expected_last_words": _rates(evidence.expected_coverage[1]),
            },
            "word_rule": self.word_rule,
            "sampling": evidence.sampling,
            "statistics": counts,
        }


def _rates(counts: Offsets) -> list[float | None]:
    return [masked / rows if rows else None for rows, masked in counts.tolist()]


def expected_lengths(config: PreshardConfig) -> list[float]:
    """Return the law of span lengths in words, P(1), P(2), …; empty for schemes that draw none."""
    masking = config.masking
    if masking.scheme is not Scheme.SPAN:
        return []
    return [float(p) for p in length_law(masking.geometric_fraction, masking.max_words)]


def audit(
    folder: str | os.PathLike[str],
    split: str = "train",
    *,
    sample: int | None = None,
    on_progress: OnRows | None = None,
) -> Audit:
    """Replay the masking of a split's rows and judge what was drawn.

    Parameters
    ----------
    folder
        A finished dataset, or its URL.
    split
        Which split.
    sample
        About how many rows to look at, in record batches spread evenly; all by default.
    on_progress
        Called with the rows looked at, and all to look at, after each record batch.

    Raises
    ------
    ConfigError
        There is no such folder or split, or the sample is not positive.
    MismatchError
        It is of an earlier format, or another version of the masking rules wrote it.
    ShardError
        A shard or the manifest is damaged.
    """
    if sample is not None and sample < 1:
        raise ConfigError(f"sample is {sample}: give 1 or more rows")
    shards = open_shards(folder, split)
    manifest = shards.manifest
    require_current(manifest, folder, "audit")
    masker, others = _maskers(manifest)
    evidence, differences, differing, rows = Evidence(), list[Difference](), 0, 0
    evidence.pairs = PairReplay(seed=manifest.config.masking.seed) if manifest.paired else None
    chosen = _chosen_blocks(shards.block_count(), sample)
    whole, blocks = len(chosen) == shards.block_count(), _blocks_of_work(shards)
    for number, following in zip(chosen, [*chosen[1:], -1], strict=True):
        block = shards.blocks[number]
        stored = Rows(block=block, config=manifest.config, vocabulary=manifest.vocabulary)
        segments = segments_of(block, *stored.restored)
        replayed, draws = masker.mask(segments, store_words=manifest.words_stored)
        first_row = shards.first_row_of_block(number)
        found = list(_differences(block, replayed, first_row))
        # Some are shown, all are counted: a wrong seed differs in every row.
        differences += found[: _SHOWN_DIFFERENCES - len(differences)]
        differing += len(found)
        collect(evidence, stored, segments, draws, others)
        if evidence.pairs is not None and (following < 0 or blocks[number] != blocks[following]):
            evidence.pairs.close(whole=whole)
        rows += len(block)
        if on_progress is not None:
            on_progress(rows, max(rows, len(shards) * len(chosen) // shards.block_count()))
    told = f"{differing:,} of {rows:,} rows differ"
    gates = [
        Gate(name="replay equals disk", passed=differing == 0, detail=told),
        _budget_gate(evidence.statistics.to_json()),
        *judge(evidence, manifest.config),
    ]
    # A sample has no counts of its own in the manifest to be compared with.
    if rows == len(shards):
        gates.append(_manifest_gate(evidence, manifest.sampling[split]))
    return Audit(
        split=split,
        config=manifest.config,
        word_rule=manifest.word_rule,
        rows=rows,
        rows_in_split=len(shards),
        differing_rows=differing,
        differences=tuple(differences),
        gates=tuple(gates),
        evidence=evidence,
    )


def _maskers(manifest: Manifest) -> tuple[Masker, list[Masker]]:
    """Return what masks a dataset's rows again, and, for what to expect, the same under other seeds."""
    masking, vocabulary, counts = manifest.config.masking, manifest.vocabulary, manifest.unigram
    unigram = None if counts is None else np.array(counts, np.int64)
    seeds = [(masking.seed + k) % (1 << 64) for k in range(EXPECTATION_SEEDS + 1)]
    first, *others = (Masker(replace(masking, seed=seed), vocabulary, unigram) for seed in seeds)
    return first, others


def _blocks_of_work(shards: ShardSet) -> Offsets:
    """Return of which block of a task each record batch is, as numbers that ascend, (batches,)."""
    columns = shards.split.shards.columns
    changes = (np.diff(columns["task"].astype(np.int64)) != 0) | (np.diff(columns["block"].astype(np.int64)) != 0)
    numbers = np.concatenate(([0], np.cumsum(changes)))
    return np.repeat(numbers, np.diff(shards.block_offsets))


def _chosen_blocks(count: int, sample: int | None) -> list[int]:
    wanted = count if sample is None else min(-(-sample // BATCH_ROWS), count)
    return [k * count // wanted for k in range(wanted)]


def _differences(stored: MaskedBlock, replayed: MaskedBlock, first_row: int) -> Iterator[Difference]:
    """Yield the rows that differ, with the columns in which they do."""
    pairs = {name: (column, columns_of(replayed)[name]) for name, column in columns_of(stored).items()}
    if all(
        np.array_equal(one.offsets, other.offsets) and np.array_equal(one.values, other.values)
        for one, other in pairs.values()
    ):
        return
    for row in range(len(stored)):
        unlike = tuple(name for name, (one, other) in pairs.items() if not np.array_equal(one[row], other[row]))
        if unlike:
            identity = {"document_id": int(stored.document_ids[row]), "segment": int(stored.segments[row])}
            yield Difference(row=first_row + row, columns=unlike, **identity)


def collect(evidence: Evidence, rows: Rows, segments: SequenceBlock, draws: Draws, others: list[Masker]) -> None:
    """Add what a block's rows and draws show. others: maskers of other seeds, for the coverage to expect."""
    config = rows.config
    if evidence.pairs is not None:
        evidence.pairs.add(rows.block)
        told = without_other(rows.block, config.masking.seed)
        evidence.sampling = merge_counts(evidence.sampling, told)
    evidence.statistics.add(rows.block, rows.vocabulary, config.masking.mask_fraction)
    evidence.sampling = merge_counts(evidence.sampling, draws.to_json())
    places = _places(rows, config)
    if places is not None:
        _count_starts(evidence, draws.first_starts, places)
    if config.masking.replacement_unit is ReplacementUnit.SPAN:
        evidence.mixed_spans += int(span_is_mixed(rows).sum())
    count_coverage(as_stored(rows.block), rows.flags, *evidence.coverage)
    # The same text under other seeds: what coverage the law gives these very words, edges and long words included, has no formula.
    for other in others:
        masked, _ = other.mask(segments)
        count_coverage(as_stored(masked), rows.flags, *evidence.expected_coverage)


def _places(rows: Rows, config: PreshardConfig) -> Offsets | None:
    """Return (S,) how many places the first start was drawn from, where that is the same draw for every row."""
    masking = config.masking
    if masking.scheme is Scheme.ANNOTATED:
        return None
    if masking.scheme is Scheme.TOKEN or masking.sampler is Sampler.REFERENCE:
        return rows.lengths - 2 - extra_tokens(rows.block)
    inner = rows.flags.copy()
    offsets = rows.block.input_ids.offsets
    inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
    words: Offsets = np.add.reduceat(inner.astype(np.int64), offsets[:-1])
    return words - extra_tokens(rows.block)


def _count_starts(evidence: Evidence, first: Offsets, places: Offsets) -> None:
    """Count first starts by bin: the first place, the last, and equal shares of those between; rows of under three places are left out."""
    usable = (places >= START_BINS + 2) & (first >= 0)
    first, places = first[usable], places[usable]
    bins = np.where(
        first == 0,
        0,
        np.where(first >= places - 1, START_BINS + 1, 1 + (first - 1) * START_BINS // np.maximum(places - 2, 1)),
    )
    evidence.starts_seen += np.bincount(bins, minlength=START_BINS + 2)
    shares = 1 / places
    evidence.starts_expected[[0, -1]] += shares.sum()
    # The inner bins of a row are unequal by one place where their number does not divide: what each expects is counted, row by row.
    edges = -(-np.arange(START_BINS + 1)[:, None] * (places - 2) // START_BINS)
    evidence.starts_expected[1:-1] += (np.diff(edges, axis=0) * shares).sum(axis=1)


def judge(evidence: Evidence, config: PreshardConfig) -> list[Gate]:
    """Hold the evidence against the law of a configuration."""
    sampling, gates = evidence.sampling, []
    law = expected_lengths(config)
    if law and sampling:
        drawn = np.array(sampling["lengths"][1:], float)
        width = max(len(drawn), len(law))
        seen, wanted = np.zeros(width), np.zeros(width)
        seen[: len(drawn)], wanted[: len(law)] = drawn, np.array(law) * drawn.sum()
        gates.append(_law_gate("span lengths as drawn", chi_square(seen, wanted), f"{int(drawn.sum()):,} lengths"))
    if evidence.starts_seen.sum():
        test = chi_square(evidence.starts_seen, evidence.starts_expected)
        gates.append(_law_gate("first starts are uniform", test, f"{evidence.starts_seen.sum():,} sequences"))
    units = np.array([sampling["replacement_units"][name] for name in ("masked", "random", "kept")], float)
    if units.sum():
        test = chi_square(units, units.sum() * np.array(_REPLACEMENT_LAW))
        gates.append(_law_gate("replacement 80 / 10 / 10", test, f"{int(units.sum()):,} units"))
    if config.masking.replacement_unit is ReplacementUnit.SPAN:
        mixed = evidence.mixed_spans
        gates.append(
            Gate(name="a span is replaced as one", passed=mixed == 0, detail=f"{mixed:,} spans are partly [MASK]")
        )
    if evidence.pairs is not None:
        gates += _pair_gates(evidence.pairs)
    return gates


def _pair_gates(pairs: PairReplay) -> list[Gate]:
    """Hold pairs against their draws, and how often the second segment follows against one half."""
    told = f"{pairs.unlike:,} of {pairs.follow + pairs.other:,} pairs differ"
    if not pairs.compared:
        told += ", in whether B follows: which other segment B is, only all rows tell"
    drawn = np.array([pairs.follow - pairs.without_other, pairs.other], float)
    size = f"{pairs.other:,} of {int(drawn.sum()):,} second segments are from another document"
    if pairs.without_other:
        size += f" ({pairs.without_other:,} more were to be, where there was none)"
    test = chi_square(drawn, np.full(2, drawn.sum() / 2))
    return [
        Gate(name="pairs equal their draws", passed=pairs.unlike == 0, detail=told),
        _law_gate("half the pairs are of two documents", test, size),
    ]


def _law_gate(name: str, test: ChiSquare, size: str) -> Gate:
    if test.degrees == 0:
        return Gate(name=name, passed=True, detail=f"{size}: too few to test")
    detail = f"{size}, chi-square {test.statistic:.2f} with {test.degrees} degrees of freedom, p = {test.p_value:.3g}"
    return Gate(name=name, passed=test.p_value >= FALSE_ALARM, detail=detail, p_value=test.p_value)


def _budget_gate(counts: dict[str, Any]) -> Gate:
    share = counts["tokens_short_of_budget"] / max(counts["budget_tokens"], 1)
    rate = counts["masked_tokens"] / max(counts["tokens"], 1)
    told = f"{rate:.2%} of the tokens are masked, {share:.2%} of the budgets are left (at most {SHORTFALL_LIMIT:.0%})"
    return Gate(name="budgets are met", passed=share <= SHORTFALL_LIMIT, detail=told)


def _manifest_gate(evidence: Evidence, stated: dict[str, Any]) -> Gate:
    unlike = [name for name, value in stated.items() if evidence.sampling.get(name) != value]
    detail = "all counts agree" if not unlike else f"{', '.join(unlike)} differ"
    return Gate(name="draws equal the manifest's", passed=not unlike, detail=detail)
