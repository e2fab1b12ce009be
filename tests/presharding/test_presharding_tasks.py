"""A run in pieces: whoever runs which task in which order, and how often, the bytes are those of a run in one piece."""

from __future__ import annotations

import json
import pickle
import random
import threading
from typing import Any

import pytest

from spanmask import ConfigError, MismatchError, StorageError
from spanmask.folders import sole_writer
from spanmask.presharding import plan, read_plan, run_unit, running, units
from spanmask.presharding import state as states
from spanmask.presharding.plan_file import plan_to_json


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PATIENCE", 0.2)


def test_tasks_in_any_order_and_a_run_that_ends_them_write_the_bytes_of_one_run(whole: Any) -> None:
    made = pickle.loads(pickle.dumps(plan(whole.inputs, whole.folder / "any", whole.config(**whole.options))))
    numbers = random.Random(5).sample(range(len(made.tasks)), len(made.tasks))
    assert len(numbers) > 5
    assert sum(task.streamed for task in made.tasks) == 1
    streamed = next(task.number for task in made.tasks if task.streamed)
    receipts = {number: run_unit(made, number) for number in [*numbers[:-2], numbers[0], streamed]}
    assert len(receipts[streamed].shards["train"]) > 2
    assert sum(receipt.disk_bytes for receipt in receipts.values()) <= sum(path.stat().st_size for path in whole.inputs)
    whole.run(whole.inputs, "any", **whole.options)
    assert whole.tree("any") == whole.wanted


def test_a_plan_that_is_read_again_is_the_plan(whole: Any) -> None:
    made = plan(whole.inputs, whole.folder / "again", whole.config(**whole.options))
    read, same = (
        read_plan(whole.folder / "again"),
        plan(whole.inputs, whole.folder / "again", whole.config(**whole.options)),
    )
    assert plan_to_json(read) == plan_to_json(same) == plan_to_json(made)
    assert read.files == made.files
    assert read.tasks == made.tasks
    assert run_unit(read, 0) == run_unit(made, 0)


def test_a_run_of_another_configuration_is_not_gone_on_with(whole: Any) -> None:
    made = plan(whole.inputs, whole.folder / "other", whole.config(**whole.options))
    run_unit(made, 1)
    with pytest.raises(MismatchError, match=r"an unfinished run of another configuration.*seed: 7 there, 8 here"):
        plan(whole.inputs, whole.folder / "other", whole.config(**whole.options, seed=8))
    other = plan(whole.inputs, whole.folder / "other", whole.config(**whole.options, seed=8), overwrite=True)
    assert other.config.masking.seed == 8


def test_where_nothing_is_under_way_nothing_is_run(whole: Any) -> None:
    made = plan(whole.inputs, whole.folder / "ended", whole.config(**whole.options))
    whole.run(whole.inputs, "ended", **whole.options)
    with pytest.raises(MismatchError, match="no run is under way"):
        run_unit(made, 0)
    with pytest.raises(ConfigError, match="no run is under way"):
        read_plan(whole.folder / "ended")
    with pytest.raises(MismatchError, match="this dataset is finished"):
        plan(whole.inputs, whole.folder / "ended", whole.config(**whole.options))
    assert whole.tree("ended") == whole.wanted


def test_what_cannot_be_run_in_pieces_is_refused(whole: Any) -> None:
    with pytest.raises(ConfigError, match="read by one process alone"):
        plan("-", whole.folder / "stdin", whole.config())
    made = plan(whole.inputs, whole.folder / "few", whole.config(**whole.options))
    for number in (-1, len(made.tasks)):
        with pytest.raises(ConfigError, match=f"task {number}: the plan has {len(made.tasks)} tasks"):
            run_unit(made, number)


def test_one_that_runs_alone_and_those_that_share_keep_each_other_out(whole: Any) -> None:
    made = plan(whole.inputs, whole.folder / "locked", whole.config(**whole.options))
    folder = whole.folder / "locked"
    with sole_writer(folder, folder / ".spanmask"), pytest.raises(MismatchError, match="another spanmask process"):
        run_unit(made, 0)
    with sole_writer(folder, folder / ".spanmask", shared=True):
        run_unit(made, 0)
        with pytest.raises(MismatchError, match="another spanmask process"):
            whole.run(whole.inputs, "locked", **whole.options)


def test_threads_that_each_read_the_plan_make_one_tokenizer_each(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a Dask worker do."""
    out = plan(lab.text(), lab.folder / "out", lab.config()).out
    tokenizer, made, turns = units.Tokenizer, list[int](), threading.Barrier(2)
    monkeypatch.setattr(units, "Tokenizer", lambda known: made.append(threading.get_ident()) or tokenizer(known))

    def run(numbers: range) -> None:
        read = read_plan(out)
        for number in numbers:
            turns.wait(10)
            run_unit(read, number)

    threads = [threading.Thread(target=run, args=(range(first, 6, 2),)) for first in (0, 1)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(made) == len(set(made)) == 2


def test_a_task_whose_input_changed_meanwhile_is_not_done(lab: Any) -> None:
    path = lab.text()
    made = plan(path, lab.folder / "out", lab.config())
    path.write_text(path.read_text().replace("a", "e"))
    with pytest.raises(StorageError, match="changed while it was read"):
        run_unit(made, 0)
    assert not any((lab.folder / "out" / ".spanmask" / "receipts").iterdir())


def test_a_task_that_looks_at_no_input_again_is_found(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: its rows are of a text that the plan does not know."""
    monkeypatch.setattr(running, "check_unchanged_since", lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_task_whose_input_changed_meanwhile_is_not_done(lab)


@pytest.mark.parametrize(
    "name", ["config", "vocabulary", "files", "tasks", "kept", "unigram", "versions", "exclusions"]
)
def test_a_damaged_plan_is_told(name: str, lab: Any) -> None:
    from spanmask.config import canonical_json, fingerprint

    plan(lab.text(), lab.folder / "out", lab.config())
    path = lab.folder / "out" / ".spanmask" / "plan.json"
    content = {**json.loads(path.read_bytes()), name: [5]}
    del content["digest"]
    path.write_bytes(canonical_json({**content, "digest": fingerprint(content)}))
    with pytest.raises(MismatchError):
        read_plan(lab.folder / "out")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(MismatchError, match="damaged"):
        read_plan(lab.folder / "out")
