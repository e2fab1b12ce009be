"""`annotate`: inputs flow in, one file of JSON lines with ranges flows out, whole or not at all, in one run or several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from spanmask.annotating.config import AnnotateConfig
from spanmask.annotating.parts import Parts, state_folder
from spanmask.annotating.pipeline import Found, Pipeline, quietly
from spanmask.annotating.record import Annotated, Tally, finished, record_bytes, record_path
from spanmask.annotating.units import Amount, Unit, units_of
from spanmask.config import Format, fingerprint
from spanmask.corpus.exclusion import read_exclusions, with_exclusions
from spanmask.corpus.inputs import InputFile, Inputs
from spanmask.corpus.kept import with_kept
from spanmask.engines.local import Outcome, run_local
from spanmask.engines.workers import Report
from spanmask.errors import ConfigError, SpanmaskError
from spanmask.exporting.formats import JSONL_SUFFIXES
from spanmask.folders import made_for, sole_writer
from spanmask.presharding.finding import Paths, each_of, find_files
from spanmask.presharding.locations import check_unchanged_since
from spanmask.presharding.plan_file import stated_files
from spanmask.presharding.planning import jobs_of
from spanmask.storage import refuse_url, remove

#: Told how many documents, and bytes of text, are done.
OnProgress = Callable[[int, int], None]


def annotate(  # noqa: PLR0913 - the one door
    inputs: Paths,
    out: str | os.PathLike[str],
    config: AnnotateConfig,
    *,
    jobs: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[Annotated, Inputs]:
    """Write texts with the ranges that a spaCy pipeline finds in them, as JSON lines for `preshard` with scheme ``annotated``.

    The bytes written depend on inputs, configuration, pipeline and libraries alone, not on the number of jobs, and not on kills.

    Parameters
    ----------
    inputs
        What `preshard` reads.
    out
        File to write, whose name ends in .jsonl, .jsonl.gz or .jsonl.zst.
    config
        Everything else that decides the bytes.
    jobs
        Processes; by default one for every processor this process may use. Each has the pipeline in memory.
    resume
        Whether to go on with the run that was begun for ``out``, if one was.
    overwrite
        Whether what stands in ``out``, or another run that was begun for it, is replaced.
    on_progress
        Called as the work goes on.

    Returns
    -------
    Annotated and Inputs
        What was written, as its record beside ``out`` has it (``_NAME.json``), and what was found to read.

    Raises
    ------
    ConfigError
        An option, path or pipeline cannot be used, or spaCy is not installed.
    MismatchError
        Another run was begun for ``out``, or another process is writing it.
    CorpusError
        Text that cannot be read.
    StorageError
        The file system refused.
    SpanmaskError
        The pipeline failed, or a worker died three times; what was done stays, for ``resume``.
    """
    place, jobs = _place(out), jobs_of(jobs)
    pipeline = Pipeline.load(config)
    folder = state_folder(place)
    with made_for(place, folder), sole_writer(place, folder):
        parts = Parts(place)
        try:
            files, found = _files(inputs, folder, place, config)
            identity = _identity(config, pipeline, files)
            known = _begin(parts, identity, resume=resume, overwrite=overwrite)
            if known is not None:
                parts.clear()
                return known, found
            run = _Run(parts, config, files, _Work(config, pipeline), jobs, on_progress or _ignore)
            annotated = run.annotated(identity)
            parts.save_record(record_path(place), record_bytes(annotated))
            parts.clear()
            return annotated, found
        finally:
            if not parts.count():
                with suppress(OSError, SpanmaskError):
                    remove(folder)


def _ignore(_documents: int, _size: int) -> None:
    return None


def _place(out: str | os.PathLike[str]) -> Path:
    refuse_url(out, "out")
    place = Path(out).absolute()
    if not place.name.endswith(tuple(JSONL_SUFFIXES)):
        raise ConfigError(f"{out}: give a file whose name ends in {', '.join(JSONL_SUFFIXES)}")
    if place.is_dir() or place.is_symlink():
        raise ConfigError(f"{out}: a folder or a link, expected a file, or nothing; give another name")
    return place


def _files(inputs: Paths, folder: Path, place: Path, config: AnnotateConfig) -> tuple[tuple[InputFile, ...], Inputs]:
    lists, found = read_exclusions(config.corpus), list[Inputs]()
    files = find_files(each_of(inputs), folder, config.corpus, found.append)
    for file in files:
        if Path(file.path) == place:
            raise ConfigError(f"{file.path}: an input, and the file to be written; choose another --out")
        if file.format is Format.TEXT and config.corpus.named:
            raise ConfigError(
                f"{file.path}: plain text has no field {config.corpus.named[0]!r}; give JSONL, CSV, Parquet or Arrow"
            )
    return with_kept(with_exclusions(files, lists), config.corpus), found[0]


def _identity(config: AnnotateConfig, pipeline: Pipeline, files: Sequence[InputFile]) -> dict[str, Any]:
    """Return what two runs must share for one to go on with the other's work."""
    lists = [one.stated for one in files[0].exclusions]
    options = config.changed(pipeline=f"{config.pipeline.partition(':')[0]}:{Path(config.model).name}").to_json()
    return {
        "options": options | {"corpus": options["corpus"] | {"exclude": lists}},
        "inputs": [{name: item[name] for name in ("name", "size", "mtime_ns", "pin")} for item in stated_files(files)],
        "pipeline": pipeline.describe(),
        # Of equal rows another one may make other bytes.
        "pyarrow": pa.__version__,
    }


def _begin(parts: Parts, identity: dict[str, Any], *, resume: bool, overwrite: bool) -> Annotated | None:
    """Begin a run or go on with one, as is asked for and allowed; return the record where all was done before."""
    begun, out = parts.plan(), parts.out
    if begun is not None and parts.count() and not overwrite:
        parts.require_same(identity)
        if not resume:
            raise ConfigError(
                f"{out}: a run was begun there, and {parts.count():,} units of it are done; go on with it (--resume), or begin anew with "
                "--overwrite"
            )
    same = begun is not None and begun.get("identity") == identity
    if resume and same:
        parts.go_on()
        return None
    known = finished(out, fingerprint(identity)) if resume else None
    if known is None:
        if out.exists() and not overwrite:
            raise ConfigError(f"{out}: something stands there; choose another --out, or give --overwrite")
        parts.begin({"identity": identity, "replace": overwrite})
    return known


@dataclass(frozen=True)
class _Work:
    """The work that engines hand to their workers: units flow in, what was found in them flows out."""

    config: AnnotateConfig
    pipeline: Pipeline | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the pipeline, which is loaded anew sooner."""
        return _Work, (self.config,)

    @cached_property
    def _pipeline(self) -> Pipeline:
        return self.pipeline or quietly(self.config)

    def prepare(self) -> Callable[[Unit, Report], Found]:
        """Return the function that runs units."""
        return self._find

    def warm_up(self) -> None:
        """See `spanmask.engines.workers.Work`."""

    def _find(self, unit: Unit, _: Report) -> Found:
        try:
            return self._pipeline.find(unit.texts)
        except ConfigError as error:
            raise ConfigError(f"{unit.where}: {error}") from error
        except Exception as error:
            reason = " ".join(str(error).split())
            raise SpanmaskError(
                f"{unit.where}: {self.config.pipeline} failed ({type(error).__name__}: {reason:.300}); leave the document out (--exclude), "
                "then --resume, or give another pipeline"
            ) from error


class _Run:
    """One run: which units are to be done, and what is done with what was found in them."""

    def __init__(
        self,
        parts: Parts,
        config: AnnotateConfig,
        files: tuple[InputFile, ...],
        work: _Work,
        jobs: int,
        on_progress: OnProgress,
    ) -> None:
        self._parts, self._config, self._files, self._work = parts, config, files, work
        self._jobs, self._on_progress = jobs, on_progress
        self._compression = next(how for end, how in JSONL_SUFFIXES.items() if parts.out.name.endswith(end))
        self._amount, self._tally = Amount(), Tally()
        self._units = self._documents = self._text_bytes = 0

    def annotated(self, identity: dict[str, Any]) -> Annotated:
        """Do what is not done yet, publish the output, and return its record."""
        for outcome in run_local(self._work, self._left(), self._jobs, lambda: None):
            self._save(outcome)
        check_unchanged_since(self._files)
        size, sha256 = self._parts.join(self._units, replace=bool((self._parts.plan() or {}).get("replace")))
        return Annotated(
            bytes=size,
            sha256=sha256,
            pipeline=identity["pipeline"],
            options=identity["options"],
            inputs=identity["inputs"],
            identity=fingerprint(identity),
            **asdict(self._amount),
            **self._tally.to_json(),
        )

    def _left(self) -> Iterator[Unit]:
        """Yield the units that are not done, and count those that are."""
        for unit in units_of(self._files, self._config, self._amount):
            self._units += 1
            counts = self._parts.counts(unit)
            if counts is None:
                yield unit
            else:
                self._done(unit, counts)

    def _save(self, outcome: Outcome) -> None:
        unit: Unit = outcome.unit
        found: Found | None = outcome.result
        if found is None:
            raise SpanmaskError(
                f"{unit.where}: its worker died three times, perhaps for want of memory; run again with --resume and fewer --jobs, or a "
                "smaller --max-characters"
            )
        data = unit.lines(found.ranges, self._config)
        counts = found.tally.to_json()
        self._parts.save(unit, self._compressed(data), counts)
        self._done(unit, counts)

    def _compressed(self, data: bytes) -> bytes:
        if self._compression is None:
            return data
        compressed: bytes = pa.Codec(self._compression).compress(data, asbytes=True)
        return compressed

    def _done(self, unit: Unit, counts: dict[str, Any]) -> None:
        self._tally.add(counts)
        self._documents += len(unit.texts)
        self._text_bytes += unit.text_bytes
        self._on_progress(self._documents, self._text_bytes)
