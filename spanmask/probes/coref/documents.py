"""Documents of CoNLL-2012 as a model reads them: files in, `Text`s out, and what of them cannot be learnt, counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from os import PathLike

from spanmask.config import OnError
from spanmask.probes.scores.conll import Mention, read_conll, split_name
from spanmask.probes.scores.coref_metrics import distinct


class Fault(StrEnum):
    """What is wrong with a bracket or mention that is left out, or beyond a model.

    An unpaired bracket ends reading unless such are to be left out; a mention that repeats counts once, for the entity that opens first, as
    scorers count it. What no model of ours can find stays in the key, and is missed: mentions that end in another sentence, or are longer
    than spans may be. A word of which the tokenizer makes nothing is read as unknown.
    """

    UNPAIRED = "unpaired_bracket"
    REPEATED = "repeated_mention"
    ACROSS = "mention_across_sentences"
    LONG = "mention_too_long"
    DROPPED = "word_read_as_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A document: its name, the words of each sentence, and mentions by entity, first and last word of each, every mention once."""

    name: str
    sentences: Sequence[Sequence[str]]
    entities: Sequence[Sequence[Mention]]

    @property
    def words(self) -> list[str]:
        """All words, in order."""
        return list(chain.from_iterable(self.sentences))

    @property
    def singletons(self) -> int:
        """How many entities have one mention."""
        return sum(len(mentions) == 1 for mentions in self.entities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The documents of a file, in order, and what of them was left out, by fault."""

    texts: Sequence[Text]
    left_out: Mapping[Fault, int]


def read_texts(path: str | PathLike[str], on_error: OnError = OnError.FAIL) -> Texts:
    """Read the documents of a file, folder or archive.

    Parameters
    ----------
    path
        As `spanmask.probes.scores.conll.read_conll` takes it: columns of OntoNotes, LitBank or OntoGUM.
    on_error
        Whether a bracket that has no other half ends reading, or is left out and counted.

    Raises
    ------
    ConfigError, CorpusError, StorageError
        As of `read_conll`.
    """
    found = read_conll(path, on_error=str(on_error), words=True)
    texts, left_out = [], Counter[Fault]()
    for name, document in found.items():
        entities = distinct(document.entities)
        left_out[Fault.UNPAIRED] += document.unpaired
        left_out[Fault.REPEATED] += sum(map(len, document.entities)) - sum(map(len, entities))
        texts.append(Text(name=name, sentences=document.sentences, entities=entities))
    return Texts(texts=texts, left_out=+left_out)


def fold(name: str, folds: int) -> int:
    """Return which of some folds a document is of, 1 to ``folds``: by a hash of its name, all parts of a document alike.

    Parameters
    ----------
    name
        What stands behind ``#begin document``, such as ``(1023_bleak_house_brat); part 0``.
    folds
        How many folds there are.
    """
    document, _ = split_name(name)
    digest = hashlib.blake2b(document.encode(), digest_size=8, person=b"fold").digest()
    return 1 + int.from_bytes(digest) % folds
