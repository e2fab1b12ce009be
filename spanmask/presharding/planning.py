"""What a run will do, fixed by inputs and configuration alone: never by jobs, engine or time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.asking import in_order
from spanmask.collector import held_off
from spanmask.config import (
    CorpusConfig,
    Format,
    PreshardConfig,
    RandomIds,
    Segmentation,
    canonical_json,
)
from spanmask.corpus.inputs import InputFile, Part
from spanmask.corpus.kept import with_kept
from spanmask.corpus.reading import divide
from spanmask.corpus.streams import open_stream
from spanmask.errors import ConfigError, CorpusError
from spanmask.presharding.unigrams import count_unigrams, text_bytes
from spanmask.shard.manifest import MANIFEST_LIMIT, describe_vocabulary
from spanmask.vocab import Vocabulary

#: Bytes that a manifest may need for all but inputs and vocabulary: counts, above all those of unigrams.
_MANIFEST_REST = 8 << 20
#: Inputs that cannot be read, as far as they are told by name.
_BAD_TOLD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Parts of inputs that are read one after another; a streamed one is a large compressed file, handed on in blocks.

    disk_bytes: about how many input bytes on disk it stands for.
    """

    number: int
    parts: tuple[Part, ...]
    streamed: bool
    disk_bytes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Everything workers need: configuration, vocabulary, tasks, and unigram counts where they are used.

    unigram: (V,) counts of ids. out: the dataset's folder, where it is to be written. writer: the pyarrow of the process that made or read
    it, whose bytes those of others may not be. key: of what a run shares with those that may go on with its work, once it is saved.
    """

    config: PreshardConfig
    vocabulary: Vocabulary
    files: tuple[InputFile, ...]
    tasks: tuple[Task, ...]
    unigram: npt.NDArray[np.int64] | None
    out: str = ""
    writer: str = pa.__version__
    key: str = ""

    @property
    def words_stored(self) -> bool:
        """Whether rows carry their word starts: they do where the corpus supplies them, or the ids do not tell."""
        return self.config.corpus.words_field is not None or not self.vocabulary.tells_words

    @property
    def lines_wanted(self) -> bool:
        """Whether segments end at lines."""
        return self.config.sequence.segmentation is not Segmentation.FILL

    @property
    def paired(self) -> bool:
        """Whether rows are pairs of segments."""
        return self.config.sequence.segmentation is Segmentation.PAIRS

    def chosen(self, numbers: Iterable[int]) -> tuple[Task, ...]:
        """Return tasks by number.

        Raises
        ------
        ConfigError
            There is none of some number.
        """
        numbers = list(numbers)
        for number in numbers:
            if not 0 <= number < len(self.tasks):
                raise ConfigError(f"task {number}: the plan has {len(self.tasks)} tasks, from 0 on")
        return tuple(self.tasks[number] for number in numbers)


@held_off()
def make_plan(
    config: PreshardConfig,
    vocabulary: Vocabulary,
    files: Sequence[InputFile],
    known: npt.NDArray[np.int64] | None = None,
) -> Plan:
    """Divide the inputs into tasks, and count unigrams where they are used. known: their counts, from a manifest.

    Raises
    ------
    CorpusError
        An input is not what it claims, or no input has a field to keep.
    ConfigError
        A field that the configuration names cannot be read from this kind of input, or has two types; or there are more inputs than a
        manifest holds.
    """
    _check_fields(config.corpus, files)
    _check_manifest(files, vocabulary, config.output.shard_bytes)
    files = with_kept(files, config.corpus)
    tasks = tuple(_tasks(files, config))
    unigram = None
    if config.masking.random_ids is RandomIds.UNIGRAM:
        unigram = count_unigrams(files, config.corpus, vocabulary) if known is None else known
    return Plan(config=config, vocabulary=vocabulary, files=tuple(files), tasks=tasks, unigram=unigram)


def _check_fields(config: CorpusConfig, files: Sequence[InputFile]) -> None:
    fields = [*filter(None, (config.spans_field, config.words_field)), *config.named]
    text = next((file for file in files if file.format is Format.TEXT), None)
    if text is not None and fields:
        raise ConfigError(f"{text.path}: plain text has no field {fields[0]!r}; give JSONL, CSV, Parquet or Arrow")


def _check_manifest(files: Sequence[InputFile], vocabulary: Vocabulary, step: int) -> None:
    """Refuse a run at whose end no reader would take the manifest: it names every input, and may hold the vocabulary. step: of ranges."""
    inputs = [
        {"index": file.index, "name": file.name, "size": file.size, "sha256": "0" * 64}
        | ({"range_bytes": step} if file.size > step else {})
        for file in files
    ]
    size = len(canonical_json([inputs, describe_vocabulary(vocabulary)])) + _MANIFEST_REST
    if size > MANIFEST_LIMIT:
        raise ConfigError(
            f"{len(files):,} inputs and the vocabulary make a manifest of {size >> 20} MiB, more than {MANIFEST_LIMIT >> 20}: "
            "join small files together"
        )


class _Weighted(NamedTuple):
    """A part with about how much text it holds, its bytes on disk, and whether it is streamed by itself."""

    part: Part
    text_bytes: int
    disk_bytes: int
    streamed: bool


def _tasks(files: Sequence[InputFile], config: PreshardConfig) -> Iterator[Task]:
    """Yield tasks: streamed parts alone, others joined up to ``shard_bytes`` of text."""
    target = config.output.shard_bytes
    number, joined, size = 0, list[_Weighted](), 0
    for item in _weighted_parts(files, config.corpus, target):
        if joined and (item.streamed or joined[0].streamed or size + item.text_bytes > target):
            yield _task(number, joined)
            number, joined, size = number + 1, [], 0
        joined.append(item)
        size += item.text_bytes
    if joined:
        yield _task(number, joined)


def _task(number: int, items: Sequence[_Weighted]) -> Task:
    return Task(
        number=number,
        parts=tuple(item.part for item in items),
        streamed=items[0].streamed,
        disk_bytes=sum(item.disk_bytes for item in items),
    )


def _weighted_parts(files: Sequence[InputFile], config: CorpusConfig, target: int) -> Iterator[_Weighted]:
    """Yield the parts of all files; of those that are not what they claim, as far as that shows here, all are told."""
    bad = list[CorpusError]()
    for found in in_order(lambda file: _parts_or_refusal(file, config, target), files, _is_looked_at):
        if isinstance(found, CorpusError):
            bad.append(found)
        else:
            yield from found
    if len(bad) > 1:
        told = "\n".join(map(str, bad[:_BAD_TOLD]))
        raise CorpusError(f"{len(bad):,} inputs cannot be read; correct them, or leave them out:\n{told}")
    if bad:
        raise bad[0]


def _is_looked_at(file: InputFile) -> bool:
    """Tell whether an object is asked for its head or its footer. Not of Arrow, which is fetched whole: one after another."""
    return file.pin is not None and (file.is_delimited or file.format is Format.PARQUET)


def _parts_or_refusal(file: InputFile, config: CorpusConfig, target: int) -> list[_Weighted] | CorpusError:
    try:
        return list(_parts_of(file, config, target))
    except CorpusError as error:
        return error


def _parts_of(file: InputFile, config: CorpusConfig, target: int) -> Iterator[_Weighted]:
    if file.is_line_stream:
        # Of an object that is told when it is read: planning asks a store for no more than its listing.
        if file.pin is None:
            with open_stream(file) as stream:
                stream.read(1)
        growth = text_bytes(file)
        yield _Weighted(Part(file=file, start=0, stop=file.size), growth, file.size, growth > target)
        return
    parts = divide(file, config, target)
    for part in parts:
        text = target if len(parts) > 1 else min(text_bytes(file), target)
        yield _Weighted(part, text, file.size // len(parts), False)


def default_jobs() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jobs_of(jobs: int | None, *, waiting: bool = False) -> int:
    """Return how many processes are asked for, by default one for every processor.

    waiting: whether they wait for an object store now and then, each while a shard is on its way: by default there are then some more.

    Raises
    ------
    ConfigError
        Fewer than one.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs}: give 1 or more")
    known = default_jobs()
    return jobs or known + (max(1, known // 4) if waiting else 0)
