"""The text that a vocabulary is made of, read as often as needed: files flow in, documents and counts of characters flow out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from spanmask.config import CorpusConfig
from spanmask.corpus.inputs import Inputs, Part
from spanmask.corpus.reading import divide, read_part
from spanmask.errors import CorpusError
from spanmask.presharding.finding import STDIN, Paths, each_of, find_files
from spanmask.presharding.locations import check_unchanged_since
from spanmask.presharding.unigrams import GROWTH
from spanmask.records import DocumentBlock, Offsets

#: Characters of a text that trainers are given at once, and of a word: none is made for one of a megabyte.
_LONGEST_TEXT, _LONGEST_WORD = 1 << 20, 256
#: Numbers of code points.
_POINTS = 0x110000


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is being done, and how many bytes of files are read of all; total is None while nothing is read."""

    doing: str
    done: int = 0
    total: int | None = None


#: Told of progress after every few MiB of text.
OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Amount:
    """How much text was read: documents that hold some, those left out, and bytes."""

    documents: int = 0
    skipped: int = 0
    text_bytes: int = 0


class Corpus:
    """The documents of some files, in order."""

    def __init__(self, inputs: Inputs, config: CorpusConfig, on_progress: OnProgress | None) -> None:
        self.inputs = inputs
        self._config = config
        self._on_progress = on_progress or (lambda _: None)

    def tell(self, doing: str) -> None:
        """Tell that something else is being done."""
        self._on_progress(Progress(doing=doing))

    def blocks(self, doing: str) -> Iterator[DocumentBlock]:
        """Yield the documents in blocks of about 4 MiB.

        Raises
        ------
        CorpusError
            A document breaks its format, unless the configuration skips those.
        StorageError
            The file system refused, or a file is not what it was when it was found.
        """
        total, before = sum(file.size for file in self.inputs.files), 0
        for file in self.inputs.files:
            growth, read = 1 if file.compression is None else GROWTH, 0
            parts = (
                [Part(file=file, start=0, stop=file.size)] if file.has_lines else divide(file, self._config, 1 << 62)
            )
            for block in (block for part in parts for block in read_part(part, self._config)):
                yield block
                read += block.source_bytes
                done = before + min(read // growth, file.size)
                self._on_progress(Progress(doing=doing, done=done, total=total))
            before += file.size
        check_unchanged_since(self.inputs.files)

    def count(self) -> tuple[Amount, Mapping[str, int]]:
        """Read all once; return how much there is, and how often each character stands in it.

        Raises
        ------
        CorpusError
            There is no text, beside what `blocks` raises.
        """
        amount, counts = Amount(), np.zeros(_POINTS, np.int64)
        for block in self.blocks("counting characters"):
            text = _text_of(block)
            amount.documents += int((np.diff(block.document_offsets) > 0).sum())
            amount.skipped += block.skipped
            amount.text_bytes += len(text)
            counts += _characters(text)
        if not sum(count for character, count in _by_character(counts).items() if not character.isspace()):
            files = ", ".join(file.path for file in self.inputs.files[:3])
            raise CorpusError(
                f"no text to make a vocabulary of: {amount.documents:,} documents were read, {amount.skipped:,} left out; give others",
                path=files,
            )
        return amount, _by_character(counts)

    def texts(self, left: Sequence[str] = ()) -> Iterator[str]:
        """Yield the documents as texts for trainers, long ones in parts. left: characters to read as spaces."""
        table = dict.fromkeys(map(ord, left), " ")
        for block in self.blocks("reading words"):
            for document in _documents(block):
                yield from broken_up(document.translate(table) if table and not document.isascii() else document)


@contextmanager
def found_corpus(inputs: Paths, config: CorpusConfig, on_progress: OnProgress | None) -> Iterator[Corpus]:
    """Find the files of a corpus; while the body runs, what came through standard input is kept in a temporary folder.

    Raises
    ------
    ConfigError
        A path cannot be used.
    StorageError
        The file system refused.
    """
    paths, found = each_of(inputs), list[Inputs]()
    with TemporaryDirectory(prefix="spanmask-") if STDIN in paths else nullcontext("") as scratch:
        find_files(paths, Path(scratch), config, found.append)
        yield Corpus(found[0], config, on_progress)


def broken_up(text: str, *, most: int = _LONGEST_TEXT, longest: int = _LONGEST_WORD) -> Iterator[str]:
    """Yield a text in parts of at most ``most`` characters, cut before white space; words of more than ``longest`` get spaces inside."""
    start = 0
    while start < len(text):
        stop = start + most
        if stop < len(text):
            space = max(text.rfind(" ", start + 1, stop), text.rfind("\n", start + 1, stop))
            stop = space if space > 0 else stop
        yield _with_spaces(text[start:stop], longest)
        start = stop


def _with_spaces(text: str, longest: int) -> str:
    words = text.split()
    if all(len(word) <= longest for word in words):
        return text
    return " ".join(word[at : at + longest] for word in words for at in range(0, len(word), longest))


def _text_of(block: DocumentBlock) -> bytes:
    first, last = block.document_offsets[[0, -1]].tolist()
    return block.text[first:last].tobytes()


def _documents(block: DocumentBlock) -> Iterator[str]:
    text, bounds = block.text, block.document_offsets.tolist()
    for start, end in pairwise(bounds):
        # As tokenizing has them: what readers leave behind a document is none of it.
        yield text[start:end].tobytes().decode().rstrip()


def _characters(text: bytes) -> Offsets:
    """Return how often each code point stands in a text, (0x110000,)."""
    points = np.frombuffer(
        text if text.isascii() else text.decode().encode("utf-32-le"), "u1" if text.isascii() else "<u4"
    )
    return np.bincount(points, minlength=_POINTS)


def _by_character(counts: Offsets) -> dict[str, int]:
    return {chr(point): int(counts[point]) for point in np.flatnonzero(counts).tolist()}
