"""Bins: which rows share one, what is written, and that nothing is lost; against literal twins, by both backends."""

from __future__ import annotations

from dataclasses import astuple, fields, replace

import numpy as np
import pytest
import strategies as shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from small import VOCABULARY, config_of

from spanmask.batches import PackedBatch
from spanmask.config import MaskingConfig
from spanmask.errors import ConfigError
from spanmask.kernels import binning as kernels
from spanmask.loading.backend import Backend
from spanmask.loading.binning import Bins, Capacities, TargetSlots, assign
from spanmask.loading.packing import fill
from spanmask.loading.padding import pad
from spanmask.loading.targets import Edges, SboRule, count_targets
from spanmask.masking import mask
from spanmask.records import MaskedBlock

SAMPLERS = [pair for pair in shapes.SAMPLERS if pair[0] != "annotated"]
BACKENDS = [Backend.NUMPY, Backend.COMPILED]
USE = SboRule(edges=Edges.USE)
ROOMY = Capacities(tokens=512, sequences=512)
MANY = TargetSlots(mlm=512, sbo=512)


# --- Which rows share a bin


def best_fit(lengths: list[int], capacities: Capacities) -> list[list[int]]:
    """The literal twin of the assignment, in plain lists."""
    bins: list[dict] = []
    for step, row in enumerate(sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))):
        fitting = [one for one in bins if one["left"] >= lengths[row] and len(one["rows"]) < capacities.sequences]
        if fitting:
            chosen = min(fitting, key=lambda one: (one["left"], -one["used"]))
        else:
            chosen = {"left": capacities.tokens, "rows": []}
            bins.append(chosen)
        chosen["rows"].append(row)
        chosen["used"] = step
        chosen["left"] -= lengths[row]
    return [sorted(one["rows"]) for one in sorted(bins, key=lambda one: one["rows"][0])]


@st.composite
def lengths_and_capacities(draw) -> tuple[list[int], Capacities]:
    tokens = draw(st.integers(8, 40))
    lengths = draw(st.lists(st.integers(1, tokens), max_size=60))
    lengths += [tokens // 2 + 1] * draw(st.sampled_from([0, 0, 40]))
    return lengths, Capacities(tokens=tokens, sequences=draw(st.sampled_from([1, 2, 3, 100])))


@settings(deadline=None)
@given(case=lengths_and_capacities())
def test_rows_go_where_the_literal_best_fit_puts_them(case: tuple[list[int], Capacities]) -> None:
    lengths, capacities = case
    bins = assign(np.array(lengths, np.int64), capacities)
    assert [bins[i].tolist() for i in range(len(bins))] == best_fit(lengths, capacities)


@settings(deadline=None)
@given(case=lengths_and_capacities())
def test_every_row_is_in_exactly_one_bin_and_no_bin_over_a_capacity(case: tuple[list[int], Capacities]) -> None:
    lengths, capacities = case
    bins = assign(np.array(lengths, np.int64), capacities)
    assert sorted(bins.members.tolist()) == list(range(len(lengths)))
    for i in range(len(bins)):
        members = bins[i].tolist()
        assert 1 <= len(members) <= capacities.sequences
        assert sum(lengths[row] for row in members) <= capacities.tokens


@settings(deadline=None, max_examples=25)
@given(case=lengths_and_capacities())
def test_interpreted_kernels_assign_alike(case: tuple[list[int], Capacities]) -> None:
    """As they run where numba is missing."""
    lengths, capacities = case
    tokens = np.array(lengths, np.int64)
    bins = assign(tokens, capacities)
    order, bin_of, openers, members = (np.zeros(len(lengths), np.int64) for _ in range(4))
    plain = {name: getattr(kernels, name).py_func for name in ("sort_descending", "best_fit", "list_members")}
    plain["sort_descending"](tokens, capacities.tokens, order)
    count = plain["best_fit"](tokens, kernels.Rooms(*astuple(capacities)), order, bin_of, openers)
    offsets = np.zeros(count + 1, np.int64)
    plain["list_members"](bin_of, openers, offsets, members)
    assert offsets.tolist() == bins.offsets.tolist()
    assert members.tolist() == bins.members.tolist()


def test_a_row_longer_than_a_bin_is_named_with_what_it_needs() -> None:
    message = "{} has 30 tokens, a bin holds 20: raise the capacity tokens to 30 or more"
    capacities = Capacities(tokens=20, sequences=4)
    with pytest.raises(ConfigError, match=message.format("the one of 1")):
        assign(np.array([10, 30]), capacities, name="the one of {}".format)
    with pytest.raises(ConfigError, match=message.format("row 1")):
        assign(np.array([10, 30]), capacities)


@pytest.mark.parametrize("tokens", [0, -1, -(1 << 40), -(1 << 63)])
def test_a_row_without_tokens_never_reaches_a_kernel(tokens: int) -> None:
    with pytest.raises(ConfigError, match=f"row 1 has {tokens} tokens: give rows of 1 or more"):
        assign(np.array([5, tokens, 3]), Capacities(tokens=8, sequences=4))


def test_bins_are_in_the_order_of_their_longest_rows() -> None:
    bins = assign(np.array([10, 30, 90, 70]), Capacities(tokens=100, sequences=4))
    assert [bins[i].tolist() for i in range(len(bins))] == [[0, 2], [1, 3]]


def test_no_rows_make_no_bins() -> None:
    assert len(assign(np.array([], np.int64), ROOMY)) == 0


@pytest.mark.parametrize("name", ["tokens", "sequences"])
def test_a_capacity_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is -1: give"):
        replace(ROOMY, **{name: -1})


def test_slices_of_bins_are_bins() -> None:
    bins = Bins.of([np.array([3, 1]), np.array([], np.int64), np.array([2]), np.array([0])])
    assert len(bins) == 4
    assert [part.tolist() for part in (bins[0], bins[1], bins[3])] == [[3, 1], [], [0]]
    some = bins.slice(1, 3)
    assert (some.offsets.tolist(), some.members.tolist()) == ([0, 0, 1], [2])
    assert len(bins.slice(3, 9)) == 1
    assert len(bins.slice(7, 9)) == 0
    with pytest.raises(IndexError, match="bin 4 of 4"):
        bins[4]


# --- What is written


def block_of(segments: list[shapes.Segment], masking, *, wide: bool = False) -> MaskedBlock:
    offsets = np.cumsum([0, *(len(segment.tokens) for segment in segments)])
    tokens = np.array([token for segment in segments for token in segment.tokens], np.int64)
    unigram = None if masking.unigram is None else np.array(masking.unigram, np.int64)
    block = mask(tokens, offsets, config_of(masking), VOCABULARY, unigram=unigram)
    if not wide:
        return block
    ids, labels = (replace(ids, values=ids.values.astype(np.uint32)) for ids in (block.input_ids, block.labels))
    return replace(block, input_ids=ids, labels=labels)


def packed(block: MaskedBlock, bins, backend: Backend, **options) -> PackedBatch:
    rows, datasets = 100 + np.arange(len(block)), np.arange(len(block)) % 2
    defaults = {"bins_wanted": len(bins), "capacities": ROOMY, "slots": MANY, "rule": USE, "pad_id": shapes.PAD_ID}
    return fill(block, rows, datasets, bins, **{**defaults, **options}, backend=backend)


def literal(
    block: MaskedBlock,
    bins: list[list[int]],
    wanted: int,
    capacities: Capacities,
    slots: TargetSlots,
    rule: SboRule | None,
) -> dict:
    """What a batch must hold, as lists."""
    out: dict = {item.name: [] for item in fields(PackedBatch) if item.name not in PAIRS}
    starts, mlm, sbo = [], [], []
    for number in range(wanted):
        ids, index, positions, rows = [], [], [], []
        for order, row in enumerate(bins[number] if number < len(bins) else [], 1):
            shift = number * capacities.tokens + len(ids)
            tokens, originals = block.input_ids[row].tolist(), iter(block.labels[row].tolist())
            for start, end in np.transpose(block.spans[row]).tolist():
                for place in range(start, end):
                    label = next(originals)
                    mlm.append((shift + place, label))
                    at_edge = start == 1 or end == len(tokens) - 1
                    if rule and place - start < rule.max_span_offset and not (rule.edges == "drop" and at_edge):
                        sbo.append((shift + start - 1, shift + end, place - start, label))
            starts.append(shift)
            ids += tokens
            index += [order] * len(tokens)
            positions += range(len(tokens))
            rows.append(row)
        left = capacities.tokens - len(ids)
        if left:
            starts.append(number * capacities.tokens + len(ids))
        out["input_ids"].append(ids + [0] * left)
        out["sequence_index"].append(index + [0] * left)
        out["positions"].append(positions + list(range(left)))
        out["sequences"].append(len(rows))
        out["rows"].append([100 + row for row in rows] + [-1] * (capacities.sequences - len(rows)))
        out["datasets"].append([row % 2 for row in rows] + [-1] * (capacities.sequences - len(rows)))
    mlm += [(0, -100)] * (slots.mlm - len(mlm))
    out["mlm_positions"] = [position for position, _ in mlm]
    out["mlm_labels"] = [label for _, label in mlm]
    out["sbo"] = sbo + [(0, 0, 0, -100)] * (slots.sbo - len(sbo))
    bounds = wanted * (capacities.sequences + 1) + 1
    out["cu_seqlens"] = starts + [wanted * capacities.tokens] * (bounds - len(starts))
    return out


#: What datasets of pairs have beside the rest.
PAIRS = ("token_types", "nsp_positions", "nsp_labels")


def as_lists(batch: PackedBatch) -> dict:
    assert all(getattr(batch, name) is None for name in PAIRS)
    names = [item.name for item in fields(PackedBatch) if item.name not in ("sbo", *PAIRS)]
    columns = [getattr(batch.sbo, name) for name in ("left", "right", "offsets", "labels")]
    sbo = list(zip(*(column.tolist() for column in columns), strict=True))
    return {**{name: getattr(batch, name).tolist() for name in names}, "sbo": sbo}


@st.composite
def packed_cases(draw) -> tuple[MaskedBlock, list[list[int]], int, Capacities, TargetSlots, SboRule | None]:
    """Rows, bins that hold some of them in any order, at times empty, and capacities and slots that just do, or more."""
    segments = draw(st.lists(shapes.segments(), max_size=6))
    block = block_of(segments, draw(shapes.maskings(samplers=SAMPLERS)), wide=draw(st.booleans()))
    some = st.builds(SboRule, edges=st.sampled_from(Edges), max_span_offset=st.sampled_from([1, 2, 20]))
    rule = draw(st.none() | some)
    order = draw(st.permutations(range(len(segments))))
    bins: list[list[int]] = [[] for _ in range(draw(st.integers(0, 4)))]
    for row in order if bins else []:
        bins[draw(st.integers(0, len(bins) - 1))].append(row)
    spare = draw(st.sampled_from([0, 3, 40]))
    tokens = block.input_ids.lengths
    capacities = Capacities(
        tokens=max([1, *(int(tokens[rows].sum()) for rows in bins)]) + spare,
        sequences=max([1, *(len(rows) for rows in bins)]) + spare,
    )
    inside = sorted(row for rows in bins for row in rows)
    mlm, sbo = (int(counts[inside].sum()) for counts in targets_of(block, rule))
    slots = TargetSlots(mlm=mlm + spare, sbo=sbo + spare)
    return block, bins, len(bins) + draw(st.integers(0, 2)), capacities, slots, rule


def targets_of(block: MaskedBlock, rule: SboRule | None) -> tuple[np.ndarray, np.ndarray]:
    return block.labels.lengths, count_targets(block, rule).sbo


def as_arrays(bins: list[list[int]]) -> list[np.ndarray]:
    return [np.array(rows, np.int64) for rows in bins]


@settings(deadline=None)
@given(case=packed_cases())
def test_both_backends_equal_the_literal_bins_which_bounds_cut(case) -> None:
    block, bins, wanted, capacities, slots, rule = case
    expected = literal(block, bins, wanted, capacities, slots, rule)
    for backend in BACKENDS:
        for given_as in (as_arrays(bins), Bins.of(as_arrays(bins))):
            options = {"bins_wanted": wanted, "capacities": capacities, "slots": slots, "rule": rule}
            batch = packed(block, given_as, backend, **options)
            assert as_lists(batch) == expected
        wide = {"rows", "datasets", "sbo", *PAIRS}
        narrow = [getattr(batch, item.name) for item in fields(PackedBatch) if item.name not in wide]
        targets = (batch.sbo.left, batch.sbo.right, batch.sbo.offsets, batch.sbo.labels)
        assert {column.dtype for column in (*narrow, *targets)} == {np.dtype(np.int32)}
        assert {batch.rows.dtype, batch.datasets.dtype} == {np.dtype(np.int64)}
    assert_bounds(batch, wanted, capacities)


def assert_bounds(batch: PackedBatch, wanted: int, capacities: Capacities) -> None:
    """Assert that bounds cut the slots where the sequence index changes."""
    bounds = batch.cu_seqlens.tolist()
    slots = wanted * capacities.tokens
    assert len(bounds) == wanted * (capacities.sequences + 1) + 1
    assert bounds == sorted(bounds)
    assert (bounds[0], bounds[-1]) == (0, slots)
    index = batch.sequence_index.reshape(-1).tolist()
    changes = [i for i in range(slots) if i % capacities.tokens == 0 or index[i] != index[i - 1]]
    assert [bound for bound in bounds if bound < slots] == changes
    assert all(batch.positions.reshape(-1)[i] == 0 for i in changes)


@settings(deadline=None)
@given(segments=st.lists(shapes.segments(), min_size=1, max_size=8), masking=shapes.maskings(samplers=SAMPLERS))
def test_bins_unpacked_are_the_padded_batch(segments, masking) -> None:
    """Sample for sample: tokens, labels, and the targets of both objectives."""
    block = block_of(segments, masking)
    bins = assign(block.input_ids.lengths, ROOMY)
    one = packed(block, bins, Backend.COMPILED)
    other = pad(
        block,
        100 + np.arange(len(block)),
        np.zeros(len(block), np.int64),
        rows_wanted=len(block),
        width=None,
        pad_id=shapes.PAD_ID,
        cls_id=shapes.CLS_ID,
        sep_id=shapes.SEP_ID,
        rule=USE,
    )
    assert other.sbo is not None
    seen = set()
    for number, place in zip(*np.nonzero(one.rows >= 0), strict=True):
        row = int(one.rows[number, place]) - 100
        seen.add(row)
        inside = np.flatnonzero(one.sequence_index[number] == place + 1)
        size = len(inside)
        assert inside.tolist() == list(range(inside[0], inside[0] + size))
        assert other.attention_mask[row].sum() == size
        assert one.input_ids[number, inside].tolist() == other.input_ids[row, :size].tolist()
        assert one.positions[number, inside].tolist() == list(range(size))
        first = number * ROOMY.tokens + inside[0]
        end = first + size
        labels = np.full(size, -100)
        mine = (one.mlm_positions >= first) & (one.mlm_positions < end) & (one.mlm_labels >= 0)
        labels[one.mlm_positions[mine] - first] = one.mlm_labels[mine]
        assert labels.tolist() == other.labels[row, :size].tolist()
        mine = (one.sbo.left >= first) & (one.sbo.left < end) & (one.sbo.labels >= 0)
        used = other.sbo.labels[row] >= 0
        for name, shift in (("left", first), ("right", first), ("offsets", 0), ("labels", 0)):
            found = getattr(one.sbo, name)[mine] - shift
            assert found.tolist() == getattr(other.sbo, name)[row][used].tolist()
    assert seen == set(range(len(block)))
    assert int((one.mlm_labels >= 0).sum()) == len(block.labels.values)


def plain(lengths: list[int]) -> MaskedBlock:
    """Rows of one-piece words, that many tokens each without the special ones."""
    return mask(np.full(sum(lengths), 20), np.cumsum([0, *lengths]), MaskingConfig(seed=5), VOCABULARY)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "amount"), [("tokens", 33), ("sequences", 2)])
def test_a_bin_over_a_capacity_is_refused_not_written(backend: Backend, name: str, amount: int) -> None:
    block = plain([9, 9, 20])
    bins = as_arrays([[0], [2, 1]])
    enough = Capacities(tokens=33, sequences=2)
    assert packed(block, bins, backend, capacities=enough).sequences.tolist() == [1, 2]
    with pytest.raises(ConfigError, match=f"bin 1 takes {amount} of {name}, its capacity is {amount - 1}"):
        packed(block, bins, backend, capacities=replace(enough, **{name: amount - 1}))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["mlm", "sbo"])
def test_more_targets_than_slots_are_refused_not_written(backend: Backend, name: str) -> None:
    block = plain([9, 9, 20])
    bins = as_arrays([[0], [2, 1]])
    enough = TargetSlots(mlm=7, sbo=7)
    assert (packed(block, bins, backend, slots=enough).mlm_labels >= 0).all()
    message = f"the bins hold 7 {name.upper()} targets, the batch has 6 slots for them: give 7 or more"
    with pytest.raises(ConfigError, match=message):
        packed(block, bins, backend, slots=replace(enough, **{name: 6}))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("row", [-1, 2])
def test_a_bin_that_names_a_row_the_block_lacks_is_refused(backend: Backend, row: int) -> None:
    with pytest.raises(ConfigError, match=r"bins name rows .*, the block has 2: number them from 0"):
        packed(plain([9, 9]), as_arrays([[0], [1, row]]), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_bins_than_wanted_are_refused(backend: Backend) -> None:
    with pytest.raises(ConfigError, match="2 bins do not fit a batch of 1"):
        packed(plain([9, 9]), as_arrays([[0], [1]]), backend, bins_wanted=1)


def test_rows_must_each_be_named() -> None:
    short = np.zeros(1, np.int64)
    with pytest.raises(ConfigError, match="1 rows and 1 datasets are named for a block of 2"):
        fill(plain([9, 9]), short, short, [], bins_wanted=1, capacities=ROOMY, slots=MANY, pad_id=0, rule=None)
