"""Read tagged sentences: a file of columns flows in, `Tagged` flows out.

What columns are says `spanmask.probes.scores.columns`. A file may be compressed. Whichever scheme its tags are, spans are read by the rules
that score them (`spanmask.probes.scores.ner`), so that an I behind O begins one in IOB2 too, and the tags are written anew in IOB2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike, fspath

from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.probes.faults import Faults
from spanmask.probes.ner.config import TagScheme
from spanmask.probes.ner.tags import ALLOWED, irregular, scheme_of, tags_of
from spanmask.probes.opening import text_of
from spanmask.probes.scores.columns import Columns, Fault, FaultError, Sentence, part_columns
from spanmask.probes.scores.ner import spans_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A file's sentences, their tags in IOB2.

    scheme: what its own tags are, or were said to be. irregular: words whose tag that scheme has otherwise. left_out: how many sentences
    were left out, by fault.
    """

    sentences: tuple[Sentence, ...]
    scheme: TagScheme
    irregular: int
    left_out: dict[Fault, int]

    @property
    def kinds(self) -> set[str]:
        """The types of its spans."""
        return {tag[2:] for sentence in self.sentences for tag in sentence.tags if tag[2:]}


def read_tagged(
    path: str | PathLike[str], scheme: TagScheme = TagScheme.AUTO, on_error: OnError = OnError.FAIL
) -> Tagged:
    """Read the sentences of a file.

    Parameters
    ----------
    path
        A file of columns; gzip, zstd, bz2 or xz by its first bytes.
    scheme
        What its tags are; a tag that begins with what the scheme does not have is a fault.
    on_error
        Whether the first sentence that is not usable (see `Fault`) ends reading, or all such are left out and counted.

    Raises
    ------
    ConfigError
        There is no such file, it has no words or no tags, or no sentence is left of it.
    CorpusError
        It is not UTF-8, its compressed stream is damaged, or a sentence is not usable.
    StorageError
        It cannot be read.
    """
    name = fspath(path)
    columns = _columns(name)
    faults, sentences = Faults(name, on_error, "sentence"), []
    for number in range(len(columns.rows)):
        try:
            sentences.append(columns.sentence(number, ALLOWED[scheme]))
        except FaultError as error:
            faults.found(error.fault, str(error), error.line)
    faults.require(sentences)
    if scheme is TagScheme.AUTO:
        scheme, odd = scheme_of(sentence.tags for sentence in sentences)
    else:
        odd = sum(irregular(sentence.tags, spans_of(sentence.tags), scheme) for sentence in sentences)
    return Tagged(
        sentences=tuple(map(_in_iob2, sentences)), scheme=scheme, irregular=odd, left_out=dict(faults.left_out)
    )


def _columns(name: str) -> Columns:
    columns = part_columns(text_of(name))
    if columns.width < 2:
        found = "one column a line" if columns.width else "no words"
        raise ConfigError(f"{name}: {found}, expected a word a line, its tag in the last column; give another file")
    return columns


def _in_iob2(sentence: Sentence) -> Sentence:
    return replace(sentence, tags=tuple(tags_of(spans_of(sentence.tags), len(sentence.tags))))
