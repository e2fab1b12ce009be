"""Audit passes what is sound, and each gate rejects the nearby wrong it is there for, planted in the code that draws.

A gate rejects sound draws with probability 10⁻⁶ in the limit of many counts; exactly, for the replacement gate, with less than
2·10⁻⁵ at any count and 2·10⁻⁶ from 1,000 on (`test_statistics.py`). Seeds are fixed, so what passes here passes always.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from planted import Wrong, build
from resealed import records_of, reseal

from spanmask import masking
from spanmask.auditing import FALSE_ALARM, Evidence, Gate, audit, collect, expected_lengths, judge
from spanmask.config import PreshardConfig, VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.kernels import replacement, spans
from spanmask.masking import Masker
from spanmask.presharding.run import preshard
from spanmask.records import SequenceBlock
from spanmask.shard.invariants import Rows
from spanmask.shard.manifest import read_manifest
from spanmask.shard.reader import open_shards
from spanmask.shard.schema import BATCH_ROWS
from spanmask.shard.verify import verify
from spanmask.shard.writer import write_shard
from spanmask.vocab import load_vocabulary

VOCABULARY = load_vocabulary(VocabularyConfig())
#: Tokens of a segment, and how many pieces words have: 17 % more than one.
SEGMENT = 510
PIECES_OF_WORDS = {1: 0.83, 2: 0.10, 3: 0.04, 4: 0.02, 5: 0.01}
#: Segments that give 10⁵ spans, and those that give over 10⁶.
FEW, MANY = 6000, 62_000


def segments_of(count: int) -> SequenceBlock:
    """Segments of 510 tokens of random words."""
    rng = np.random.default_rng(5)
    tokens = count * SEGMENT
    ends = np.cumsum(rng.choice(list(PIECES_OF_WORDS), tokens, p=list(PIECES_OF_WORDS.values())))
    flags = np.zeros(tokens, np.bool_)
    flags[ends[ends < tokens]] = True
    flags[::SEGMENT] = True
    ordinary = VOCABULARY.ordinary_ids
    starts_word = VOCABULARY.word_start_table[ordinary]
    ids = np.where(flags, rng.choice(ordinary[starts_word], tokens), rng.choice(ordinary[~starts_word], tokens))
    bases = np.arange(count) * SEGMENT
    return SequenceBlock(
        token_ids=ids.astype(np.uint16),
        word_starts=flags,
        starts=bases,
        ends=bases + SEGMENT,
        document_index=np.arange(count),
        document_ids=np.arange(count, dtype=np.uint64),
        segments=np.zeros(count, np.uint32),
        dropped={},
    )


@pytest.fixture(scope="module", params=[FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["1e5", "1e6"])
def segments(request: pytest.FixtureRequest) -> SequenceBlock:
    return segments_of(request.param)


def config_of(**options: Any) -> PreshardConfig:
    return PreshardConfig.of(**{"seed": 3, **options})


def judged(
    segments: SequenceBlock, *, drawn: PreshardConfig | None = None, law: PreshardConfig | None = None
) -> dict[str, Gate]:
    """Gates by name, for masks drawn under one configuration and judged under another."""
    law = law or config_of()
    block, draws = Masker((drawn or law).masking, VOCABULARY).mask(segments)
    evidence = Evidence()
    collect(evidence, Rows(block=block, config=law, vocabulary=VOCABULARY), segments, draws, [])
    return {gate.name: gate for gate in judge(evidence, law)}


def failed(gates: dict[str, Gate]) -> set[str]:
    return {name for name, gate in gates.items() if not gate.passed}


LENGTHS, STARTS = "span lengths as drawn", "first starts are uniform"
REPLACEMENT, AS_ONE = "replacement 80 / 10 / 10", "a span is replaced as one"


# --- The law holds


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {LENGTHS, STARTS, REPLACEMENT, AS_ONE}),
        ({"sampler": "reference", "random_ids": "uniform"}, {LENGTHS, STARTS, REPLACEMENT, AS_ONE}),
        ({"scheme": "word"}, {STARTS, REPLACEMENT}),
        ({"scheme": "token"}, {STARTS, REPLACEMENT}),
        ({"replacement_unit": "token"}, {LENGTHS, STARTS, REPLACEMENT}),
        ({"geometric_p": 0.5, "max_words": 3, "mask_ratio": 0.3}, {LENGTHS, STARTS, REPLACEMENT, AS_ONE}),
    ],
)
def test_the_gates_pass_what_is_sound(options, names, segments):
    gates = judged(segments, law=config_of(**options))
    assert set(gates) == names
    assert failed(gates) == set()
    assert all(gate.p_value is None or gate.p_value > 1e-3 for gate in gates.values()), (
        "fixed seeds; far from the limit"
    )


def test_as_many_spans_as_asked_for(segments):
    block, _ = Masker(config_of().masking, VOCABULARY).mask(segments)
    assert len(block.spans.starts) > (1_000_000 if len(segments) == MANY else 90_000)


# --- Planted wrongs: each is rejected by its own gate, and by no other


def clipped_law(p: Fraction, max_words: int) -> list[Fraction]:
    """P(min(ℓ, max_words)), ℓ geometric: all of the tail on the longest."""
    law = [p * (1 - p) ** k for k in range(max_words)]
    return [*law[:-1], 1 - sum(law[:-1])]


def test_lengths_clipped_instead_of_renormalised_are_rejected(segments, monkeypatch):
    monkeypatch.setattr(masking, "length_law", clipped_law)
    gates = judged(segments)
    assert failed(gates) == {LENGTHS}
    assert gates[LENGTHS].p_value < FALSE_ALARM


@pytest.mark.parametrize(
    "wrong",
    [
        {"geometric_p": 0.21},
        {"geometric_p": 0.19},
        {"max_words": 9},
        {"max_words": 11},
        {"geometric_p": 0.2, "max_words": 1},
    ],
)
def test_lengths_of_another_law_are_rejected(wrong, segments):
    assert failed(judged(segments, drawn=config_of(**wrong))) == {LENGTHS}


def test_one_length_beyond_the_longest_is_rejected():
    block = segments_of(300)
    law = config_of()
    rows, draws = Masker(law.masking, VOCABULARY).mask(block)
    evidence = Evidence()
    collect(evidence, Rows(block=rows, config=law, vocabulary=VOCABULARY), block, draws, [])
    evidence.sampling["lengths"].append(1)
    (gate,) = (gate for gate in judge(evidence, law) if gate.name == LENGTHS)
    assert gate.p_value == 0


_FIRST_START = "        first = draw_below(count - (wall < count), starts)\n        if tried < 0:"
_MASKED_BELOW = "np.uint64((1 << 32) * 8 // 10)"

OFF_BY_ONE = Wrong(
    module=spans,
    kernel="sample_paper",
    old=_FIRST_START,
    new=_FIRST_START.replace(
        "draw_below(count - (wall < count), starts)", "min(draw_below(count, starts) + 1, count - 1)"
    ),
)
NEVER_LAST = Wrong(
    module=spans,
    kernel="sample_paper",
    old=_FIRST_START,
    new=_FIRST_START.replace("count - (wall < count), starts", "count - 1, starts"),
)
SHARES = {
    share: Wrong(
        module=replacement,
        kernel="replace_rows",
        old=_MASKED_BELOW,
        new=_MASKED_BELOW.replace("8 // 10", f"{share} // 100"),
    )
    for share in (79, 81)
}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Wrong], None]:
    """Put a wrong kernel in the masker's reach."""
    return lambda wrong: monkeypatch.setattr(wrong.module, wrong.kernel, build(wrong))


WRONGS = {"off by one": OFF_BY_ONE, "never last": NEVER_LAST} | {f"{share}": wrong for share, wrong in SHARES.items()}


@pytest.mark.parametrize("wrong", WRONGS.values(), ids=WRONGS)
def test_every_wrong_has_its_place_in_the_source(wrong):
    assert callable(build(wrong))


@pytest.mark.parametrize(
    "wrong",
    # Compiling the others takes seconds; the slow tests that reject them do, too.
    [pytest.param(wrong, marks=() if name == "79" else pytest.mark.slow) for name, wrong in WRONGS.items()],
    ids=WRONGS,
)
def test_a_planted_wrong_draws_otherwise(wrong, plant):
    block, law = segments_of(300), config_of()
    sound, _ = Masker(law.masking, VOCABULARY).mask(block)
    plant(wrong)
    drawn, _ = Masker(law.masking, VOCABULARY).mask(block)
    assert not np.array_equal(drawn.input_ids, sound.input_ids)


@pytest.mark.slow
def test_starts_off_by_one_word_are_rejected(segments, plant):
    plant(OFF_BY_ONE)
    gates = judged(segments)
    assert failed(gates) == {STARTS}
    assert gates[STARTS].p_value < FALSE_ALARM


@pytest.mark.slow
def test_starts_that_never_reach_the_last_word_are_rejected(plant):
    """Seen from 10⁶ spans on: of 6,000 segments' first starts, the last word would have 16."""
    plant(NEVER_LAST)
    assert failed(judged(segments_of(MANY))) == {STARTS}


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
def test_another_share_of_masks_is_rejected(share, segments, plant):
    plant(SHARES[share])
    gates = judged(segments)
    assert failed(gates) == {REPLACEMENT}
    assert gates[REPLACEMENT].p_value < FALSE_ALARM


@pytest.mark.parametrize("unit", ["token", "word"])
def test_replacement_by_smaller_units_is_rejected(unit, segments):
    gates = judged(segments, drawn=config_of(replacement_unit=unit))
    assert failed(gates) == {AS_ONE}


# --- Audit of datasets


_PLAIN = "the cat sat on a mat and she was not in it when he came for his old dog by the river at night"
_RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"holdout": 0.2, "shard_bytes": 8192},
    "reference": {"sampler": "reference"},
    "word": {"scheme": "word"},
    "token": {"scheme": "token"},
    "annotated": {"scheme": "annotated", "spans_field": "spans", "format": "jsonl"},
    "stored": {"words_field": "words", "format": "jsonl"},
}


def pairs_of_words(text: str) -> list[int]:
    return [0, *[place + 1 for place, letter in enumerate(text) if letter == " "][1::2]]


def make(folder: Path, recipe: str, words: Callable[[str], list[int]] = pairs_of_words) -> Path:
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(_PLAIN.split(), rng.integers(20, 120))) for _ in range(150)]
    options = {"seed": 5, "max_tokens": 64, **_RECIPES[recipe]}
    if "format" in options:
        lines = [json.dumps({"text": text, "spans": [[0, 3], [10, 14]], "words": words(text)}) for text in texts]
    else:
        lines = [f"{text}\n" for text in texts]
    source = folder / "input.txt"
    source.write_text("\n".join(lines) + "\n")
    preshard(source, folder / "dataset", PreshardConfig.of(**options), jobs=1)
    return folder / "dataset"


@pytest.mark.parametrize("recipe", _RECIPES)
def test_audit_passes_a_sound_dataset(recipe, tmp_path):
    folder = make(tmp_path, recipe)
    for split in read_manifest(folder).splits:
        result = audit(folder, split)
        assert result.ok
        assert result.rows == result.rows_in_split == len(open_shards(folder, split))
        assert result.differences == ()
        assert {"replay equals disk", "budgets are met", "draws equal the manifest's"} <= {
            gate.name for gate in result.gates
        }
        told = json.loads(json.dumps(result.to_json(), allow_nan=False))
        assert told["ok"] is True
        assert told["statistics"] == read_manifest(folder).statistics[split]
        assert told["sampling"] == read_manifest(folder).sampling[split]
        assert told["word_rule"] == read_manifest(folder).conservation["word_rule"]
        assert [gate["name"] for gate in told["gates"]] == [gate.name for gate in result.gates]


def test_audit_finds_budgets_that_are_not_met(tmp_path):
    result = audit(make(tmp_path, "stored", lambda text: [0, 8, 15]))
    assert [gate.name for gate in result.gates if not gate.passed] == ["budgets are met"]
    counts = result.to_json()["statistics"]
    assert counts["tokens_short_of_budget"] > 0.5 * counts["budget_tokens"], "the third word is all the rest"


def put_rows(folder: Path, tables: list[pa.Table]) -> None:
    """Write the train shards anew and seal the manifest: every digest is right."""
    records = records_of(folder)
    written = [write_shard(folder, record.path, table) for record, table in zip(records, tables, strict=True)]
    reseal(folder, records={"train": written})


def move_last_span(row: dict[str, Any]) -> None:
    """Move a row's last span one token, which is one word, to the right; what it left is put back."""
    start, end = row["span_starts"].pop(), row["span_ends"].pop()
    labels = row["labels"][start - end :]
    shown = row["input_ids"][start:end]
    row["input_ids"][start:end] = labels
    row["labels"][start - end :] = row["input_ids"][start + 1 : end + 1]
    row["input_ids"][start + 1 : end + 1] = shown
    row["span_starts"].append(start + 1)
    row["span_ends"].append(end + 1)


def test_a_span_moved_on_disk_is_named_by_replay(tmp_path):
    folder = make(tmp_path, "paper")
    paths = [folder / record.path for record in read_manifest(folder).splits["train"].shards]
    tables = [pa.ipc.open_file(path).read_all() for path in paths]
    rows = tables[1].to_pylist()
    place = next(
        k for k, row in enumerate(rows) if row["span_ends"] and row["span_ends"][-1] < len(row["input_ids"]) - 1
    )
    move_last_span(rows[place])
    put_rows(folder, [tables[0], pa.Table.from_pylist(rows, schema=tables[1].schema), *tables[2:]])
    assert [finding for finding in verify(folder).findings if finding.path != "manifest.json"] == []
    result = audit(folder)
    assert not result.ok
    assert result.differing_rows == 1
    (difference,) = result.differences
    assert difference.row == len(tables[0]) + place
    assert (difference.document_id, difference.segment) == (rows[place]["document_id"], rows[place]["segment"])
    assert {"span_starts", "span_ends"} <= set(difference.columns)
    assert not next(gate for gate in result.gates if gate.name == "replay equals disk").passed


def test_a_replacement_changed_on_disk_is_named_by_replay(tmp_path):
    folder = make(tmp_path, "token")
    (path,) = (folder / record.path for record in read_manifest(folder).splits["train"].shards)
    table = pa.ipc.open_file(path).read_all()
    rows = table.to_pylist()
    place = rows[7]["span_starts"][0]
    rows[7]["input_ids"][place] = 1999 if rows[7]["input_ids"][place] != 1999 else 2000
    put_rows(folder, [pa.Table.from_pylist(rows, schema=table.schema)])
    result = audit(folder)
    assert [(difference.row, difference.columns) for difference in result.differences] == [(7, ("input_ids",))]


def test_differences_shown_are_ten_and_counted_are_all(tmp_path):
    folder = make(tmp_path, "paper")
    reseal(folder, lambda content: content["config"]["masking"].update(seed=content["config"]["masking"]["seed"] + 1))
    result = audit(folder)
    assert len(result.differences) == 10
    assert result.differing_rows > 50
    assert "config_fingerprint" in verify(folder).findings[0].message


def test_counts_of_draws_must_be_the_manifests(tmp_path):
    folder = make(tmp_path, "paper")

    def miscount(content: dict[str, Any]) -> None:
        content["sampling"]["train"]["lengths"][3] += 1

    reseal(folder, miscount)
    (gate,) = (gate for gate in audit(folder).gates if not gate.passed)
    assert gate.name == "draws equal the manifest's"
    assert "lengths" in gate.detail


def test_a_sample_is_taken_in_batches_spread_evenly(tmp_path):
    folder = make(tmp_path, "paper")
    shards = open_shards(folder)
    assert shards.block_count() > 3
    sampled = audit(folder, sample=BATCH_ROWS + 1)
    assert sampled.ok
    assert sampled.rows == len(shards.blocks[0]) + len(shards.blocks[shards.block_count() // 2])
    assert "draws equal the manifest's" not in {gate.name for gate in sampled.gates}
    assert audit(folder, sample=10**9).rows == len(shards)
    with pytest.raises(ConfigError, match="sample"):
        audit(folder, sample=0)


# --- What the reference sampler is known to do (spanbert.md §1.4, from a simulation of 1,500 segments of 510)


@pytest.fixture(scope="module")
def reference() -> tuple[SequenceBlock, Any]:
    block = segments_of(4000)
    config = config_of(sampler="reference", random_ids="uniform")
    return block, Masker(config.masking, VOCABULARY).mask(block)[0]


def masked_tokens(block: SequenceBlock, rows: Any) -> np.ndarray:
    """(S, 510) whether a token is masked."""
    owner = rows.spans.owners
    edges = np.zeros((len(rows), SEGMENT + 2), np.int8)
    np.add.at(edges, (owner, rows.spans.starts), 1)
    np.add.at(edges, (owner, rows.spans.ends), -1)
    return np.cumsum(edges, axis=1)[:, 1:-1] == 1


def test_the_reference_sampler_masks_exactly_the_budget_in_merged_spans(reference):
    _, rows = reference
    assert set(rows.labels.lengths) == {-(-15 * SEGMENT // 100)}
    same = np.ones(len(rows.spans.starts), np.bool_)
    same[rows.spans.offsets[:-1]] = False
    assert (rows.spans.starts[1:] > rows.spans.ends[:-1])[same[1:]].all()
    sizes = rows.spans.sizes
    assert 14.2 < len(sizes) / len(rows) < 14.8, "14.4"
    assert 5.2 < sizes.mean() < 5.5, "5.4"
    assert sizes.max() > 20, "34 in 1,500 segments"


def test_the_reference_sampler_cuts_a_word_at_most_once_a_row(reference):
    block, rows = reference
    owner = rows.spans.owners
    starts = np.column_stack([block.word_starts.reshape(-1, SEGMENT), np.ones(len(rows), np.bool_)])
    begun = starts[owner, rows.spans.starts - 1]
    assert begun.all(), "a span starts at a word"
    cut = ~starts[owner, rows.spans.ends - 1]
    assert np.bincount(owner[cut], minlength=len(rows)).max() == 1
    # 1.8 % in 21,600 spans of the source, standard error 0.09 %, and 58,000 of ours, 0.055 %: 4 of the joint one, false alarm 6e-5.
    assert cut.mean() == pytest.approx(0.018, abs=4 * 0.00106 + 0.0005)


def test_the_reference_sampler_favours_long_words(reference):
    """P(masked) for words of 1, 2 and 3 or more pieces is .132, .158, .203, as far as both simulations can tell.

    The source does not give its word lengths beyond “~17 % multi-piece”; ours give its spans a segment and their mean length too.
    False alarm: four standard errors of each, 6·10⁻⁵ a figure, for segments drawn anew.
    """
    block, rows = reference
    masked = masked_tokens(block, rows).ravel()
    starts = np.flatnonzero(block.word_starts)
    pieces = np.diff(np.append(starts, len(block.token_ids)))
    segment = starts // SEGMENT
    rates = []
    for known, chosen in ((0.132, pieces == 1), (0.158, pieces == 2), (0.203, pieces >= 3)):
        words = np.bincount(segment[chosen], minlength=len(rows))
        hits = np.bincount(segment[chosen], weights=masked[starts[chosen]], minlength=len(rows))
        rate = hits.sum() / words.sum()
        error = np.sqrt(((hits - rate * words) ** 2).sum()) / words.sum()
        joint = error * np.sqrt(1 + len(rows) / 1500)
        assert rate == pytest.approx(known, abs=4 * joint + 0.0005)
        rates.append((rate, error))
    for (less, one), (more, other) in pairwise(rates):
        assert more - less > 10 * (one**2 + other**2) ** 0.5


def test_the_law_audit_prints_is_the_configurations():
    law = expected_lengths(config_of())
    assert len(law) == 10
    assert sum(law) == pytest.approx(1)
    assert sum(k * p for k, p in enumerate(law, 1)) == pytest.approx(3.797, abs=5e-4)
    assert expected_lengths(config_of(scheme="word")) == []
