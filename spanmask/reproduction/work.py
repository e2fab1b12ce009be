"""What is done in a cell: a grid and a cell flow in, what the cell came to flows out, and stands in CELL/cell.json when it is done.

Cells are done in the process of the command, one after another. A kill ends all of it at once, with its locks: no child is left that
still writes, and what a cell needs beyond its own life, its run's folder has. What one took of memory is free when it is done.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from spanmask.errors import ConfigError
from spanmask.loading.targets import Edges, default_rule
from spanmask.probes.writing import as_json
from spanmask.reproduction.cells import Cell, Work
from spanmask.reproduction.devices import computed_on
from spanmask.reproduction.grid import CELL, CELL_VERSION, RUN_FOLDER, Grid, Told
from spanmask.reproduction.preparing import look_for_overlap, train_entries, write_shards
from spanmask.reproduction.probing import ask
from spanmask.reproduction.watching import AskedCell, TunedCell, Watch
from spanmask.storage import make_folder, publish_bytes
from spanmask.train.lines import JsonLines
from spanmask.train.record import METRICS, RUN, versions


def do(grid: Grid, cell: Cell) -> Told:
    """Do a cell, or go on with it; write down what it came to, and return that. The caller alone does this cell.

    Raises
    ------
    SpanmaskError
        As what it calls does.
    """
    place = grid.place(cell)
    make_folder(place)
    began, devices = time.perf_counter(), computed_on(grid, cell)
    try:
        told = _DOING[cell.work](grid, cell)
    finally:
        gc.collect()
    if told is None:
        return None
    seconds = round(time.perf_counter() - began, 3)
    told = {**told, "devices": devices} if devices else told
    whole = {"seconds": seconds, **told, "version": CELL_VERSION, "grid": grid.lock.digest, "versions": versions()}
    publish_bytes(place / CELL, as_json(whole))
    return whole


def _schedule(grid: Grid, cell: Cell) -> Told:
    from spanmask.reproduction.scheduling import schedule

    known = grid.lock.schedule or schedule(grid, grid.place(cell))
    replace(grid.lock, schedule=known).write(grid.folder)
    return {"tokens": known.tokens, "updates": dict(known.updates)}


def _training(grid: Grid, cell: Cell) -> Told:
    from spanmask.train.run import train

    arm, known = grid.arm_of(cell), grid.lock.schedule
    if known is None:
        raise ConfigError(f"{grid.folder}: the lock file does not say how far arms are trained; remove tokens/")
    run = grid.place(cell) / RUN_FOLDER
    config = grid.training(arm, cell.seed, steps=known.updates[arm.name])
    resume = (run / RUN).exists()
    finished = train(grid.dataset(arm.shards), run, config, resume=resume, watch=TunedCell(grid.watch))
    if finished.stopped:
        return None
    lines = JsonLines(run / METRICS).read()
    trained = {"updates": finished.step, "parameters": finished.parameters, "tokens": lines[-1]["tokens"]}
    return {**trained, "training_seconds": sum(_interval_seconds(lines)), "loss": lines[-1]["loss"]}


def _interval_seconds(lines: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    """Yield the seconds of updates between lines of metrics; none of evaluations and checkpoints between two processes."""
    before = 0
    for line in lines:
        yield (line["tokens"] - before) / line["tokens_per_second"]
        before = line["tokens"]


def _held_out(grid: Grid, cell: Cell) -> Told:
    from spanmask.train.distributed import World, device_of
    from spanmask.train.evaluation import evaluate
    from spanmask.train.run import threads
    from spanmask.train.run_folder import load_run

    # Of every arm and seed the same sequences, in the same bins.
    config = grid.training(grid.arm_of(cell), 0)
    world = World(device=device_of(config.device))
    model = load_run(grid.trained(cell)).model.to(world.device)
    figures = {}
    with threads(config.threads):
        for name in grid.plan.masks:
            if grid.watch.stopping():
                return None
            shards = grid.shards(name, "validation")
            # Of masks whose custom has no boundary targets, a model of that objective is asked as the paper asks it.
            edges = config.edges or (None if default_rule(shards.manifest.config.masking) else Edges.USE)
            found = evaluate(model, [shards], config.changed(edges=edges), world, TunedCell(Watch()))
            figures[name] = figures_of(found.to_json())
    return {"figures": figures}


def figures_of(found: Mapping[str, Any]) -> dict[str, float]:
    """Return what an evaluation found by figure: losses in nats a target, accuracies and whole spans of up to ten tokens in per cent."""
    figures = {name: found.get(name) for name in ("mlm_loss", "sbo_loss", "nsp_loss")}
    figures |= {name: _percent(found.get(name)) for name in ("mlm_accuracy", "sbo_accuracy", "nsp_accuracy")}
    for name, count in (("mlm", "spans"), ("sbo", "sbo_spans")):
        spans = sum(row[count] for row in found["recovery"])
        right = sum(row[count] * (row[name] or 0) for row in found["recovery"])
        figures[f"{name}_spans"] = _percent(right / spans if spans else None)
    return {name: value for name, value in figures.items() if value is not None}


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _probe(grid: Grid, cell: Cell) -> Told:
    probe = cell.probe
    if probe is None:
        raise ConfigError(f"{cell.name}: no probe")
    spans_of = grid.plan.arm(probe.spans_of).shards if probe.spans_of else grid.plan.masks[0]
    watch = TunedCell(grid.watch), AskedCell(grid.watch)
    run, dataset = grid.place(cell) / RUN_FOLDER, grid.dataset(spans_of)
    results = ask(probe, grid.trained(cell), run, cell.seed, dataset=dataset, watch=watch)
    if results is None:
        return None
    # Of no use to any cell, and of many probes most of what a grid would take of a disk.
    shutil.rmtree(run / f"seed-{cell.seed}" / "model", ignore_errors=True)
    return {"figures": {name: dict(own) for name, own in results.seeds[0].scores.items()}}


_DOING: Mapping[Work, Callable[[Grid, Cell], Told]] = {
    Work.OVERLAP: look_for_overlap,
    Work.VOCABULARY: train_entries,
    Work.SHARDS: write_shards,
    Work.TOKENS: _schedule,
    Work.TRAINING: _training,
    Work.HELD_OUT: _held_out,
    Work.PROBE: _probe,
}
