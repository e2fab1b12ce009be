"""How the benchmarks measure."""

from __future__ import annotations

import gc
import getpass
import json
import os
import platform

import pytest
from spanmask_bench import child, protocol

from spanmask.errors import ConfigError


def test_contestants_run_in_turn_after_a_warm_up():
    calls = []
    contestants = {name: lambda name=name: calls.append((name, gc.isenabled())) for name in "ABC"}
    taken = protocol.interleave(contestants, 3)
    assert [name for name, _ in calls] == list("ABC" * 4)
    assert not any(collecting for _, collecting in calls)
    assert gc.isenabled()
    assert {name: len(found["seconds"]) for name, found in taken.items()} == dict.fromkeys("ABC", 3)
    assert all(found["warm_up_seconds"] >= 0 for found in taken.values())


def test_what_comes_before_a_call_is_not_measured(monkeypatch):
    clock = iter(range(0, 10**12, 10**9))
    monkeypatch.setattr(protocol.time, "perf_counter_ns", lambda: next(clock))
    called = []
    taken = protocol.interleave(
        {"A": lambda: called.append("A")}, 2, {"A": lambda: [called.append("before"), next(clock)]}
    )
    assert called == ["before", "A"] * 3
    assert taken["A"] == {"warm_up_seconds": 1.0, "seconds": [1.0, 1.0]}


def test_a_clock_counts_every_step_apart(monkeypatch):
    ticks = iter(range(0, 10**12, 10**9))
    monkeypatch.setattr(protocol.time, "perf_counter_ns", lambda: next(ticks))
    clock = protocol.Clock(["items", "sums"])
    found = [clock.time("sums", sum, [item, 1]) for item in clock.each("items", iter([5, 6]))]
    assert found == [6, 7]
    assert clock.spent == {"items": 3.0, "sums": 2.0}, "the end of the items took its time too"
    with pytest.raises(ZeroDivisionError):
        clock.time("sums", divmod, 1, 0)
    assert clock.spent["sums"] == 3.0


def test_goals_are_lower_and_limits_upper_bounds():
    assert protocol.goals({"a": 4.0, "b": 3.9}, {"a": 4.0, "b": 4.0, "c": 1.0}) == {
        "a": {"goal": 4.0, "reached": True},
        "b": {"goal": 4.0, "reached": False},
    }
    assert protocol.limits({"a": 3.9, "b": 4.0}, {"a": 4.0, "b": 4.0, "c": 1.0}) == {
        "a": {"limit": 4.0, "kept": True},
        "b": {"limit": 4.0, "kept": False},
    }


def test_figures_are_medians_with_their_range():
    assert protocol.spread([5.0, 1.0, 3.0]) == {"median": 3.0, "min": 1.0, "max": 5.0}
    assert protocol.rates(600, [2.0, 3.0]) == [300.0, 200.0]


def test_ratios_are_made_round_by_round():
    found = protocol.ratio([10.0, 100.0, 30.0], [1.0, 50.0, 10.0])
    assert found == {"rounds": [10.0, 2.0, 3.0], "median": 3.0, "min": 2.0, "max": 10.0}


def test_seconds_are_those_on_the_clock(monkeypatch):
    ticks = iter([1_000_000_000, 3_500_000_000])
    monkeypatch.setattr(protocol.time, "perf_counter_ns", lambda: next(ticks))
    assert protocol.seconds(lambda: None) == 2.5


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot hold a process to a processor")
def test_one_processor_while_measuring_and_all_of_them_after():
    before = os.sched_getaffinity(0)
    with protocol.pinned() as is_pinned:
        assert is_pinned
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_a_record_names_no_path_host_or_account():
    text = json.dumps(protocol.record("?", {"rounds": 1}, {"found": 1}))
    assert "/work/" not in text
    assert os.getcwd() not in text
    assert platform.node() not in text
    assert f'"{getpass.getuser()}"' not in text
    assert set(json.loads(text)) == {
        "question", "versions", "machine", "commit", "dirty", "parameters", "found"
    }  # fmt: skip


def test_no_commit_is_named_outside_a_checkout(monkeypatch):
    monkeypatch.setattr(protocol, "_git", lambda *_: None)
    assert protocol.revision() == {"commit": None, "dirty": None}
    monkeypatch.setattr(protocol, "_git", lambda *_: "/")
    assert protocol.revision() == {"commit": None, "dirty": None}


def test_a_child_has_one_thread():
    found = child.call("protocol", "spread", {"values": [1, 2, 4]})
    assert found == {"median": 2, "min": 1, "max": 4}
    assert set(child.ONE_THREAD.values()) == {"1", "false"}


def test_a_child_that_fails_is_reported(capfd):
    with pytest.raises(RuntimeError, match=r"protocol\.spread failed with exit code 1"):
        child.call("protocol", "spread", {"values": []})
    assert "StatisticsError" in capfd.readouterr().err


def test_an_error_of_ours_in_a_child_is_raised_here_with_its_message(capfd):
    with pytest.raises(ConfigError, match=r"missing\.txt: no such file"):
        child.call("texts", "read", {"paths": ["missing.txt"], "limit": 1})
    assert capfd.readouterr().err == ""
