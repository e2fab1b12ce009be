"""A run that a signal, a clock or a number ends keeps all it did, and goes on as if it had not been ended."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from train.conftest import NO_DROPOUT, config_of, flags_of, invoke, lines_of, losses_of, weights_of, write_toml

from spanmask.errors import ConfigError, MismatchError, ShardError
from spanmask.loading import prefetching
from spanmask.shard import reader
from spanmask.train import Progress, Watch, feeding, load_run, train

#: What has no checkpoint but its last, and lines of metrics that a stop falls between.
SPARSE = {"save_every": 0, "log_every": 5}


class StopAfter(Watch):
    """Asks for the end once a step was made."""

    def __init__(self, step: int) -> None:
        super().__init__(self._look)
        self._last, self._over = step, False

    def _look(self, progress: Progress) -> None:
        self._over = progress.step >= self._last - 1

    def stopping(self) -> bool:
        return self._over


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    train(shards, run, config_of(**SPARSE))
    return run


def test_a_run_that_was_stopped_anywhere_is_bit_for_bit_the_one_that_went_through(
    shards: Path, tmp_path: Path, whole: Path
) -> None:
    run, config = tmp_path / "run", config_of(**SPARSE)
    stops: Sequence[dict[str, Any]] = ({"watch": StopAfter(3)}, {"stop_at": 5}, {"stop_at": 7}, {"watch": StopAfter(9)})
    for number, (stop, step) in enumerate(zip(stops, (3, 5, 7, 9), strict=True)):
        finished = train(shards, run, config, resume=number > 0, **stop)
        assert (finished.stopped, finished.step, finished.checkpoint) == (
            True,
            step,
            run / "checkpoints" / f"step-{step:08}",
        )
    finished = train(shards, run, config, resume=True, stop_at=100)
    assert (finished.stopped, finished.step) == (False, 12)
    assert losses_of(run) == losses_of(whole)
    assert weights_of(run, 12) == weights_of(whole, 12)


class StopAt(StopAfter):
    """Asks for the end as long as a step is the last one made."""

    def stopping(self) -> bool:
        return self._made == self._last

    def _look(self, progress: Progress) -> None:
        self._made = progress.step

    def ready(self) -> None:
        self._made = 0 if self._last == 0 else -1


@pytest.mark.slow
@pytest.mark.parametrize("options", [SPARSE, {"save_every": 1, "log_every": 1}], ids=["sparse", "dense"])
def test_a_run_whose_data_does_not_come_is_stopped_with_a_checkpoint_of_the_last_step(
    shards: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    """As where an object store stumbles: what reads ahead is in its retries, which take minutes."""
    groups, ended, left = feeding._groups, threading.Event(), [0]

    def stalling(*given: Any) -> Iterator[Any]:
        yield from itertools.islice(groups(*given), left[0])
        ended.wait(60)

    monkeypatch.setattr(feeding, "_groups", stalling)
    monkeypatch.setattr(prefetching, "_PATIENCE", 0.1)
    run, before = tmp_path / "run", 0
    try:
        for step in (0, 3, 5, 9):
            left[0], began = step - before, time.monotonic()
            finished = train(shards, run, config_of(**options), resume=step > 0, watch=StopAt(step))
            assert time.monotonic() - began < 20
            assert (finished.stopped, finished.step) == (True, step)
            assert finished.checkpoint == (run / "checkpoints" / f"step-{step:08}" if step else None)
            before = step
    finally:
        ended.set()
    monkeypatch.setattr(feeding, "_groups", groups)
    assert train(shards, run, config_of(**options), resume=True).step == 12
    assert weights_of(run, 12) == weights_of(whole, 12)
    lines = [line["step"] for line in lines_of(run)]
    assert lines == sorted(set(lines))
    if options is SPARSE:
        assert losses_of(run) == losses_of(whole)


def test_a_run_is_not_stopped_where_it_already_is_past(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (4, 2):
        finished = train(shards, run, config_of(**SPARSE), resume=step == 2, stop_at=step)
        assert (finished.stopped, finished.step, checkpoints(run)) == (True, 4, [4])


def test_what_asks_for_the_end_at_the_last_step_finds_it_done(shards: Path, tmp_path: Path) -> None:
    finished = train(shards, tmp_path / "run", config_of(steps=3), watch=StopAfter(3))
    assert (finished.stopped, finished.step) == (False, 3)


def test_an_evaluation_that_is_given_up_is_made_when_the_run_goes_on(shards: Path, tmp_path: Path) -> None:
    class InEvaluation(Watch):
        """Asks for the end after the step, so that the evaluation meets it."""

        def metrics(self, line: dict[str, Any]) -> None:
            self._over = line["step"] == 4

        def stopping(self) -> bool:
            return getattr(self, "_over", False)

    config = config_of(steps=8, eval_every=4, batch_size=16)
    train(shards, tmp_path / "whole", config)
    run = tmp_path / "run"
    finished = train(shards, run, config, watch=InEvaluation())
    assert (finished.stopped, finished.step, finished.evaluation) == (True, 4, None)
    train(shards, run, config, resume=True)
    assert lines_of(run, "evaluation.jsonl") == lines_of(tmp_path / "whole", "evaluation.jsonl")
    assert [line["step"] for line in lines_of(run, "evaluation.jsonl")] == [4, 8]


def test_every_so_many_steps_a_checkpoint_stays_beside_the_latest(shards: Path, tmp_path: Path) -> None:
    options = {"save_every": 2, "keep_last": 2, "keep_every": 4}
    train(shards, tmp_path / "run", config_of(steps=15, **options))
    assert checkpoints(tmp_path / "run") == [4, 8, 12, 14, 15]


def test_checkpoints_come_by_the_clock_too(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute passes in each step."""
    clock = iter(range(0, 10**9, 6))
    monkeypatch.setattr("spanmask.train.loop.time.perf_counter", lambda: next(clock))
    options = {"save_every": 0, "save_minutes": 1, "keep_last": 100, "log_every": 100}
    train(shards, tmp_path / "run", config_of(steps=9, **options))
    found = checkpoints(tmp_path / "run")
    assert found[-1] == 9
    assert 2 < len(found) < 9


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["model.safetensors", "optimizer.safetensors", "state.json", "missing"])
def test_of_a_damaged_checkpoint_the_one_before_that_is_whole_is_offered_by_name(
    shards: Path, tmp_path: Path, damage: str
) -> None:
    run = tmp_path / "run"
    train(shards, run, config_of(steps=4, save_every=1, keep_last=9))
    (run / "checkpoints" / "step-00000003" / "model.safetensors").write_bytes(b"")
    place = run / "checkpoints" / "step-00000004"
    if damage == "missing":
        (place / "model.safetensors").unlink()
    else:
        data = bytearray((place / damage).read_bytes())
        data[len(data) // 2] ^= 1
        (place / damage).write_bytes(data)
    told = r"step-00000002 before it is whole: remove step-00000004 to go on from there$"
    with pytest.raises((ConfigError, MismatchError), match=told):
        train(shards, run, config_of(steps=6), resume=True)
    if damage != "optimizer.safetensors":
        with pytest.raises((ConfigError, MismatchError), match=told):
            load_run(run)
    shutil.rmtree(place)
    (run / "checkpoints" / "step-00000002" / "state.json").unlink()
    with pytest.raises((ConfigError, MismatchError), match=r"step-00000001 before it is whole: remove step-00000003"):
        train(shards, run, config_of(steps=6), resume=True)


def test_where_no_checkpoint_is_whole_none_is_offered(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(shards, run, config_of(steps=2, save_every=1))
    for step in (1, 2):
        (run / "checkpoints" / f"step-{step:08}" / "state.json").write_text("{}")
    with pytest.raises(MismatchError, match="copy the checkpoint again, or remove its folder"):
        train(shards, run, config_of(steps=6), resume=True)


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 0)]


def _strike_after(run: Path, step: int, number: signal.Signals, process: Callable[[], int] = os.getpid) -> None:
    """Send a signal once a run has a line of metrics after a step."""
    path = run / "metrics.jsonl"
    while not path.exists() or path.read_text().count("\n") < step:
        time.sleep(0.01)
    os.kill(process(), number)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_the_command_in_order_with_its_code(
    shards: Path, tmp_path: Path, request: pytest.FixtureRequest, number: signal.Signals, code: int
) -> None:
    """Whoever runs the tests in the background has them ignore interrupts."""
    run = tmp_path / "run"
    before = signal.signal(number, signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(number, before))

    striker = threading.Thread(target=_strike_after, args=(run, 2, number))
    striker.start()
    ended = invoke(shards, "--out", run, *flags_of(steps=100_000))
    striker.join()
    (last,) = checkpoints(run)[-1:]
    assert (ended.exit_code, ended.stdout) == (code, "")
    assert ended.stderr.endswith(f"stopped at step {last:,}; --resume goes on\n")
    assert last == lines_of(run)[-1]["step"]
    assert not (run / ".spanmask").exists()
    again = invoke(shards, "--out", run, "--resume", "--stop-at", last + 2, "--json")
    assert again.exit_code == 0
    told = json.loads(again.stdout)
    assert (told["step"], told["stopped"]) == (last + 2, True)


_WAITING = """
import sys, time
from spanmask_cli.ending import Request
request = Request()
print("ready", flush=True)
with request.noting():
    while request.code is None:
        time.sleep(0.01)
    print("noted", request.code, flush=True)
    time.sleep(60)
"""


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("launched", [False, True])
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_second_signal_ends_at_once_unless_torchrun_hands_it_on(
    number: signal.Signals, code: int, launched: bool
) -> None:
    environment = {**os.environ, **({"TORCHELASTIC_RUN_ID": "1"} if launched else {})}
    process = subprocess.Popen(
        [sys.executable, "-c", _WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL) for one, _ in SIGNALS],  # noqa: PLW1509
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(number)
    assert process.stdout.readline() == f"noted {code}\n"
    process.send_signal(number)
    if launched or number == signal.SIGUSR1:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
    else:
        assert process.wait(20) == code
    told = "spanmask: ending after the update under way" + "; once more ends it at once" * (not launched)
    assert process.communicate()[1] == f"{told}\n"


_RANK = """
import os, sys, torch
torch.set_num_threads(1)
if os.environ["RANK"] == "1":
    open(sys.argv.pop(), "w").write(str(os.getpid()))
else:
    sys.argv.pop()
from spanmask_cli.main import run
run()
"""
RANKS = {**NO_DROPOUT, "batch_size": 2, **SPARSE, "log_every": 1, "steps": 100_000}


def _launched(shards: Path, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Train in ``folder / "run"`` on two ranks, in a process group of their own; the second one's number comes to ``folder / "pid"``."""
    program, toml = folder / "rank.py", write_toml(folder / "run.toml", **RANKS)
    program.write_text(_RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    line = [*launch, "train", shards, "--out", folder / "run", *(arguments or ("--config", toml)), folder / "pid"]
    return subprocess.Popen(
        list(map(str, line)),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL) for one, _ in SIGNALS],  # noqa: PLW1509
    )


@pytest.mark.faults
@pytest.mark.slow
def test_ranks_stop_after_the_same_step_whichever_was_asked(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = _launched(shards, tmp_path)
    _strike_after(run, 5, signal.SIGUSR1, lambda: int((tmp_path / "pid").read_text()))
    _, error = process.communicate(timeout=120)
    (last,) = checkpoints(run)
    assert process.returncode == 0, error
    assert f"stopped at step {last:,}; --resume goes on\n" in error
    process = _launched(shards, tmp_path, "--resume", "--steps", 100_000, "--stop-at", last + 3)
    assert (process.communicate(timeout=120)[0], process.returncode) == (None, 0)
    train(shards, tmp_path / "whole", config_of(**RANKS | {"batch_size": 4}), stop_at=last + 3)
    assert [line["step"] for line in lines_of(run)] == list(range(1, last + 4))
    assert lines_of(run)[-1]["loss"] == pytest.approx(lines_of(tmp_path / "whole")[-1]["loss"], rel=1e-4)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "whom"),
    [
        (signal.SIGTERM, "launcher"),
        (signal.SIGINT, "launcher"),
        (signal.SIGINT, "group"),
        (signal.SIGTERM, "second rank"),
    ],
)
def test_ranks_end_in_order_whoever_is_signalled(
    shards: Path, tmp_path: Path, number: signal.Signals, whom: str
) -> None:
    run = tmp_path / "run"
    process = _launched(shards, tmp_path)
    whose = {
        "launcher": lambda: process.pid,
        "group": lambda: -process.pid,
        "second rank": lambda: int((tmp_path / "pid").read_text()),
    }
    _strike_after(run, 5, number, whose[whom])
    _, error = process.communicate(timeout=120)
    assert "Connection closed by peer" not in error
    (last,) = checkpoints(run)
    assert last == lines_of(run)[-1]["step"]
    assert f"stopped at step {last:,}; --resume goes on\n" in error
    assert not (run / ".spanmask").exists()


@pytest.mark.faults
def test_without_maps_a_run_whose_shard_is_cut_names_it(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped, it would end this process by SIGBUS."""
    monkeypatch.setattr(reader, "LOOK_SECONDS", 0)
    shutil.copytree(shards, tmp_path / "copy")
    (path,) = (tmp_path / "copy").glob("train/*.arrow")
    config = config_of(window=4, save_every=0, mmap=False)

    def cut(progress: Progress) -> None:
        os.truncate(path, 0)

    with pytest.raises(ShardError, match=f"^train/{path.name}: it changed since it was opened"):
        train(tmp_path / "copy", tmp_path / "run", config, on_progress=cut)
