"""`find_overlap`: evaluation files and inputs flow in, the documents that share n-grams of words flow out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from spanmask.config import CorpusConfig
from spanmask.corpus.identity import places
from spanmask.corpus.inputs import InputFile, Inputs, Part
from spanmask.corpus.kept import with_kept
from spanmask.corpus.reading import divide, read_part
from spanmask.engines.local import Outcome, run_local
from spanmask.engines.workers import Report
from spanmask.errors import ConfigError, CorpusError, SpanmaskError
from spanmask.overlap.config import OverlapConfig
from spanmask.overlap.evaluations import read_evaluations
from spanmask.overlap.grams import Index, index_of
from spanmask.presharding.finding import Paths, each_of, find_files
from spanmask.presharding.locations import check_unchanged_since
from spanmask.presharding.planning import jobs_of
from spanmask.records import DocumentBlock

#: Bytes of an uncompressed file that are looked at as one unit.
_PART_BYTES = 64 << 20

#: A document, so that kernels are there.
_SMALL = DocumentBlock(
    text=np.frombuffer(b"a", np.uint8), document_offsets=np.array([0, 1]), document_ids=np.zeros(1, np.uint64)
)

#: Told how many bytes of text were looked at.
OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What a document shares with an evaluation file.

    file, place: the input, by its path, and where the document begins in it, a byte or row. id: its field's value, None where none was
    asked for. evaluation: by name. ngrams: places of the document at which an n-gram begins that a text of the file has, each counted as
    often as there are such texts. texts: those with which it shares one.
    """

    file: str
    place: int
    id: str | None
    evaluation: str
    ngrams: int
    texts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """An evaluation file. texts: how many it has. ngrams: how many different ones."""

    texts: int
    ngrams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What was found.

    n, least: as asked for. evaluations: by name. documents, text_bytes: what was looked at;
    skipped: documents that could not be read. found: by document in the order of the inputs, then by evaluation file.
    """

    n: int
    least: int
    evaluations: dict[str, Counted]
    inputs: Inputs
    documents: int
    skipped: int
    text_bytes: int
    found: tuple[Shared, ...]

    @property
    def ids(self) -> list[str]:
        """The identifiers of the documents found, each once, in order."""
        return list(dict.fromkeys(one.id for one in self.found if one.id is not None))


def find_overlap(
    evaluations: Paths,
    inputs: Paths,
    config: OverlapConfig | None = None,
    *,
    id_field: str | None = None,
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> Overlap:
    """Find the documents that share n-grams of words with evaluation files.

    A word is a run of ASCII letters and digits of the text in lower case; all else parts words. What is found is exact, and the same for
    any number of jobs.

    Parameters
    ----------
    evaluations
        Files, folders and globs, as `read_evaluations` has them.
    inputs
        What `preshard` reads.
    config
        When a document is found, and how inputs become documents; fields of those other than the text's are not looked at.
    id_field
        The field of documents that identifies them.
    jobs
        Processes; by default one for every processor this process may use.
    on_progress
        Called as the work goes on.

    Raises
    ------
    ConfigError
        An option or path cannot be used.
    CorpusError
        A file breaks its format, or a document that was found has no identifier that a list could hold.
    StorageError
        The file system refused.
    """
    config, jobs = config or OverlapConfig(), jobs_of(jobs)
    corpus = config.corpus.changed(
        keep=() if id_field is None else (id_field,), exclude=(), spans_field=None, words_field=None
    )
    with TemporaryDirectory(prefix="spanmask-") as scratch:
        found: list[Inputs] = []
        files = with_kept(find_files(each_of(inputs), Path(scratch), corpus, found.append), corpus)
        read = read_evaluations(each_of(evaluations), config.eval_field)
        index = index_of(read, config.n)
        if not index.distinct.any():
            raise ConfigError(f"no text of the evaluation files has {config.n} words; give a smaller n", options=("n",))
        names = tuple(one.name for one in read)
        work = _Work(index=index, names=names, config=corpus, least=config.least)
        parts = _run(work, files, jobs, on_progress or (lambda _: None))
        check_unchanged_since(files)
    counted = zip(read, index.texts.tolist(), index.distinct.tolist(), strict=True)
    return Overlap(
        n=config.n,
        least=config.least,
        evaluations={one.name: Counted(texts=texts, ngrams=ngrams) for one, texts, ngrams in counted},
        inputs=found[0],
        documents=sum(part.documents for part in parts),
        skipped=sum(part.skipped for part in parts),
        text_bytes=sum(part.text_bytes for part in parts),
        found=tuple(one for part in parts for one in part.found),
    )


class _Unit(NamedTuple):
    number: int
    part: Part


@dataclass(slots=True)
class _Looked:
    """What was looked at in a part, and found."""

    documents: int = 0
    skipped: int = 0
    text_bytes: int = 0
    found: list[Shared] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The work that engines hand to their workers: units flow in, `_Looked` flows out."""

    index: Index
    names: tuple[str, ...]
    config: CorpusConfig
    least: int

    def prepare(self) -> Callable[[_Unit, Report], _Looked]:
        """Return the function that runs units."""
        return self._look

    def warm_up(self) -> None:
        """See `spanmask.engines.workers.Work`."""
        self.index.match(_SMALL)

    def _look(self, unit: _Unit, report: Report) -> _Looked:
        looked = _Looked()
        for block in read_part(unit.part, self.config):
            looked.documents += len(block)
            looked.skipped += block.skipped
            size = int(block.document_offsets[-1] - block.document_offsets[0])
            looked.text_bytes += size
            looked.found += self._found(unit.part.file.path, block)
            report(size)
        return looked

    def _found(self, path: str, block: DocumentBlock) -> Iterator[Shared]:
        shared, texts = self.index.match(block)
        stand = places(block.document_ids)
        for document, number in np.argwhere(shared >= self.least).tolist():
            yield Shared(
                file=path,
                place=int(stand[document]),
                id=_identifier(block, document, path, int(stand[document])),
                evaluation=self.names[number],
                ngrams=int(shared[document, number]),
                texts=int(texts[document, number]),
            )


def _identifier(block: DocumentBlock, document: int, path: str, place: int) -> str | None:
    """Return a document's identifier as `exclude` compares it, None where no field was asked for."""
    if block.kept is None:
        return None
    column = block.kept.column(0)
    # As the lists of excluded documents are compared: numbers as their digits.
    value: str | None = column.slice(document, 1).cast(pa.large_string())[0].as_py()
    if value is None or not value or value != value.strip() or "\n" in value or value.startswith("\ufeff"):
        raise CorpusError(
            f"the document at {place} is one to leave out, and its {block.kept.schema.names[0]} is {value!r:.100}, which no list "
            "of one value a line can hold; name another field",
            path=path,
        )
    return value


def _run(work: _Work, files: Sequence[InputFile], jobs: int, on_progress: OnProgress) -> list[_Looked]:
    """Have all parts of the files looked at; return what came of them, in order."""
    units = [
        _Unit(number, part) for number, part in enumerate(part for file in files for part in _parts(file, work.config))
    ]
    done = 0

    def report(size: int) -> None:
        nonlocal done
        done += size
        on_progress(done)

    outcomes = run_local(work, iter(units), max(min(jobs, len(units)), 1), report)
    return [looked for _, looked in sorted(map(_finished, outcomes), key=itemgetter(0))]


def _parts(file: InputFile, config: CorpusConfig) -> list[Part]:
    if file.is_line_stream:
        return [Part(file=file, start=0, stop=file.size)]
    return divide(file, config, _PART_BYTES)


def _finished(outcome: Outcome) -> tuple[int, _Looked]:
    if outcome.result is None:
        raise SpanmaskError(
            f"{outcome.unit.part.file.path}: its worker died three times, perhaps for want of memory; run again with fewer --jobs"
        )
    return outcome.unit.number, outcome.result
