"""Any value in what an unfinished run left, its digests made anew: the run goes on, or says what is wrong."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import flips
from figures import figure
from json_values import Place, changed, changes, named

from spanmask import MismatchError, SpanmaskError
from spanmask.config import canonical_json, fingerprint
from spanmask.presharding.receipt import Receipt
from spanmask.presharding.state import RunState

pytestmark = pytest.mark.faults


class _StoppedError(Exception):
    pass


@pytest.fixture
def unfinished(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that was ended when all its units were done."""

    def stop(*_: Any) -> None:
        raise _StoppedError

    lab.path = lab.text(count=30)
    with monkeypatch.context() as patch:
        patch.setattr(RunState, "stage", stop)
        with pytest.raises(_StoppedError):
            lab.run(lab.path, "out", holdout=0.3)
    lab.state = lab.folder / "out" / ".spanmask"
    lab.kept = shutil.copytree(lab.folder / "out", lab.folder / "kept")
    return lab


def files(state: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the plan and a receipt with what they hold."""
    paths = (state / "plan.json", sorted((state / "receipts").iterdir())[1])
    return [(path, json.loads(path.read_bytes())) for path in paths]


def _go_on(lab: Any, path: Path, content: dict[str, Any]) -> bool:
    """Go on with the run after a file of its state was changed; return whether it finished."""
    shutil.rmtree(lab.folder / "out")
    shutil.copytree(lab.kept, lab.folder / "out")
    content.pop("digest", None)
    path.write_bytes(canonical_json({**content, "digest": fingerprint(content)}))
    try:
        lab.run(lab.path, "out", holdout=0.3)
    except SpanmaskError:
        return False
    return True


def _all(lab: Any, wanted: Callable[[list[Any]], list[Any]], tell: Callable[[str], None]) -> None:
    finished = tried = 0
    for path, content in files(lab.state):
        for place, new in wanted(changes(content, "digest")):
            try:
                finished += _go_on(lab, path, changed(content, place, new))
            except BaseException as error:
                error.add_note(f"{path.name}: {named(place, new)}")
                raise
            tried += 1
    tell(f"{tried:,} values put into a run's state, {finished:,} runs finished")


def test_a_run_goes_on_from_some_changed_state_or_refuses(unfinished: Any, tell: Callable[[str], None]) -> None:
    _all(unfinished, lambda found: random.Random(4).sample(found, 8), tell)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_run_goes_on_from_many_changed_states_or_refuses(unfinished: Any, tell: Callable[[str], None]) -> None:
    _all(unfinished, lambda found: found[:: figure(7, 4)], tell)


@pytest.mark.slow
def test_no_flipped_bit_of_a_receipt_or_plan_is_taken(unfinished: Any, count: Callable[[int], None]) -> None:
    """They are taken as they were written, or not at all."""
    state = RunState(unfinished.folder / "out")
    plan, key = state.saved_plan(), str(state.plan_key)
    unit = min(path.stem for path in state.receipts_folder.iterdir())
    receipt, flipped = next(state.receipts([unit], key)), 0
    for _ in flips(state.receipts_folder / f"{unit}.json"):
        assert list(state.receipts([unit], key)) in ([], [receipt])
        flipped += 1
    for _ in flips(unfinished.state / "plan.json"):
        assert state.saved_plan() in ({}, plan)
        flipped += 1
    count(flipped)
    assert flipped > 15_000


@pytest.mark.parametrize(
    ("place", "new"),
    [
        (("shards", "train", 0, "path"), "train/../../../outside.arrow"),
        (("shards", "train", 0, "rows"), 1 << 62),
        (("statistics", "train", "tokens"), -1),
        (("conservation", "tokens", "in"), "5"),
        (("sampling",), []),
        (("unit",), "x"),
        (("unit",), "99999-00000"),
    ],
)
def test_the_unit_of_an_impossible_receipt_is_done_again(place: Place, new: Any, unfinished: Any) -> None:
    path, content = list(files(unfinished.state))[1]
    wanted = unfinished.run(unfinished.path, "whole", holdout=0.3).digest
    assert _go_on(unfinished, path, changed(content, place, new))
    assert json.loads((unfinished.folder / "out" / "manifest.json").read_bytes())["digest"] == wanted


def test_a_receipt_that_nobody_looks_at_is_found(unfinished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: what its digest agrees with is summed."""
    monkeypatch.setattr(Receipt, "_check", lambda _: None)
    with pytest.raises(AssertionError):
        test_the_unit_of_an_impossible_receipt_is_done_again(("statistics", "train", "tokens"), -1, unfinished)


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b"{}", b'{"files":5}', b'{"files":null}', b"\xff"])
def test_a_damaged_manifest_that_waits_is_told(data: bytes, unfinished: Any) -> None:
    (unfinished.state / "manifest.json").write_bytes(data)
    with pytest.raises(MismatchError, match="damaged"):
        unfinished.run(unfinished.path, "out", holdout=0.3)
