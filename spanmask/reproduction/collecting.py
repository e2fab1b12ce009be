"""What done cells come to, together: folders of a grid flow in, paired differences and what they amount to flow out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from spanmask.escaping import counted
from spanmask.options import differing
from spanmask.probes.intervals import holm, over_seeds, p_value
from spanmask.report.grid import ArmTold, BySeed, Difference, GridTold, PaperTold
from spanmask.report.paired import LEAST_SEEDS
from spanmask.reproduction.arms import Arm, Equal
from spanmask.reproduction.cells import Cell, Work, cells_of
from spanmask.reproduction.grid import Grid, read_cell
from spanmask.reproduction.paper import TABLES
from spanmask.reproduction.plan import Plan

#: Figures that count, or are thresholds: no measure of how good a model is.
_NO_MEASURE = ("total", "thresh")
#: Comparisons of cells that are named, at most.
_NAMED = 3

_Done = Mapping[str, dict[str, Any]]


def collect(grid: Grid) -> GridTold:
    """Return what is known of a grid so far.

    Raises
    ------
    ConfigError
        A cell's file is damaged.
    MismatchError
        One is of another grid.
    """
    cells, plan = cells_of(grid.plan), grid.plan
    found = {cell.name: read_cell(grid.lock, grid.folder, cell) for cell in cells}
    done = {name: told for name, told in found.items() if told is not None}
    values = _values(cells, done)
    differences = adjusted(list(_differences(plan, values)))
    return GridTold(
        name=plan.name,
        question=plan.config.question,
        arms=[_arm(grid, arm, done) for arm in plan.arms],
        primary=plan.config.primary,
        values=values,
        differences=differences,
        lines=[*_lines(grid, done, differences)],
        cells=len(cells),
        undone=[name for name, told in found.items() if told is None],
        paper=_paper(plan),
    )


def _values(cells: Sequence[Cell], done: _Done) -> dict[str, dict[str, BySeed]]:
    """Return figures by outcome, arm and seed."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for cell in cells:
        if cell.work not in (Work.HELD_OUT, Work.PROBE) or cell.arm is None or cell.name not in done:
            continue
        probe = cell.name.rpartition("/")[2]
        for file, figures in done[cell.name]["figures"].items():
            for figure, value in figures.items():
                if not figure.endswith(_NO_MEASURE):
                    outcome = values.setdefault(f"{probe}/{file}/{figure}", {})
                    outcome.setdefault(cell.arm.name, {})[cell.seed] = value
    return {name: {arm: dict(own) for arm, own in by_arm.items()} for name, by_arm in values.items()}


def _differences(plan: Plan, values: Mapping[str, Mapping[str, BySeed]]) -> Iterator[Difference]:
    """Yield the differences of all arms, primary outcomes first, whether they were found or not."""
    for outcome in dict.fromkeys([*plan.config.primary, *values]):
        own = values.get(outcome, {})
        for arm in plan.arms:
            if arm.against is not None:
                yield difference(outcome, arm, own, primary=outcome in plan.config.primary)


def difference(outcome: str, arm: Arm, values: Mapping[str, BySeed], *, primary: bool) -> Difference:
    """Return an outcome of an arm minus that of the one it is held against."""
    ours, theirs = values.get(arm.name, {}), values.get(arm.against or "", {})
    seeds = tuple(seed for seed in sorted(ours) if seed in theirs)
    found = tuple(ours[seed] - theirs[seed] for seed in seeds)
    return Difference(
        outcome=outcome,
        arm=arm.name,
        against=arm.against or "",
        null=arm.null,
        primary=primary,
        seeds=seeds,
        differences=found,
        over_seeds=over_seeds(found),
        p=p_value(found),
    )


def adjusted(differences: Sequence[Difference]) -> list[Difference]:
    """Return differences whose primary ones know a p that holds for all of these together, nulls apart: they claim nothing of arms.

    What is not yet known counts among them as p = 1, so that no claim is lost when it comes; with fewer seeds than a claim needs there is
    no p at all.
    """
    told = [one if len(one.seeds) >= LEAST_SEEDS else replace(one, p=None) for one in differences]
    for null in (False, True):
        places = [place for place, one in enumerate(told) if one.primary and one.null is null]
        for place, p in zip(
            places, holm([1.0 if told[k].p is None else told[k].p or 0.0 for k in places]), strict=True
        ):
            if told[place].p is not None:
                told[place] = replace(told[place], adjusted=p)
    return told


def _arm(grid: Grid, arm: Arm, done: _Done) -> ArmTold:
    trained = [told for seed in grid.plan.config.seed_numbers if (told := done.get(f"{arm.name}/seed-{seed}/training"))]
    shards, known = done.get(f"shards/{arm.shards}"), grid.lock.schedule
    facts: dict[str, str] = {}
    if shards is not None:
        train = shards["splits"]["train"]
        facts |= {"sequences": f"{train['sequences']:,}", "masked": f"{train['masked']:.3%} of the tokens"}
        if known is not None:
            facts["epochs"] = f"{known.updates[arm.name] * known.update_tokens[arm.name] / train['tokens']:.2f}"
    if trained:
        facts |= {
            "trained on": "; ".join(sorted({on for one in trained for on in one.get("devices", ())})) or "–",
            "parameters": f"{trained[0]['parameters']:,}",
            "updates": f"{trained[0]['updates']:,}",
            "tokens": _range([one["tokens"] for one in trained]),
            "seconds of a training": f"{fmean(one['training_seconds'] for one in trained):,.1f}",
        }
    return ArmTold(name=arm.name, against=arm.against, null=arm.null, options=_options(grid.plan, arm), facts=facts)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _options(plan: Plan, arm: Arm) -> dict[str, Any]:
    """Return an arm's options that not all arms have alike, as resolved."""
    resolved = {one.name: _resolved(one) for one in plan.arms}
    return {name: resolved[arm.name].get(name) for name, _ in differing(list(resolved.values()))}


def _resolved(arm: Arm) -> dict[str, Any]:
    shown = {name: value for part in arm.preshard_config.to_json().values() for name, value in part.items()}
    trained = {name: value for name, value in arm.train_config().to_json().items() if name != "seed"}
    return shown | trained | {"equal": str(arm.equal)}


def _lines(grid: Grid, done: _Done, differences: Sequence[Difference]) -> Iterator[str]:
    """Yield what else is to be known, in sentences."""
    known = grid.lock.schedule
    if known is not None:
        budget = (
            ""
            if known.budget is None
            else f", what {known.budget:g} minutes of all trainings came to when they were measured"
        )
        yield (
            f"Each training is of {known.tokens:,} tokens{budget}. Tokens are all pieces of the sequences that are trained on, "
            "special ones included, padding not; of a pair those of both segments and its three special ones."
        )
        for name, (same, both) in known.same_start.items():
            against = grid.plan.arm(name).against
            if same < both:
                yield f"{name} and {against} begin apart: of {both} tensors that both have, {same} are the same."
        if all(same == both for same, both in known.same_start.values()):
            yield (
                "Of each seed all arms begin with the same weights by name; those whose text is cut alike read the same sequences in the "
                "same order."
            )
    yield from _tokens_apart(grid.plan, done)
    yield from _devices_apart(grid.plan, done)
    nulls = [one for one in differences if one.null and one.primary and one.adjusted is not None]
    off = [one for one in nulls if one.verdict in ("higher", "lower")]
    if off:
        yield (
            f"WARNING: of the same arm again, {len(off)} of {counted(len(nulls), 'primary difference')} would be called one: do not "
            "believe the others."
        )
    left_out = [probe.name for probe in grid.plan.probes if not probe.has_files]
    if left_out:
        yield f"Not asked, since the plan gives no files for it: {', '.join(left_out)}."
    used = {tuple(sorted(told["versions"].items())) for told in done.values()}
    for number, one in enumerate(sorted(used)):
        mixed = (
            "Cells are of several versions, which may differ by more than their arms: "
            if not number and len(used) > 1
            else ""
        )
        yield mixed + ", ".join(f"{name} {version}" for name, version in one) + "."


def _tokens_apart(plan: Plan, done: _Done) -> Iterator[str]:
    """Yield by how much arms of a seed that have equal tokens are apart in them, as where sequences are cut otherwise."""
    apart = 0.0
    for seed in plan.config.seed_numbers:
        cells = [done.get(f"{arm.name}/seed-{seed}/training") for arm in plan.arms if arm.equal is Equal.TOKENS]
        tokens = [told["tokens"] for told in cells if told is not None]
        if tokens:
            apart = max(apart, max(tokens) / min(tokens) - 1)
    if apart:
        yield f"Of a seed, the tokens of arms that are to have as many differ by {apart:.2%} at most."


def _devices_apart(plan: Plan, done: _Done) -> Iterator[str]:
    """Yield which cells that are held against each other were not all computed on one device, in one precision."""
    apart = []
    for cell in cells_of(plan):
        if cell.arm is None or cell.arm.against is None:
            continue
        names = (cell.name, f"{cell.arm.against}/{cell.name.partition('/')[2]}")
        # Cells of earlier releases do not say.
        devices = [done.get(name, {}).get("devices", []) for name in names]
        if all(devices) and len({*devices[0], *devices[1]}) > 1:
            told = (f"{name} on {'; '.join(own)}" for name, own in zip(names, devices, strict=True))
            apart.append(" and ".join(told))
    if apart:
        yield (
            f"Not computed on one device, so that arms are not all that differs, {counted(len(apart), 'comparison')} of cells: "
            f"{', '.join(apart[:_NAMED])}{', …' if len(apart) > _NAMED else ''}."
        )


def _paper(plan: Plan) -> PaperTold | None:
    if plan.config.paper is None:
        return None
    known = TABLES[plan.config.paper]
    return PaperTold(told=known.told, columns=known.columns, rows=known.rows)
