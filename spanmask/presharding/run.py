"""`preshard`: plan the work, have it run, put the finished dataset in its place. `preview`: its first rows, without writing anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from spanmask.blocks import row_of
from spanmask.config import PreshardConfig
from spanmask.corpus.exclusion import with_exclusions
from spanmask.corpus.inputs import Inputs
from spanmask.errors import ConfigError, IncompleteShards, SpanmaskError
from spanmask.presharding.destinations import Out, State, abandon, finishing, shared, state_of, written
from spanmask.presharding.finding import STDIN, OnInputs, Paths, find_files
from spanmask.presharding.finishing import finish
from spanmask.presharding.locations import check_unchanged_since
from spanmask.presharding.planning import Plan, jobs_of, make_plan
from spanmask.presharding.progress import OnProgress, Teller
from spanmask.presharding.receipt import unit_order
from spanmask.presharding.request import Request, with_lists
from spanmask.presharding.running import Ran, run_tasks
from spanmask.presharding.spread import run_spread
from spanmask.presharding.state import FOLDER
from spanmask.presharding.tasks import plan_request
from spanmask.presharding.units import Pipeline, all_units
from spanmask.records import Row
from spanmask.remote import is_url
from spanmask.shard.manifest import MANIFEST, Manifest, read_manifest
from spanmask.vocab import Vocabulary, load_vocabulary

#: Who may run the work of `preshard`.
ENGINES = ("local", "dask")


def preshard(  # noqa: PLR0913 - the one door
    inputs: Paths,
    out: str | os.PathLike[str],
    config: PreshardConfig,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    rehash: bool = False,
    engine: str = ENGINES[0],
    scheduler: str | None = None,
    on_progress: OnProgress | None = None,
    on_inputs: OnInputs | None = None,
) -> Manifest:
    """Turn a corpus into a finished dataset of masked shards.

    The bytes written depend on the inputs and the configuration alone. A run that was killed is resumed by calling again with the same
    arguments; one that finished is not repeated.

    Parameters
    ----------
    inputs
        Files, folders and globs, in order; ``-`` is standard input.
    out
        Folder to write, or URL of a prefix; it must be new, empty, or one that the same call wrote. Nothing is replaced in an object store.
    config
        Everything that decides the bytes.
    jobs
        Processes; by default one for every processor this process may use, and a quarter more where ``out`` is a URL.
    overwrite
        Whether another dataset, or another run, in ``out`` is replaced, once the new one is complete.
    rehash
        Whether a finished dataset's inputs are read again to see that they are the same, rather than trusted by size and time.
    engine
        Who runs the work: ``local`` processes, or the workers of a Dask cluster (``dask``).
    scheduler
        Of ``dask``: its address (``tcp://…``, ``tls://…``), or the file that it wrote; by default a cluster of ``jobs`` processes is
        started here.
    on_progress
        Called with `Progress` as the work goes on; once it returns True, no unit is begun any more, and the call ends with those under way.
    on_inputs
        Called with `Inputs` before anything is read.

    Returns
    -------
    Manifest
        What was written.

    Raises
    ------
    ConfigError
        An option, path or vocabulary cannot be used.
    MismatchError
        ``out`` holds another dataset, or another process is writing it.
    CorpusError
        Text that cannot be read, or no text at all.
    StorageError
        The file system refused.
    IncompleteShards
        Some shards failed after three tries, or ``on_progress`` had it end; the others are complete, and the same call goes on.
    """
    jobs = jobs_of(jobs, waiting=is_url(out))
    _check_engine(engine, scheduler)
    request = Request.of(inputs, out, config, overwrite=overwrite, rehash=rehash, on_inputs=on_inputs)
    place = request.out
    if isinstance(place, Path) and not request.has_stdin and _stands_finished(place):
        # Looked at without a lock, so that a finished dataset may be read-only.
        _, finished = request.look()
        if finished is not None:
            return finished
    if engine == "dask":
        return _on_dask(request, scheduler, jobs, on_progress)
    with written(place, request.begun):
        state = state_of(place)
        # A run that was killed between its last shard and its manifest's place: the rest is renaming, whatever is asked for now.
        if state.staged:
            state.commit()
        files, finished = request.look()
        if finished is not None:
            return finished
        teller = Teller(on_progress, sum(file.size for file in files))
        plan = request.begin(files)
        teller.advance()
        try:
            return _execute(state_of(place), plan, jobs, teller)
        except IncompleteShards:
            # A run of the same plan beside this one, which no lock held off, may have finished all, and removed what this one had noted.
            if not state_of(place).is_finished:
                raise
            state_of(place).clear()
            return read_manifest(place)


def _check_engine(engine: str, scheduler: str | None) -> None:
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}: give one of {', '.join(ENGINES)}", options=("engine",))
    if scheduler is not None and engine != "dask":
        raise ConfigError(f"scheduler is {scheduler}: only the engine dask has one", options=("scheduler",))


def _stands_finished(folder: Path) -> bool:
    return (folder / MANIFEST).exists() and not (folder / FOLDER).exists()


def _execute(state: State, plan: Plan, jobs: int, teller: Teller) -> Manifest:
    """Run what is left of a plan, and finish."""
    return _finish(state, plan, run_tasks(state, plan, plan.tasks, jobs, teller), "with fewer --jobs")


def _on_dask(request: Request, scheduler: str | None, jobs: int, on_progress: OnProgress | None) -> Manifest:
    """Have a Dask cluster run what is left of what is asked for, and finish; several may do so at the same time."""
    plan = plan_request(request)
    try:
        if plan is not None:
            return _spread(
                request.out, plan, scheduler, jobs, Teller(on_progress, sum(file.size for file in plan.files))
            )
    except SpanmaskError:
        # Another one may have finished it, and removed what this one's workers had noted.
        if state_of(request.out).is_finished:
            return read_manifest(request.out)
        abandon(request.out, request.begun)
        raise
    return read_manifest(request.out)


def _spread(out: Out, plan: Plan, scheduler: str | None, jobs: int, teller: Teller) -> Manifest:
    teller.advance()
    with shared(out, plan.key) as state:
        ran = run_spread(state, plan, scheduler, jobs, teller)
        with finishing(out):
            if state.is_finished:
                return read_manifest(out)
            return _finish(state, plan, ran, "with more memory a worker")


def _finish(state: State, plan: Plan, ran: Ran, advice: str) -> Manifest:
    """Make a dataset of what was run. advice: how the command is run again where workers died."""
    if ran.failed:
        raise IncompleteShards(f"{ran.told_failed} {advice}", path=str(state.out))
    if ran.stopped:
        raise IncompleteShards(f"stopped with {len(ran.done):,} units done; the same call goes on", path=str(state.out))
    # Before anything is staged: rows of a file that changed on the way belong to no text that exists.
    check_unchanged_since(plan.files)
    return finish(state, plan, sorted(ran.done, key=unit_order))


def preview(
    inputs: Sequence[str | os.PathLike[str]], config: PreshardConfig, count: int
) -> tuple[list[tuple[int, Row]], Vocabulary, Inputs]:
    """Return the first ``count`` sequences with their numbers, their vocabulary, and what a run would read; raises as `preshard` does."""
    vocabulary = load_vocabulary(config.vocabulary)
    config, exclusions = with_lists(config)
    found: list[Inputs] = []
    # Standard input is the one thing that has to be written down to be read.
    with TemporaryDirectory(prefix="spanmask-") if STDIN in inputs else nullcontext("") as scratch:
        plan = make_plan(
            config,
            vocabulary,
            with_exclusions(find_files(inputs, Path(scratch), config.corpus, found.append), exclusions),
        )
        pipeline = Pipeline(plan, Path())
        blocks = (
            pipeline.mask(pipeline.sequences(documents)[0])[0]
            for unit in all_units(plan)
            for documents in pipeline.documents(unit)
        )
        rows = (row_of(block, number) for block in blocks for number in range(len(block)))
        return list(enumerate(islice(rows, count))), vocabulary, found[-1]
