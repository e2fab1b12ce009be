"""`preshard`: plan the work, have it run, put the finished dataset in its place. `preview`: its first rows, without writing anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spanmask.blocks import row_of
from spanmask.config import PreshardConfig
from spanmask.corpus.exclusion import read_exclusions, with_exclusions
from spanmask.corpus.inputs import Exclusion, InputFile, Inputs
from spanmask.engines.local import TRIES, run_local
from spanmask.errors import CorpusError, IncompleteShards, MismatchError
from spanmask.folders import made_for
from spanmask.presharding.assembling import assemble
from spanmask.presharding.existing import check_folder, differences, finished_dataset, refusal
from spanmask.presharding.finding import STDIN, OnInputs, Paths, each_of, find_files
from spanmask.presharding.locations import check_unchanged_since, remember_inputs, remember_lists
from spanmask.presharding.planning import Plan, jobs_of, make_plan
from spanmask.presharding.receipt import Receipt
from spanmask.presharding.state import FOLDER, RunState, locked
from spanmask.presharding.units import Pipeline, PipelineWork, all_units, unit_order, useful_jobs
from spanmask.records import Row
from spanmask.shard.card import dataset_card
from spanmask.shard.manifest import Manifest
from spanmask.storage import refuse_url
from spanmask.vocab import Vocabulary, load_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    disk_bytes of disk_total input bytes; text_bytes decompressed and tokens since it began; units done before it. through_library: why text
    goes through the `tokenizers` library, where it does. preparing: whether kernels are loaded, or compiled, which takes a while.
    """

    disk_total: int
    disk_bytes: int = 0
    text_bytes: int = 0
    tokens: int = 0
    shards: int = 0
    resumed_disk_bytes: int = 0
    through_library: str | None = None
    preparing: bool = False


#: Told of progress after every few MiB of text.
OnProgress = Callable[[Progress], None]


def preshard(  # noqa: PLR0913 - the one door
    inputs: Paths,
    out: str | os.PathLike[str],
    config: PreshardConfig,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    rehash: bool = False,
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
        Folder to write; it must be new, empty, or one that the same call wrote.
    config
        Everything that decides the bytes.
    jobs
        Processes; by default one for every processor this process may use.
    overwrite
        Whether another dataset, or another run, in ``out`` is replaced, once the new one is complete.
    rehash
        Whether a finished dataset's inputs are read again to see that they are the same, rather than trusted by size and time.
    on_progress
        Called with `Progress` as the work goes on.
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
        Some shards failed after three tries; the others are complete, and the same call goes on.
    """
    refuse_url(out, "out")
    folder = Path(out).absolute()
    jobs = jobs_of(jobs)
    check_folder(folder)
    paths = each_of(inputs)
    config, exclusions = _with_lists(config)
    on_inputs = on_inputs or _ignore
    if STDIN not in paths and not (folder / FOLDER).exists():
        # Looked at without a lock, so that a finished dataset may be read-only.
        files = find_files(paths, folder, config.corpus, on_inputs)
        finished = finished_dataset(folder, config, files, overwrite=overwrite, rehash=rehash)
        if finished is not None:
            return finished
    with made_for(folder, folder), locked(folder):
        state = RunState(folder)
        # A run that was killed between its last shard and its manifest's place: the rest is renaming, whatever is asked for now.
        if state.staged:
            state.commit()
        files = find_files(paths, folder, config.corpus, on_inputs)
        finished = finished_dataset(folder, config, files, overwrite=overwrite, rehash=rehash)
        if finished is not None:
            return finished
        progress = Progress(disk_total=sum(file.size for file in files))
        files = with_exclusions(files, exclusions)
        return _Run(RunState(folder), config, files, jobs, overwrite, on_progress, progress).execute()


def preview(
    inputs: Sequence[str | os.PathLike[str]], config: PreshardConfig, count: int
) -> tuple[list[tuple[int, Row]], Vocabulary, Inputs]:
    """Return the first ``count`` sequences with their numbers, their vocabulary, and what a run would read; raises as `preshard` does."""
    vocabulary = load_vocabulary(config.vocabulary)
    config, exclusions = _with_lists(config)
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


def _with_lists(config: PreshardConfig) -> tuple[PreshardConfig, tuple[Exclusion, ...]]:
    """Read the lists of documents to exclude; return the configuration as it is stored, which has their digests, and the lists."""
    lists = read_exclusions(config.corpus)
    return replace(config, corpus=replace(config.corpus, exclude=tuple(one.stated for one in lists))), lists


def _ignore(_: Inputs) -> None:
    return None


@dataclass(slots=True)
class _Run:
    """One run, under the lock of its folder."""

    state: RunState
    config: PreshardConfig
    files: tuple[InputFile, ...]
    jobs: int
    overwrite: bool
    on_progress: OnProgress | None
    progress: Progress

    def execute(self) -> Manifest:
        """Resume or begin, run what is left, and finish."""
        vocabulary = load_vocabulary(self.config.vocabulary)
        plan = make_plan(self.config, vocabulary, self.files)
        self._begin(plan.to_json())
        self._advance(0, 0, 0)
        done = set[str]()
        failed = self._run_units(plan, done)
        if failed:
            raise IncompleteShards(
                f"{len(failed)} units failed after three tries ({', '.join(failed[:5])}): their worker died, perhaps for want of memory; "
                "the others are complete, run the same command again with fewer --jobs",
                path=str(self.state.out),
            )
        # Before anything is staged: rows of a file that changed on the way belong to no text that exists.
        check_unchanged_since(self.files)
        # Read again one by one: receipts of many units are more than memory need hold.
        receipts = map(self.state.receipt, sorted(done, key=unit_order))
        try:
            manifest, skipped = assemble(plan, receipts)
        except CorpusError:
            # All was done and nothing came of it: a later run would have nothing to go on from, and be refused with other options.
            self.state.discard()
            raise
        self.state.stage(manifest, dataset_card(manifest), skipped)
        self.state.commit()
        remember_inputs(manifest, self.files)
        remember_lists(manifest, self.files)
        return manifest

    def _begin(self, plan: dict[str, Any]) -> None:
        saved = self.state.saved_plan()
        if saved != plan:
            # A plan without a receipt has nothing to lose: the run failed or was killed before its first shard.
            if saved is not None and self.state.has_receipts and not self.overwrite:
                raise MismatchError(refusal(self.state.out, "an unfinished run", differences(saved, plan)))
            self.state.discard()
        self.state.start(plan)

    def _run_units(self, plan: Plan, done: set[str]) -> list[str]:
        """Run the units that are not done yet, adding the names of all that are; return the names of those that failed."""
        for known in self.state.receipts():
            self._advance(known.disk_bytes, 0, 0, len(known.records), resumed=True)
            self._note(known)
            done.add(known.unit)
        work = PipelineWork(plan=plan, root=str(self.state.root), run=Pipeline.run)
        failed = []
        units, jobs = all_units(plan, frozenset(done)), useful_jobs(plan, self.jobs)
        for outcome in run_local(work, units, jobs, self._advance, self._preparing):
            receipt: Receipt | None = outcome.result
            if receipt is None:
                failed.append(outcome.unit.name)
                self.state.save_failure(outcome.unit.name, f"its process died on {TRIES} tries")
                continue
            self.state.save_receipt(receipt)
            done.add(receipt.unit)
            self._note(receipt)
            self._advance(0, 0, 0, len(receipt.records))
        return failed

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        self._tell(preparing=True)
        yield
        self._tell(preparing=False)

    def _note(self, receipt: Receipt) -> None:
        self.progress = replace(self.progress, through_library=receipt.through_library)

    def _advance(
        self, disk_bytes: int, text_bytes: int, tokens: int, shards: int = 0, *, resumed: bool = False
    ) -> None:
        progress = self.progress
        self._tell(
            disk_bytes=progress.disk_bytes + disk_bytes,
            text_bytes=progress.text_bytes + text_bytes,
            tokens=progress.tokens + tokens,
            shards=progress.shards + shards,
            resumed_disk_bytes=progress.resumed_disk_bytes + (disk_bytes if resumed else 0),
        )

    def _tell(self, **changes: Any) -> None:
        self.progress = replace(self.progress, **changes)
        if self.on_progress is not None:
            self.on_progress(self.progress)
