"""Make again the shards of a finished dataset that are not what its manifest says, byte for byte."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from spanmask.engines.local import run_local
from spanmask.errors import CorpusError, MismatchError, ShardError, StorageError
from spanmask.escaping import first_of, short_digest
from spanmask.folders import refuse_links
from spanmask.presharding.destinations import Out, out_of
from spanmask.presharding.planning import Plan, jobs_of
from spanmask.presharding.replanning import changed_inputs, inputs_of, other_inputs, plan_again
from spanmask.presharding.state import FOLDER, RunState, locked
from spanmask.presharding.units import Pipeline, PipelineWork, Unit, all_units, useful_jobs
from spanmask.shard.manifest import MANIFEST, Manifest, read_manifest, require_current
from spanmask.shard.parts import SPLITS
from spanmask.shard.reader import OnRows, advancing
from spanmask.shard.rebuilding import rebuild_table
from spanmask.shard.table import SHARDS, ShardRecord
from spanmask.shard.verify import Finding, verify
from spanmask.storage import digest, make_folder, remove, reporting, sync_folder

_SCRATCH = "repair"
_AGAIN = "preshard the inputs again, with --overwrite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What `repair` did.

    remade: paths of the shards that were made again, and of their table if it was. refused: of those that could not be, with why.
    findings: what is wrong now, as `spanmask.verify` tells it. shards: of the dataset.
    """

    remade: tuple[str, ...]
    refused: tuple[Finding, ...]
    findings: tuple[Finding, ...]
    shards: int


def repair(
    folder: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]] = (),
    *,
    jobs: int | None = None,
    on_checked: OnRows | None = None,
    on_remade: OnRows | None = None,
    on_verified: OnRows | None = None,
) -> Repaired:
    """Make again the shards of a dataset whose bytes are not those of its manifest, and verify all of it.

    Only the work that a damaged shard came from is done again. A shard takes its name only where it has the SHA-256 that the manifest says;
    another stays as it is, and is told.

    Parameters
    ----------
    folder
        A finished dataset, or its URL: every shard is fetched twice then, to find what is damaged and to verify.
    inputs
        Its inputs in order; by default those that this user made it from.
    jobs
        Processes; by default one for every processor.
    on_checked
        Called with how many bytes of shards were compared with their digests, and all of them.
    on_remade
        Called with how many of the damaged shards were made again, and how many there are.
    on_verified
        Called with the rows verified, and all rows.

    Raises
    ------
    ConfigError
        The folder does not exist, or the inputs are not known here, or missing.
    MismatchError
        The dataset is of an earlier format, another process is writing it, or inputs are not what it was made from.
    CorpusError
        An input cannot be read.
    StorageError
        The file system refused.
    """
    out, jobs = out_of(folder), jobs_of(jobs)
    tables, problem = _restore_table(out)
    if problem is not None:
        return Repaired(remade=(), refused=(), findings=(problem,), shards=0)
    manifest = read_manifest(out)
    require_current(manifest, folder, "repairing it")
    damaged = _damaged(out, manifest, on_checked)
    remaking = _Remaking(out=out, digest=manifest.digest, wanted=damaged)
    if damaged:
        with _scratch(out) as scratch:
            _check_same(out, manifest.digest)
            plan = _plan(manifest, inputs)
            try:
                remaking.run(plan, jobs, scratch, on_remade)
            except CorpusError:
                _check_inputs(manifest, plan, damaged)
                raise
            _check_inputs(manifest, plan, remaking.of_other_rows)
    verdict = verify(out, on_progress=on_verified)
    remade = (*tables, *(record.path for record in damaged if record.path not in remaking.refused))
    refused = (Finding(path=path, message=why) for path, why in remaking.refused.items())
    return Repaired(remade=remade, refused=tuple(refused), findings=verdict.findings, shards=verdict.shards)


def _restore_table(out: Out) -> tuple[tuple[str, ...], Finding | None]:
    """Make the table of shards again if it alone is damaged; return its name then, and what is wrong with what says what the shards are."""
    try:
        read_manifest(out).vocabulary  # noqa: B018
    except ShardError as error:
        if error.path == SHARDS and isinstance(out, Path):
            with locked(out):
                if rebuild_table(out):
                    return (SHARDS,), None
        message = (
            f"{error.args[0]}; it says what the shards are, so nothing can be made again by it: restore it, or {_AGAIN}"
        )
        return (), Finding(path=error.path or MANIFEST, message=message)
    return (), None


def _damaged(out: Out, manifest: Manifest, on_checked: OnRows | None) -> list[ShardRecord]:
    splits = manifest.splits.values()
    advance = advancing(on_checked, sum(int(split.shards.counts("bytes").sum()) for split in splits))
    sizes = {} if isinstance(out, Path) else out.sizes()
    damaged = []
    for record in (record for split in splits for record in split.shards):
        if isinstance(out, Path):
            whole = _is_whole(out / record.path, record)
        else:
            whole = sizes.get(record.path) == record.bytes and out.digest(record.path) == record.sha256
        if not whole:
            damaged.append(record)
        advance(record.bytes)
    return damaged


def _is_whole(path: Path, record: ShardRecord) -> bool:
    # A disk that cannot read a shard any more has damaged it, too.
    with suppress(StorageError):
        there = path.is_file() and not path.is_symlink() and path.stat().st_size == record.bytes
        return there and digest(path) == record.sha256
    return False


@contextmanager
def _scratch(out: Out) -> Iterator[Path]:
    """Yield a folder for what is being made, which goes in the end: in a folder's state, whose lock is held; else one of this machine's."""
    if not isinstance(out, Path):
        with TemporaryDirectory(prefix="spanmask-") as scratch:
            yield Path(scratch)
        return
    refuse_links(*(out / name for name in (FOLDER, *SPLITS)))
    with locked(out):
        if RunState(out).is_under_way:
            raise MismatchError(f"{out}: a run that replaces it is under way; finish that first")
        remove(out / FOLDER / _SCRATCH)
        try:
            yield out / FOLDER / _SCRATCH
        finally:
            remove(out / FOLDER / _SCRATCH)


def _check_same(out: Out, digest: str) -> None:
    """Refuse a dataset that is another one by now: finding what is damaged takes hours, in which it may have been replaced.

    Raises
    ------
    MismatchError
        It is.
    """
    with suppress(ShardError):
        if read_manifest(out).digest == digest:
            return
    raise MismatchError(
        f"{out}: the dataset was replaced while it was looked at; nothing was put into the new one: repair again"
    )


def _plan(manifest: Manifest, inputs: Sequence[str | os.PathLike[str]]) -> Plan:
    """Return the dataset's plan, after holding names and sizes of the inputs against the manifest: what is made of them tells the rest.

    Raises
    ------
    MismatchError
        They are others, or changed.
    """
    files = inputs_of(manifest, inputs, "DIR")
    _refuse(other_inputs(manifest, files) or changed_inputs(manifest, files, ()))
    return plan_again(manifest, files)


def _check_inputs(manifest: Manifest, plan: Plan, damaged: Collection[ShardRecord]) -> None:
    """Refuse inputs that changed, of those that shards come from; all of each is read.

    Raises
    ------
    MismatchError
        One has.
    """
    tasks = {task for task, _ in map(_unit_of, damaged)}
    read = [part.file for task in plan.tasks if task.number in tasks for part in task.parts]
    _refuse(changed_inputs(manifest, plan.files, read))


def _refuse(changed: Sequence[Finding]) -> None:
    if changed:
        told = first_of([f"{one.path}: {one.message}" for one in changed], 3)
        raise MismatchError(
            f"{told}; nothing was touched but shards that came out as they were: restore the inputs, or {_AGAIN}"
        )


def _unit_of(record: ShardRecord) -> tuple[int, int]:
    """Return task and block of a shard, from its name."""
    task, block = Path(record.path).stem.removeprefix("shard-").split("_")[0].split("-")
    return int(task), int(block)


@dataclass(slots=True, kw_only=True)
class _Remaking:
    """Shards being made again. digest: of the dataset. refused: those that could not be, and why; alike: of them, not for their rows."""

    out: Out
    digest: str
    wanted: Sequence[ShardRecord]
    refused: dict[str, str] = field(default_factory=dict)
    alike: set[str] = field(default_factory=set)

    @property
    def of_other_rows(self) -> list[ShardRecord]:
        """Those that these inputs did not make as they were."""
        return [record for record in self.wanted if record.path in self.refused.keys() - self.alike]

    def run(self, plan: Plan, jobs: int, scratch: Path, on_remade: OnRows | None) -> None:
        """Make them, and put those that are the manifest's in their places."""
        advance, waiting = advancing(on_remade, len(self.wanted)), {record.path: record for record in self.wanted}
        self.refused = dict.fromkeys(waiting, "no work of the inputs makes it; they are not those it was made from")
        for split in SPLITS:
            make_folder(scratch / split)
        work = PipelineWork(plan=plan, root=os.fspath(scratch), run=Pipeline.run)
        for outcome in run_local(work, _units(plan, self.wanted), useful_jobs(plan.tasks, jobs), _tell_nobody):
            if outcome.result is None:
                self._give_up(outcome.unit)
                continue
            for made in outcome.result.records:
                if made.path in waiting:
                    self._place(scratch / made.path, made, waiting[made.path])
                    advance(1)
                (scratch / made.path).unlink(missing_ok=True)

    def _give_up(self, unit: Unit) -> None:
        made = ((record.path, *_unit_of(record)) for record in self.wanted)
        lost = [path for path, task, block in made if task == unit.task and (unit.raw is None or block == unit.block)]
        self.alike.update(lost)
        self.refused |= dict.fromkeys(lost, "the worker that made it again died on three tries; give fewer --jobs")

    def _place(self, path: Path, made: ShardRecord, wanted: ShardRecord) -> None:
        if made != wanted:
            self.refused[made.path] = _difference(made, wanted)
            if made.content_sha256 == wanted.content_sha256:
                self.alike.add(made.path)
            return
        if isinstance(self.out, Path):
            final = self.out / made.path
            with reporting(final, "write"):
                make_folder(final.parent)
                os.replace(path, final)
                sync_folder(final.parent)
        else:
            # No lock holds anybody off.
            _check_same(self.out, self.digest)
            self.out.publish(made.path, path.read_bytes())
        del self.refused[made.path]


def _difference(made: ShardRecord, wanted: ShardRecord) -> str:
    cause = "its rows are others: the inputs, or the spanmask or tokenizers that made it, are not those of then"
    if made.content_sha256 == wanted.content_sha256:
        cause = f"its rows are the same, in other bytes: another pyarrow than {pa.__version__} wrote it"
    return (
        f"made again it has SHA-256 {short_digest(made.sha256)}, the manifest says {short_digest(wanted.sha256)} ({cause}); "
        f"it was left as it is: repair with the versions that made it, or {_AGAIN}"
    )


def _tell_nobody(*_: int) -> None:
    return None


def _units(plan: Plan, damaged: Collection[ShardRecord]) -> Iterator[Unit]:
    """Yield the units that damaged shards come from: whole tasks, and of streamed ones no more than is read to get at the last."""
    wanted = defaultdict[int, set[int]](set)
    for number, block in map(_unit_of, damaged):
        wanted[number].add(block)
    for task in (task for task in plan.tasks if task.number in wanted):
        blocks = wanted[task.number]
        for unit in all_units(plan, tasks=(task,)):
            if not task.streamed or unit.block in blocks:
                blocks.discard(unit.block)
                yield unit
            if task.streamed and not blocks:
                break
