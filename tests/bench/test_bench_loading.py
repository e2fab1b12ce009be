"""`spanmask bench load`: epochs and copies, the collators beside them, cold reads, resuming, and what is made of the seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from spanmask_bench import cold_reads, epochs, loading, loading_table, resuming
from spanmask_bench.baselines import hugging_face_collators
from spanmask_bench.baselines.hugging_face_collators import CollatorRun, PlainRows
from spanmask_bench.masking import require_equal
from spanmask_cli.bench import command

import spanmask
from spanmask.blocks import join
from spanmask.loading.order import Order, OrderKind, Source
from spanmask.records import MaskedBlock


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of the shipped stories in rows of 32 tokens: several thousand rows in several shards."""
    home = tmp_path_factory.mktemp("loading")
    described = loading.prepare(paths=[], folder=str(home), megabytes=0.3)
    assert described["rows"] == len(spanmask.open(home / "shards"))
    config = spanmask.PreshardConfig.of(seed=3, max_tokens=32, shard_bytes=20_000)
    spanmask.preshard(home / "text.jsonl", home / "short", config, jobs=1)
    return home / "short"


@pytest.fixture(scope="module")
def shards(folder):
    opened = spanmask.open(folder)
    assert len(opened) > 2000
    assert len(opened.split.shards) > 8
    return opened


def _stored(shards) -> list[MaskedBlock]:
    return list(shards.blocks)


# --- Epochs, copies, masking


def test_an_epoch_is_held_with_all_it_has(shards):
    held = epochs.Held(epochs.Epochs(shards, batch_size=100))
    rows = sum(len(block) for block in _stored(shards))
    tokens = sum(len(block.input_ids.values) for block in _stored(shards))
    assert (held.count, held.tokens) == (-(-rows // 100), tokens)
    assert held.bytes == held.count * 100 * 32 * 8 * 3, "three int64 arrays a batch"


def test_fill_is_of_the_bins_that_hold_something(shards):
    packed = epochs.Epochs(shards, batch_size=7, layout="packed", width=64)
    fill, held = epochs.fill_of(packed), epochs.Held(packed)
    bins = labels = slots = 0
    for arrays in held.batches:
        tokens_of, labels_of = arrays[1], arrays[5]
        bins += int(tokens_of.any(axis=1).sum())
        labels += int((labels_of != -100).sum())
        slots += labels_of.size
    assert fill["tokens"] == pytest.approx(held.tokens / (bins * 64))
    assert fill["mlm"] == pytest.approx(labels / slots)
    assert 0.5 < fill["tokens"] <= 1
    assert fill["second"] == sum(arrays[5].size > packed.stream.slots[0].mlm for arrays in held.batches) / held.count


@pytest.mark.parametrize("cached", [False, True])
def test_a_copy_has_the_bytes_of_the_epoch(shards, monkeypatch, cached):
    monkeypatch.setattr(epochs, "COPY_BYTES", 1 << 18)
    held = epochs.Held(epochs.Epochs(shards, batch_size=100))
    assert 1 < len(held.batches) < held.count, "some batches are copied more than once"
    copied = []
    monkeypatch.setattr(epochs.np, "copyto", lambda target, source: copied.append((target, source)))
    held.copies(cached=cached)()
    assert sum(target.nbytes for target, _ in copied) == held.bytes
    assert len({id(target.base) for target, _ in copied}) == 3, "one batch's arrays are written over and over"
    assert len({source.ctypes.data for _, source in copied}) == 3 * (1 if cached else len(held.batches))


def test_each_call_is_another_epoch(shards):
    one = epochs.Epochs(shards, batch_size=512)
    one.run()
    with pytest.warns(UserWarning, match="stored masks"):
        one.run()


def test_reading_is_of_every_row_once_in_another_order_each_time(shards, monkeypatch):
    reading, seen = epochs.Reading(shards), []
    read = reading._reader.read
    monkeypatch.setattr(reading._reader, "read", lambda *what: seen.append(what[1]) or read(*what))
    for _ in range(2):
        reading.run()
    orders = np.concatenate(seen).reshape(2, -1)
    assert np.array_equal(np.sort(orders), [np.arange(len(shards))] * 2)
    assert not np.array_equal(*orders)


def test_masking_is_of_the_segments_that_the_rows_were_made_from(shards):
    masking = epochs.Masking(shards)
    rows = [masking._masker.mask(segments)[0] for segments in masking._segments]
    stored = _stored(shards)
    assert sum(map(len, rows)) == sum(map(len, stored)) > 0
    require_equal(join(rows), join(stored))


def test_a_contestant_is_metered_with_its_children():
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    metered = epochs.Metered(lambda: subprocess.run([sys.executable, "-c", busy], check=True))
    metered()
    idle = epochs.Metered(lambda: None)
    idle()
    assert 0.3 <= metered.last(1)[0] < 3
    assert idle.last(1)[0] < 0.1


# --- Collators


def test_plain_rows_are_padded_and_have_a_blank_before_each_word():
    """[CLS] un ##seen cat [SEP], [CLS] dog [SEP]."""
    rows = PlainRows.of(
        np.array([101, 5, 6, 7, 102, 101, 8, 102], np.uint16),
        np.array([0, 5, 8]),
        np.array([True, True, False, True, True, True, True, True]),
        9,
    )
    assert rows.ids.tolist() == [[101, 5, 6, 7, 102], [101, 8, 102, 9, 9]]
    assert rows.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert rows.special.tolist() == [[1, 0, 0, 0, 1], [1, 0, 1, 1, 1]]
    starts, ends = rows.offsets[0, :, 0], rows.offsets[0, :, 1]
    assert (starts[1:] == ends[:-1]).tolist() == [False, True, False, False]
    assert rows.tokens == 8


def _collators(shards, whole_words, features="lists"):
    for name in hugging_face_collators.PACKAGES:
        pytest.importorskip(name, reason="belongs to the extra bench")
    rows = epochs.plain_rows(shards, 50)
    vocabulary = shards.manifest.vocabulary
    return CollatorRun(vocabulary, rows, whole_words=whole_words, features=features, batch=8), rows


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("features", hugging_face_collators.FEATURES)
@pytest.mark.parametrize("whole_words", [True, False])
def test_the_collators_mask_the_rows_of_the_dataset(shards, whole_words, features):
    run, rows = _collators(shards, whole_words, features)
    wanted = [shards[number].original().tolist() for number in range(50)]
    assert [row[: sum(mask)].tolist() for row, mask in zip(rows.ids, rows.attention_mask, strict=True)] == wanted
    hugging_face_collators.require_originals(run, rows)
    batches = list(run.batches())
    assert [len(batch["labels"]) for batch in batches] == [8] * 6 + [2]
    masked = np.concatenate([batch["labels"] != -100 for batch in batches])
    assert 0.1 < masked[rows.special == 0].mean() < 0.25
    assert not masked[rows.special == 1].any()
    goes_on = ~shards.manifest.vocabulary.word_start_table[rows.ids] & (rows.special == 0)
    goes_on[:, 1] = False
    same = (masked[:, 1:] == masked[:, :-1])[goes_on[:, 1:]]
    assert len(same) > 50
    assert same.all() == whole_words


@pytest.mark.filterwarnings("default")
def test_a_collator_that_loses_a_token_is_noticed(shards):
    run, rows = _collators(shards, False)
    rows.ids[3, 2] += 1
    with pytest.raises(AssertionError, match="rows that it was given"):
        hugging_face_collators.require_originals(run, rows)


@pytest.mark.filterwarnings("default")
def test_workers_make_all_batches(shards):
    run, rows = _collators(shards, False)
    restored = [np.where(b["labels"] == -100, b["input_ids"], b["labels"]) for b in run.batches_of_workers()]
    assert np.array_equal(np.concatenate(restored), rows.ids)


@pytest.mark.filterwarnings("default")
def test_the_fastest_features_and_batch_are_chosen(shards, monkeypatch):
    _collators(shards, False)
    rows = epochs.plain_rows(shards, 3)
    taken = iter([2, 2, 9, 9, 9, 9, 5, 1, 9, 9, 9, 9])
    monkeypatch.setattr(hugging_face_collators, "seconds", lambda _: float(next(taken)))
    run, tried = hugging_face_collators.fastest(shards.manifest.vocabulary, rows, whole_words=False)
    assert run.described == {"batch": hugging_face_collators.BATCHES[0], "features": "arrays"}
    assert max(tried.values()) == rows.tokens


# --- Cold reads and resuming


def test_groups_share_no_block(shards):
    bounds = cold_reads.group_bounds(shards)
    assert bounds[0] == 0
    assert bounds[-1] == len(shards)
    order = Order([Source.of(shards)], seed=0, kind=OrderKind.BLOCK, shuffle_blocks=cold_reads.GROUP_BLOCKS)
    rows = order(0, np.arange(len(shards)))[1]
    starts = [shards.first_row_of_block(number) for number in range(shards.block_count())]
    groups = [set((np.searchsorted(starts, rows[a:b], side="right") - 1).tolist()) for a, b in pairwise(bounds)]
    assert len(groups) > 1
    assert sum(map(len, groups)) == shards.block_count()
    assert set().union(*groups) == set(range(shards.block_count()))


@pytest.mark.slow
def test_the_bytes_that_the_system_counts_are_reported(folder, monkeypatch):
    """The first count that is as large as the shards; none where pages stayed in memory."""
    monkeypatch.setattr(cold_reads, "drop", lambda _: None)
    useful = sum(record.bytes for record in spanmask.open(folder).split.shards)
    for own, everyone, wanted in (
        (useful, 5 * useful, "process"),
        (0, useful, "system"),
        (None, None, None),
        (useful // 2, None, None),
    ):
        counts = [{"process": own and n * own, "system": everyone and n * everyone} for n in range(4)]
        readings = iter([one for before, after in ((0, 1), (1, 2), (2, 3)) for one in (counts[before], counts[after])])
        monkeypatch.setattr(cold_reads, "disk_bytes", lambda readings=readings: next(readings))
        found = cold_reads.run(folder=str(folder), rounds=2)
        assert found["counted_by"] == wanted
        assert found["useful_bytes"] == useful
        assert found["disk_bytes"] == (None if wanted is None else [useful, useful])


@pytest.mark.slow
def test_what_is_dropped_is_read_from_the_disk_again(folder, tmp_path):
    def read(*, drop):
        """Return the bytes that the process's reads of a new copy took from the disk."""
        out = tmp_path / drop.__name__
        shutil.copytree(folder, out)
        drop(out)
        before = cold_reads.disk_bytes()["process"]
        size = sum(len(path.read_bytes()) for path in out.rglob("*.arrow"))
        return cold_reads.disk_bytes()["process"] - before, size

    def keep(_):
        pass

    def forget(out):
        for path in out.rglob("*.arrow"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    if cold_reads.disk_bytes()["process"] is None or not read(drop=forget)[0]:
        pytest.skip("this system does not count what a process reads, or keeps this folder in memory")
    assert read(drop=keep)[0] == 0, "what was just written is in memory"
    from_disk, size = read(drop=cold_reads.drop)
    assert from_disk >= size > 0


def test_a_hundred_million_rows_are_resumed(shards):
    pytest.importorskip("torch", reason="belongs to the extra train")
    found = resuming.measure(shards)
    assert found["rows"] == 100_000_000
    assert set(found["load_state_dict"]) == {"padded", "packed"}
    assert set(found["next_order"]) == {"global", "block"}
    assert all(spread["median"] > 0 for one in ("load_state_dict", "next_order") for spread in found[one].values())


# --- Figures


def _result(disk=(30, 60)):
    """A result of two rounds in which everything takes a second for a million tokens, but for what is named."""
    names = [
        *loading.STREAMS,
        "shards: copy",
        "reading",
        "masking",
        *(f"{name}: {copy}" for name in (loading.PADDED, loading.PACKED) for copy in ("copy", "copy, cached")),
    ]
    names += [f"{peer}{workers}" for peer in loading.PEERS for workers in ("", ", 2 workers")]
    seconds = dict.fromkeys(names, 1.0) | {"fresh packed": 3.0, "stored packed": 2.0, "stored padded: copy": 0.5}
    seconds["reading"] = 0.5
    taken = {
        name: {"warm_up_seconds": 0.0, "seconds": [one, one], "processor_seconds": [one, one], "tokens": 1_000_000}
        for name, one in seconds.items()
    }
    taken["collator, whole words"]["processor_seconds"] = [30.0, 20.0]
    taken["collator, whole words"]["tokens"] = 500_000
    found = {
        "input": {"names": ["a.txt"], "bytes": 1, "documents": 1, "rows": 2, "row_tokens": 3, "shard_bytes": 4},
        "peers": {"rows": 1, "tokens": 2, "collator, tokens": {"features": "lists", "batch": 8}},
        "batches": {loading.PADDED: {"count": 1, "bytes": 5}},
        "fill": {"8": {"tokens": 0.9, "mlm": 0.96, "sbo": 0.5, "second": 0.02}, "64": {"tokens": 1.0, "second": 0.0}},
        "cold": {"useful_bytes": 20, "disk_bytes": disk and list(disk), "counted_by": disk and "process"},
        "resuming": {"load_state_dict": {"padded": {"median": 1.0}, "packed": {"median": 20.0}}, "next_order": {}},
        **loading._figures(taken),
    }
    return {**found, **loading._verdicts(found)}


def test_figures_are_ratios_of_seconds_and_of_processor_time_for_as_many_tokens():
    result = _result()
    ratios = {name: ratio["median"] for name, ratio in result["ratios"].items()}
    assert ratios["stored padded / copy"] == 2.0
    assert ratios["stored padded, beyond reading / copy"] == 1.0
    assert ratios["stored packed, beyond reading / copy"] == 1.5
    assert ratios["stored packed / copy, cached"] == 2.0
    assert (ratios["stored packed: roofline / copy"], ratios["stored packed / roofline"]) == (2.0, 1.0)
    assert (ratios["stored padded: roofline / copy"], ratios["stored padded / roofline"]) == (4.0, 0.5)
    assert ratios["fresh packed, beyond stored / masking"] == 1.0
    assert ratios["processor: collator, whole words / stored padded"] == 50.0
    assert ratios["disk bytes / useful bytes"] == 2.25
    assert result["contestants"]["collator, whole words"]["processor_ms_per_million"]["max"] == 60_000.0
    assert {name: goal["reached"] for name, goal in result["goals"].items()} == {
        "processor: collator, whole words / stored padded": True,
        "processor: collator, whole words / fresh packed": False,
        "fill of 8 bins: tokens": False,
        "fill of 8 bins: mlm": True,
        "fill of 8 bins: sbo": False,
        "fill of 64 bins: tokens": True,
    }
    assert {name: limit["kept"] for name, limit in result["limits"].items()} == {
        "stored padded / copy": False,
        "stored packed / copy": True,
        "fresh packed, beyond stored / masking": True,
        "fill of 8 bins: second": False,
        "fill of 64 bins: second": True,
        "disk bytes / useful bytes": False,
        "load_state_dict, ms": False,
    }


def _table(result):
    versions = {"versions": {"python": "3"}, "machine": {"processor": "P", "cores": 2, "system": "S"}}
    return loading_table.table({**result, **versions, "commit": None, "dirty": None, "parameters": {"rounds": 2}})


def test_a_table_says_what_was_asked_for():
    table = _table(_result())
    assert "| stored packed | 0.5 | 0.5 | 0.5 | 2,000 |" in table
    assert "- stored padded / copy: 2 (2 to 2); asked for: less than 1.5, not kept." in table
    assert (
        "- processor: collator, whole words / stored padded: 50 (40 to 60); asked for: at least 50, reached." in table
    )
    assert "- fill of 8 bins: tokens: 90.0 % of the slots; asked for: at least 0.97, not reached." in table
    assert (
        "- fill of 8 bins: second: 2.0 % of the batches have the second slots; asked for: less than 0.01, not kept."
        in table
    )
    assert "- disk bytes / useful bytes: 2.25 (1.5 to 3)" in table


def test_bytes_that_nothing_counted_are_not_made_up():
    result = _result(disk=None)
    assert "disk bytes / useful bytes" not in {*result["ratios"], *result["limits"]}
    assert "- disk bytes / useful bytes: not measured;" in _table(result)


@pytest.mark.slow
def test_a_run_answers_everything(tmp_path):
    for name in hugging_face_collators.PACKAGES:
        pytest.importorskip(name, reason="belongs to the extra bench")
    arguments = ["load", "--rounds", "2", "--megabytes", "0.2", "--peer-sequences", "40"]
    done = CliRunner().invoke(command, [*arguments, "--json", str(tmp_path / "out.json")], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert done.stdout == loading_table.table(result)
    assert set(result["goals"]) == set(loading.GOALS)
    assert set(result["limits"]) >= set(loading.LIMITS) - {"disk bytes / useful bytes"}
    for found in result["contestants"].values():
        assert len(found["seconds"]) == len(found["processor_seconds"]) == 2
        assert found["processor_ms_per_million"]["median"] > 0
    assert set(result["peers"]) == {"rows", "tokens", *loading.PEERS}
    assert result["peers"]["rows"] == 40
    assert set(hugging_face_collators.PACKAGES) <= set(result["versions"])
