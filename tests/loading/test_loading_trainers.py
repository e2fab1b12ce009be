"""The doors in the trainers that people have: a plain loop, DataLoader, StatefulDataLoader, Hugging Face's Trainer, Lightning, torchrun."""

from __future__ import annotations

import gc
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading.conftest import Make
from torch.utils.data import DataLoader

from spanmask import ShardSet, processes
from spanmask.errors import ConfigError, SpanmaskError, StorageError
from spanmask.loading import Collator, ShardDataset, ShardLoader
from spanmask.loading.torch_dataset.loader import _end

STEPS = 50


@pytest.fixture(scope="module")
def shards(dataset: Make) -> ShardSet:
    return dataset(max_tokens=64, shard_bytes=32 << 10)


def tiny(dtype: torch.dtype = torch.float32) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers belongs to the extra bench")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=28_996,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return transformers.BertForMaskedLM(config).to(dtype)


def falls(losses: list[float]) -> bool:
    return float(np.mean(losses[-10:])) < float(np.mean(losses[:5])) - 0.5


# --- Map-style


def test_a_dataset_under_torchs_data_loader_gives_the_rows_as_dense_labels(shards: ShardSet) -> None:
    rows = ShardDataset(shards)
    assert len(rows) == len(shards)
    loader = DataLoader(rows, batch_size=16, collate_fn=Collator(rows), sampler=list(range(100, 132)))
    for start, batch in zip((100, 116), loader, strict=True):
        for place in range(16):
            row = shards[start + place]
            length = len(row.input_ids)
            assert batch["input_ids"][place, :length].tolist() == row.input_ids.tolist()
            assert batch["attention_mask"][place].tolist() == [1] * length + [0] * (batch["labels"].shape[1] - length)
            restored = torch.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])[place, :length]
            assert restored.tolist() == row.original().tolist()
            masked = [p for a, b in zip(row.span_starts, row.span_ends, strict=True) for p in range(a, b)]
            assert (batch["labels"][place] != -100).nonzero().ravel().tolist() == masked


def test_rows_by_number_are_those_of_the_reader(shards: ShardSet) -> None:
    rows = ShardDataset(shards)
    for index in (0, 5, len(rows) - 1, -1):
        found, wanted = rows[index], shards[index]
        assert np.array_equal(found.original(), wanted.original())
        assert (found.document_id, found.segment) == (wanted.document_id, wanted.segment)
    with pytest.raises(IndexError, match=f"of {len(rows)}"):
        rows[len(rows)]


def test_the_collator_gives_boundaries_on_request(shards: ShardSet) -> None:
    rows = ShardDataset(shards)
    batch = Collator(rows, boundaries=True)([rows[3], rows[4]])
    for place, row in enumerate((shards[3], shards[4])):
        wanted = []
        labels = iter(row.labels.tolist())
        for start, end in zip(row.span_starts.tolist(), row.span_ends.tolist(), strict=True):
            wanted += [(start - 1, end, position - start, next(labels)) for position in range(start, end)]
        there = batch["sbo_labels"][place] != -100
        names = ("sbo_left", "sbo_right", "sbo_offsets", "sbo_labels")
        found = list(zip(*(batch[name][place][there].tolist() for name in names), strict=True))
        assert found == wanted


def test_fresh_masks_change_with_the_epoch(shards: ShardSet) -> None:
    rows = ShardDataset(shards, masks="fresh")
    first = rows[7]
    assert np.array_equal(first.input_ids, shards[7].input_ids)
    rows.set_epoch(1)
    assert not np.array_equal(rows[7].labels, first.labels)
    assert np.array_equal(rows[7].original(), first.original())


# --- Iterable


@pytest.mark.slow
def test_a_plain_loop_learns(shards: ShardSet) -> None:
    model = tiny()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    loader = ShardLoader(shards, batch_size=16, layout="bucketed")
    for batch in itertools.islice(loader, STEPS):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert falls(losses)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loader_under_torchs_data_loader_gives_its_own_batches(shards: ShardSet, workers: int) -> None:
    own = ShardLoader(shards, batch_size=32, layout="packed")
    other = DataLoader(ShardLoader(shards, batch_size=32, layout="packed"), batch_size=None, num_workers=workers)
    for one, two in zip(own, other, strict=True):
        assert all(one[name].equal(two[name]) for name in one)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_data_loader_resumes_it(shards: ShardSet, workers: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata belongs to the extra test")

    def make() -> Any:
        loader = ShardLoader(shards, batch_size=8, layout="packed", details=True, window=64)
        return stateful.StatefulDataLoader(loader, batch_size=None, num_workers=workers)

    whole = [batch["rows"] for batch in make()]
    for steps in (1, 5, 8):
        first = make()
        taken = [batch["rows"] for batch in itertools.islice(first, steps)]
        again = make()
        again.load_state_dict(first.state_dict())
        taken += [batch["rows"] for batch in again]
        assert len(taken) == len(whole)
        assert all(one.equal(two) for one, two in zip(taken, whole, strict=True))


def test_padded_and_packed_give_the_same_logits(shards: ShardSet) -> None:
    """Attention within equal sequence indices, positions restarted: in float64 a bin's sequences are as if alone."""
    model = tiny(torch.float64).eval()
    packed = next(iter(ShardLoader(shards, batch_size=4, layout="packed", width=128)))
    index = packed["sequence_index"]
    allowed = (index[:, :, None] == index[:, None, :])[:, None]
    bias = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill(~allowed, torch.finfo(torch.float64).min)
    with torch.no_grad():
        together = model(
            input_ids=packed["input_ids"].long(), attention_mask=bias, position_ids=packed["positions"].long()
        ).logits
    collate = Collator(shards)
    rows = ShardDataset(shards)
    compared = 0
    for bin in range(len(index)):
        for number in range(int(packed["sequences"][bin])):
            batch = collate([rows[int(packed["rows"][bin, number])]])
            length = int(batch["attention_mask"].sum())
            with torch.no_grad():
                alone = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[0, :length]
            torch.testing.assert_close(together[bin, index[bin] == number + 1], alone, rtol=0, atol=1e-10)
            compared += 1
    assert compared > 4


def test_wrong_options_are_refused_by_name(shards: ShardSet) -> None:
    for options, message in (
        ({"layouts": "packed"}, "did you mean 'layout'"),
        ({"layout": "pcked"}, "give one of padded, bucketed, packed"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"rank": 1}, "rank and world go together"),
        ({"rank": 2, "world": 2}, "give 0 to world - 1"),
        ({"workers": -1}, "workers is -1"),
    ):
        with pytest.raises(ConfigError, match=message):
            ShardLoader(shards, **{"batch_size": 4, **options})  # type: ignore[arg-type]


def test_an_error_in_the_thread_ahead_is_raised_where_batches_are_taken(shards: ShardSet, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(shards.root, tmp_path / "copy")
    (tmp_path / "copy" / shards.split.shards[-1].path).unlink()
    loader = ShardLoader(tmp_path / "copy", batch_size=16, prefetch=2, order="none")
    with pytest.raises(Exception, match="missing"):
        list(loader)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("taken", [1, 2, 3, 4, 5, 6])
def test_a_killed_worker_is_an_error_and_leaves_nothing_behind(shards: ShardSet, taken: int) -> None:
    """Torch meets it in several ways, by the moment: as a signal, as a connection that was reset, as an end of file."""
    code = f"""
import os, signal, sys
from itertools import islice
from spanmask import SpanmaskError
from spanmask.loading import ShardLoader
loader = ShardLoader({str(shards.root)!r}, batch_size=1, workers=2)
batches = iter(loader)
for _ in islice(batches, {taken}):
    pass
children = open(f"/proc/self/task/{{os.getpid()}}/children").read().split()
for child in children:
    os.kill(int(child), signal.SIGKILL)
    open(f"/dev/shm/torch_{{child}}_1_1", "w").close()  # as if killed over memory that has a name yet
try:
    for _ in batches:
        pass
except SpanmaskError as error:
    print("told:", "a worker process of the loader died" in str(error), "go on from state_dict()" in str(error))
"""
    before = set(os.listdir("/dev/shm"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "told: True True" in done.stdout, done.stderr
    left = set(os.listdir("/dev/shm")) - before
    # Tests beside this one use shared memory as well; theirs goes, what a killed worker left would stay.
    until = time.monotonic() + 60
    while left & set(os.listdir("/dev/shm")) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left & set(os.listdir("/dev/shm"))


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("taken", [1, 3])
def test_a_stopped_worker_is_named_and_the_loader_goes_on_from_its_state(
    shards: ShardSet, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOOK", 0.05)
    monkeypatch.setattr(processes, "PATIENCE", 0.3)
    options: Any = {"batch_size": 4, "seed": 3}
    whole = list(ShardLoader(shards, **options))
    loader = ShardLoader(shards, **options, workers=2)
    batches = iter(loader)
    seen = list(islice(batches, taken))
    workers = active_children()
    for worker in workers:
        os.kill(worker.pid or 0, signal.SIGSTOP)
    told = r"worker process \d+ of the loader was stopped and not continued for 60 s: go on from state_dict\(\)"
    with pytest.raises(SpanmaskError, match=told):
        seen.extend(batches)
    assert not set(workers) & set(active_children())
    again = ShardLoader(shards, **options, workers=1)
    again.load_state_dict(loader.state_dict())
    seen.extend(again)
    assert len(seen) == len(whole)
    assert all(torch.equal(one[name], other[name]) for one, other in zip(seen, whole, strict=True) for name in one)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_workers_that_are_ended_are_known_to_have_ended(number: int) -> None:
    def tell(*_: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    workers = {get_context("fork").Process(target=time.sleep, args=(60,), daemon=True) for _ in range(number)}
    for worker in workers:
        worker.start()
    before = signal.signal(signal.SIGCHLD, tell)
    try:
        _end(workers)
        assert signal.getsignal(signal.SIGCHLD) is tell
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert {worker.exitcode for worker in workers} == {-signal.SIGKILL}
    assert not workers & set(active_children())


@pytest.mark.faults
@pytest.mark.parametrize(("limit", "workers"), [(12, 1), (22, 2), (31, 2), (39, 4)])
def test_workers_for_which_there_are_too_few_descriptors_are_refused(
    shards: ShardSet, limit: int, workers: int
) -> None:
    loader = ShardLoader(shards, batch_size=4, workers=workers)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        with pytest.raises(
            StorageError, match=rf"need {24 + 4 * workers} file descriptors, .* may have {limit}: raise the"
        ):
            next(iter(loader))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not active_children()


@pytest.mark.faults
def test_a_stopped_worker_of_a_loader_that_is_done_with_keeps_nobody_waiting(shards: ShardSet) -> None:
    batches = iter(ShardLoader(shards, batch_size=4, workers=1))
    next(batches)
    workers = active_children()
    os.kill(workers[0].pid or 0, signal.SIGSTOP)
    until = time.monotonic() + 10
    while not processes.is_stopped(workers[0].pid or 0) and time.monotonic() < until:
        time.sleep(0.01)
    del batches
    gc.collect()
    assert not set(workers) & set(active_children())


# --- Trainers


@pytest.mark.slow
def test_hugging_faces_trainer_learns_from_the_shards(shards: ShardSet, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate", reason="accelerate belongs to the extra test")
    rows = ShardDataset(shards)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=STEPS,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(model=tiny(), args=arguments, train_dataset=rows, data_collator=Collator(rows))
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == STEPS
    assert falls(losses)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_learns_from_the_shards(shards: ShardSet, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="lightning is not in the extra test: pip install lightning")
    losses = []

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny()

        def training_step(self, batch: Any, _: int) -> Any:
            loss = self.model(**batch).loss
            losses.append(loss.item())
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=3e-3)

    trainer = lightning.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Module(), ShardLoader(shards, batch_size=16))
    assert len(losses) == STEPS
    assert falls(losses)


_RANK = """
import json, sys
import torch.distributed as dist
from spanmask.loading import ShardLoader
dist.init_process_group("gloo")
loader = ShardLoader(sys.argv[1], batch_size=24, layout=sys.argv[3], details=True, masks="fresh", window=128)
epochs = [[batch["rows"].tolist() for batch in loader] for _ in range(2)]
with open(f"{sys.argv[2]}/rank-{dist.get_rank()}.json", "w") as file:
    json.dump(epochs, file)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_two_torchrun_processes_see_disjoint_complete_epochs(shards: ShardSet, tmp_path: Path, layout: str) -> None:
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [f"--master-port={port}", str(script), str(shards.root), str(tmp_path), layout]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    for epoch in range(2):
        assert len(ranks[0][epoch]) == len(ranks[1][epoch])
        seen = [{int(row) for batch in rank[epoch] for row in np.ravel(batch) if row >= 0} for rank in ranks]
        assert not seen[0] & seen[1]
        assert seen[0] | seen[1] == set(range(len(shards)))
    assert ranks[0][0] != ranks[0][1]
