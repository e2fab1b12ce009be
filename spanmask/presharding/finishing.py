"""All units done in, the finished dataset in its place out; or the names of the tasks that are missing, and how to run just those."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Sequence

from spanmask.engines.array import told_numbers
from spanmask.errors import ConfigError, CorpusError, IncompleteShards, MismatchError, ShardError
from spanmask.presharding.assembling import assemble
from spanmask.presharding.destinations import Out, State, finishing, out_of, state_of
from spanmask.presharding.locations import remember_inputs, remember_lists
from spanmask.presharding.plan_file import plan_from_json, stated_exclusions
from spanmask.presharding.planning import Plan
from spanmask.presharding.receipt import Receipt, unit_order
from spanmask.presharding.units import Unit
from spanmask.shard.card import dataset_card
from spanmask.shard.manifest import Manifest, read_manifest


def finalize(out: str | os.PathLike[str]) -> Manifest:
    """Put a dataset in its place whose tasks were run in pieces; one that is finished is left as it is.

    No input is read for that.

    Parameters
    ----------
    out
        The folder that the run was planned in.

    Returns
    -------
    Manifest
        What was written, or was there.

    Raises
    ------
    ConfigError
        No run is under way there.
    IncompleteShards
        Tasks are missing; the message says which, and the command that runs just those.
    MismatchError
        The plan is damaged, other releases of spanmask or of a library made it, or another process is writing the dataset.
    CorpusError
        There is no row in all of it.
    ShardError
        A finished dataset is there, and is damaged.
    StorageError
        The file system refused.
    """
    place = out_of(out)
    try:
        return _finalize(place)
    except (ConfigError, IncompleteShards, MismatchError):
        # Whoever finished it meanwhile has removed plan and receipts.
        if not state_of(place).is_finished:
            raise
        return _finished(place)


def _finalize(place: Out) -> Manifest:
    state = state_of(place)
    if state.is_finished:
        return _finished(place)
    # Without the lock first: what is missing is told at once, and where nothing was begun nothing is written.
    if not state.staged:
        _require_all(state, _plan_of(state))
    with finishing(place) as state:
        if state.staged:
            state.commit()
        # Somebody else may have finished it meanwhile.
        if state.is_finished:
            return _finished(place)
        plan = _plan_of(state)
        return finish(state, plan, _require_all(state, plan))


def _finished(place: Out) -> Manifest:
    try:
        return read_manifest(place)
    except IncompleteShards as error:
        # It is not work that is missing: whoever runs tasks as long as some are would do so for ever.
        raise ShardError(
            "the finished dataset has it no more; `spanmask repair` makes it again where it can", path=error.path
        ) from None


def finish(state: State, plan: Plan, units: Sequence[str]) -> Manifest:
    """Put the finished dataset of a run in its place. units: all of the plan, in order.

    Raises
    ------
    IncompleteShards
        Receipts or shards are gone, or damaged.
    CorpusError
        There are no rows, or a field that was named holds nothing in any document.
    StorageError
        The file system refused.
    """
    # Read one by one: receipts of many units are more than memory need hold.
    receipts = _whole(state, plan, units)
    try:
        manifest, skipped = assemble(plan, receipts)
    except CorpusError:
        # All was done and nothing came of it: a later run would have nothing to go on from, and be refused with other options.
        state.discard()
        raise
    state.stage(manifest, dataset_card(manifest), skipped)
    state.commit()
    remember_inputs(manifest, plan.files)
    remember_lists(manifest, plan.files)
    return manifest


def _plan_of(state: State) -> Plan:
    content, out = state.saved_plan(), str(state.out)
    if content is None:
        raise ConfigError(f"{out}: no run was begun there; give the folder of --out")
    return plan_from_json(content, out, stated_exclusions(content, out))


def _require_all(state: State, plan: Plan) -> list[str]:
    """Return the names of all units of a plan, in order; refuse where some have no receipt."""
    units: dict[int, list[str]] = {}
    for name in sorted(state.units(), key=unit_order):
        units.setdefault(unit_order(name)[0], []).append(name)
    last = [units[task.number][-1] for task in plan.tasks if task.streamed and task.number in units]
    # A streamed task's end says how many blocks it has.
    ends = {known.unit: known.blocks for known in state.receipts(last, plan.key)}
    found, missing = list[str](), list[int]()
    for task in plan.tasks:
        names = units.get(task.number, [])
        if names and (
            ends.get(names[-1]) == len(names) - 1 if task.streamed else names == [Unit(task=task.number).name]
        ):
            found += names
        else:
            missing.append(task.number)
    if missing:
        raise _incomplete(state, plan, missing)
    return found


def _whole(state: State, plan: Plan, units: Sequence[str]) -> Iterator[Receipt]:
    """Yield the receipts of units; refuse in the end where some are damaged, or their shards are not there."""
    lost = set(units)
    for known in state.receipts(units, plan.key):
        lost.remove(known.unit)
        yield known
    if lost:
        raise _incomplete(state, plan, {unit_order(unit)[0] for unit in lost})


def _incomplete(state: State, plan: Plan, missing: Collection[int]) -> IncompleteShards:
    numbers, place = told_numbers(missing), shlex.quote(str(state.out))
    return IncompleteShards(
        f"{len(missing):,} of {len(plan.tasks):,} tasks are missing: {numbers}; run "
        f"`spanmask preshard --out {place} --engine array --task {numbers}`, then `spanmask finalize {place}` again",
        path=str(state.out),
    )
