"""What is said of differences: the correction for several, the same arm again, and no claim that seeds do not carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from spanmask.errors import ConfigError
from spanmask.report.grid import ArmTold, Difference, GridTold
from spanmask.report.grid_page import grid_page
from spanmask.reproduction.arms import Arm, Equal
from spanmask.reproduction.cells import Cell, cells_of
from spanmask.reproduction.collecting import adjusted, collect, difference
from spanmask.reproduction.devices import computed_on
from spanmask.reproduction.grid import CELL_VERSION, Grid
from spanmask.reproduction.lock import GridLock
from spanmask.reproduction.plan import read_plan
from spanmask.reproduction.watching import Watch


def arm(name: str, against: str | None, *, null: bool = False) -> Arm:
    return Arm(
        name=name,
        preshard={},
        train={},
        against=against,
        null=null,
        equal=Equal.TOKENS,
        texts=(),
        shards=name,
    )


ARMS = (arm("token", None), arm("span", "token"), arm("sbo", "span"), arm("again", "token", null=True))
PRIMARY = ("held-out/token/mlm_loss", "boundaries/masked/saved")


def drawn(seeds: int, shift: dict[str, float], draw: np.random.Generator) -> dict[str, dict[int, float]]:
    """Figures by arm and seed: a seed's own, an arm's shift, and what chance does."""
    own = draw.normal(5, 0.3, seeds)
    return {
        one.name: {seed + 1: own[seed] + shift.get(one.name, 0) + draw.normal(0, 0.05) for seed in range(seeds)}
        for one in ARMS
    }


def differences(values: dict[str, dict[str, dict[int, float]]]) -> list[Difference]:
    found = [
        difference(outcome, one, values[outcome], primary=outcome in PRIMARY)
        for outcome in values
        for one in ARMS
        if one.against
    ]
    return adjusted(found)


def test_claims_are_those_of_holms_method_over_all_primary_differences_of_arms() -> None:
    draw = np.random.default_rng(3)
    for _ in range(60):
        shift = {"span": draw.choice([0, 0.06, 0.3]), "sbo": draw.choice([0, 0.06, 0.3])}
        values = {outcome: drawn(6, shift, draw) for outcome in (*PRIMARY, "squad/dev/f1")}
        found = differences(values)
        family = [one for one in found if one.primary and not one.null]
        assert len(family) == 4
        raw = [
            stats.ttest_rel(*(list(values[one.outcome][name].values()) for name in (one.arm, one.against))).pvalue
            for one in family
        ]
        # Literally: reject in order while p < alpha / (m - k).
        claimed = set()
        for place, number in enumerate(np.argsort(raw)):
            if raw[number] >= 0.05 / (len(raw) - place):
                break
            claimed.add(int(number))
        assert {k for k, one in enumerate(family) if one.verdict in ("higher", "lower")} == claimed
        assert {one.verdict for one in found if not one.primary} == {"beside: nothing is claimed"}
        assert all(one.adjusted is None for one in found if not one.primary)
        # A′ is held against the method by itself: two outcomes.
        nulls = sorted(one.p or 0 for one in found if one.primary and one.null)
        assert min(one.adjusted or 0 for one in found if one.primary and one.null) == min(2 * nulls[0], 1)


def test_with_five_seeds_nothing_is_claimed_and_no_p_is_told() -> None:
    values = {outcome: drawn(5, {"span": 9.0}, np.random.default_rng(4)) for outcome in PRIMARY}
    for one in differences(values):
        assert one.verdict == "not enough seeds to say (5 of 6)"
        assert one.p is None
        assert one.over_seeds is not None


def test_what_is_not_known_yet_counts_among_the_claims() -> None:
    values = {PRIMARY[0]: drawn(6, {"span": 0.3, "sbo": 0.3}, np.random.default_rng(5)), PRIMARY[1]: {}}
    span = next(one for one in differences(values) if (one.outcome, one.arm) == (PRIMARY[0], "span"))
    assert span.p is not None
    assert span.adjusted == min(4 * span.p, 1)


def told(values: dict[str, dict[str, dict[int, float]]], *lines: str) -> GridTold:
    arms = [
        ArmTold(name=one.name, against=one.against, null=one.null, options={"scheme": "<b>"}, facts={"tokens": "9,000"})
        for one in ARMS
    ]
    return GridTold(
        name="<i>\x1b",
        question="Is it so?",
        arms=arms,
        primary=PRIMARY,
        values=values,
        differences=differences(values),
        lines=lines,
        cells=9,
        undone=["sbo/seed-6/squad"],
    )


def test_the_page_says_what_is_claimed_and_shows_nulls_as_such() -> None:
    values = {outcome: drawn(6, {"span": 0.5}, np.random.default_rng(6)) for outcome in (*PRIMARY, "squad/dev/f1")}
    found = told(values)
    page = grid_page(found)
    assert [line.partition(": ")[0] for line in found.headline] == [
        *("span minus token", "sbo minus span", "again minus token, the same again")
    ]
    assert "higher: held-out/token/mlm_loss by 0.5" in found.headline[0]
    assert "no difference shown: held-out/token/mlm_loss, boundaries/masked/saved" in found.headline[2]
    for part in (
        "1 cell of 9 are not done yet",
        "4 differences together",
        "Beside: squad",
        "verdict",
        "again − token, the same again",
    ):
        assert part in page
    assert "<i>" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert 'class="card verdict failed"' not in page
    assert 'class="card verdict failed"' in grid_page(told(values, "WARNING: of the same arm again …"))


# --- Devices


@pytest.fixture
def grid(plan: Path, tmp_path: Path) -> Grid:
    read = read_plan(str(plan))
    lock = GridLock(name=read.name, plan=read.content, texts=())
    return Grid(plan=read, folder=tmp_path, lock=lock, texts=(), jobs=1, watch=Watch())


def done(grid: Grid, cell: Cell, **told: Any) -> None:
    """Write down what a cell came to."""
    place = grid.place(cell)
    place.mkdir(parents=True, exist_ok=True)
    trained = {"parameters": 9, "updates": 9, "tokens": 9, "training_seconds": 1.0, "loss": 1.0}
    whole = {"seconds": 1.0, "figures": {}, **trained, **told, "version": CELL_VERSION, "grid": grid.lock.digest}
    (place / "cell.json").write_text(json.dumps({**whole, "versions": {"spanmask": "1"}}))


def test_the_page_says_which_cells_that_are_compared_were_computed_on_several_devices(grid: Grid) -> None:
    gpu, cpu = ["NVIDIA H200, bf16"], ["cpu, fp32"]
    cells = [cell for cell in cells_of(grid.plan) if cell.arm and "/seed-" in cell.name]
    on = {cell.name: gpu if cell.seed == 1 else cpu for cell in cells}

    def lines() -> list[str]:
        for cell in cells:
            done(grid, cell, devices=on[cell.name])
        return [line for line in collect(grid).lines if line.startswith("Not computed on one device")]

    # Seeds are not held against each other.
    assert lines() == []
    facts = {one.name: one.facts["trained on"] for one in collect(grid).arms}
    assert facts == dict.fromkeys(("token", "span", "again"), "NVIDIA H200, bf16; cpu, fp32")
    on |= {"span/seed-2/training": gpu, "token/seed-1/boundaries": [*gpu, *cpu]}
    (line,) = lines()
    assert line.startswith(
        "Not computed on one device, so that arms are not all that differs, 3 comparisons of cells: "
    )
    for told in (
        "span/seed-1/boundaries on NVIDIA H200, bf16 and token/seed-1/boundaries on NVIDIA H200, bf16; cpu, fp32",
        "span/seed-2/training on NVIDIA H200, bf16 and token/seed-2/training on cpu, fp32",
        "again/seed-1/boundaries on ",
    ):
        assert told in line


def test_cells_that_do_not_say_on_what_they_were_computed_are_not_told_of(grid: Grid) -> None:
    """As those of earlier releases."""
    for number, cell in enumerate(cells_of(grid.plan)):
        if "/seed-" in cell.name:
            done(grid, cell, **({"devices": ["cpu, fp32"]} if number % 2 else {}))
    assert not any("device" in line for line in collect(grid).lines)


def test_a_cell_that_went_on_elsewhere_says_both_devices(grid: Grid) -> None:
    cells = {cell.name: cell for cell in cells_of(grid.plan)}
    training = cells["span/seed-1/training"]
    file = grid.place(training) / "devices.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"devices": ["NVIDIA H200, bf16"]}')
    # Of a run that never began there is nothing to go on with.
    assert computed_on(grid, training) == ["cpu, fp32"]
    file.write_text('{"devices": ["NVIDIA H200, bf16"]}')
    (file.parent / "run").mkdir()
    for _ in range(2):
        assert computed_on(grid, training) == ["NVIDIA H200, bf16", "cpu, fp32"]
    file.write_text("{}")
    with pytest.raises(ConfigError, match=r"devices\.json: not what .* writes .*; remove the cell's folder"):
        computed_on(grid, training)
    assert [computed_on(grid, cells[name]) for name in ("vocabulary", "shards/token", "tokens")] == [[], [], []]
