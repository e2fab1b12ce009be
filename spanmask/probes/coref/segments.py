"""Documents in, segments out: each at most so many pieces, ending where a sentence ends if one ends in it, else where a word ends.

``[CLS] pieces [SEP]``, each to be encoded by itself, as the paper's coreference has them (§4.1); what is looked for in a document is looked
for across its segments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from spanmask.blocks import count_up, offsets_of
from spanmask.probes.coref.config import SPECIAL_TOKENS, CorefConfig
from spanmask.probes.coref.documents import Fault, Text
from spanmask.probes.examples import Examples
from spanmask.records import Offsets, Ragged
from spanmask.tokenization import Tokenizer
from spanmask.vocab import SpecialIds

#: What OntoNotes writes for brackets and for some punctuation; a tokenizer reads what is meant.
_ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "/.": ".", "/?": "?"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CutText:
    """A document of W words in P pieces, cut into S segments.

    pieces: (P,) ids. first, last: (W,) int64, the first and last piece of each word. sentences: (W,) int64, which sentence a word is of.
    texts: (W,) int64, numbers from 0 on that the same words, in any case, share. bounds: (S + 1,) int64, the pieces at which segments
    begin, and P. mentions: (M, 3) int64, first word, last word and entity of each.
    """

    pieces: npt.NDArray[Any]
    first: Offsets
    last: Offsets
    sentences: Offsets
    texts: Offsets
    bounds: Offsets
    mentions: Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """D documents as N segments, those of a document together and in order.

    examples: the segments as a model reads them; groups are numbers of documents, and targets, which find what is known of a segment,
    ``documents``, those numbers again, and ``segments``, its place in its document, (N,) int64 each. cut: each document.
    unknown: (D,) how many of its words are read as unknown, since the tokenizer makes nothing of them.
    """

    examples: Examples
    cut: Sequence[CutText]
    unknown: Offsets


def cut_texts(texts: Sequence[Text], tokenizer: Tokenizer, config: CorefConfig) -> Segments:
    """Tokenize documents, and cut them into segments. A document without words has none.

    Parameters
    ----------
    texts
        D documents.
    tokenizer
        That of the model.
    config
        Length of segments.
    """
    block = tokenizer.encode([" ".join(map(_spelt, text.words)) for text in texts], offsets=True)
    ranges, special = cast("Offsets", block.byte_offsets), tokenizer.vocabulary.special
    cut, unknown = [], []
    for number, text in enumerate(texts):
        inside = slice(*block.document_offsets[number : number + 2].tolist())
        counts, pieces = _with_words(text, block.token_ids[inside], ranges[inside], special)
        cut.append(_cut(text, np.maximum(counts, 1), pieces, config.segment - SPECIAL_TOKENS))
        unknown.append(int((counts == 0).sum()))
    return Segments(examples=_examples(cut, special), cut=cut, unknown=np.array(unknown, np.int64))


def _spelt(word: str) -> str:
    return _ESCAPED.get(word, word)


def _with_words(
    text: Text, ids: npt.NDArray[Any], ranges: Offsets, special: SpecialIds
) -> tuple[Offsets, npt.NDArray[Any]]:
    """Return how many pieces each word has of the tokenizer, (W,), and all pieces, with one for each word that has none.

    A piece is of the word that its last byte is of, so that a blank before a word, where a tokenizer keeps it, is part of that word.
    """
    ends = np.cumsum([len(_spelt(word).encode()) + 1 for word in text.words], dtype=np.int64) - 1
    owners = np.searchsorted(ends, np.maximum(ranges[:, 1] - 1, ranges[:, 0]), side="right")
    owners = np.minimum(owners, max(len(ends) - 1, 0))
    counts = np.bincount(owners, minlength=len(ends)).astype(np.int64)[: len(ends)]
    # A tokenizer without unknown token knows every byte: only a word without any is nothing to it.
    unknown = special.mask if special.unk is None else special.unk
    pieces = np.full(int(np.maximum(counts, 1).sum()), unknown, ids.dtype)
    pieces[np.repeat(offsets_of(np.maximum(counts, 1))[:-1], counts) + count_up(counts)] = ids
    return counts, pieces


def _cut(text: Text, counts: Offsets, pieces: npt.NDArray[Any], room: int) -> CutText:
    """Return a document whose words have some pieces, cut."""
    words = offsets_of(counts)
    lengths = np.array([len(sentence) for sentence in text.sentences], np.int64)
    numbers: dict[str, int] = {}
    texts = [numbers.setdefault(word.casefold(), len(numbers)) for word in text.words]
    found = [(*mention, entity) for entity, mentions in enumerate(text.entities) for mention in mentions]
    return CutText(
        pieces=pieces,
        first=words[:-1],
        last=words[1:] - 1,
        sentences=np.repeat(np.arange(len(lengths)), lengths),
        texts=np.array(texts, np.int64),
        bounds=segment_bounds(words[1:], words[np.cumsum(lengths)], room),
        mentions=np.array(sorted(found), np.int64).reshape(-1, 3),
    )


def segment_bounds(words: Offsets, sentences: Offsets, room: int) -> Offsets:
    """Return where segments of a document begin, and where the last ends, (S + 1,).

    Parameters
    ----------
    words, sentences
        The pieces that words and sentences end before, ascending; the last is how many there are.
    room
        Pieces of a segment at most. A word that is longer is cut.
    """
    bounds, total = [0], int(words[-1]) if len(words) else 0
    while bounds[-1] < total:
        begin, limit = bounds[-1], bounds[-1] + room
        ends = [_last_end(sentences, limit), _last_end(words, limit), limit]
        bounds.append(total if limit >= total else next(end for end in ends if end > begin))
    return np.array(bounds, np.int64)


def _last_end(ends: Offsets, limit: int) -> int:
    """Return the last end up to a limit, 0 where there is none."""
    place = int(np.searchsorted(ends, limit, side="right"))
    return int(ends[place - 1]) if place else 0


def _examples(cut: Sequence[CutText], special: SpecialIds) -> Examples:
    rows, documents, segments = [], [], []
    for number, text in enumerate(cut):
        parts = np.split(text.pieces, text.bounds[1:-1]) if len(text.pieces) else []
        for place, part in enumerate(parts):
            ends = np.array([special.cls, special.sep], part.dtype)
            rows.append(np.concatenate([ends[:1], part, ends[1:]]))
            documents.append(number)
            segments.append(place)
    lengths = np.array([len(row) for row in rows], np.int64)
    owners = np.array(documents, np.int64)
    return Examples(
        input_ids=Ragged(offsets=offsets_of(lengths), values=np.concatenate(rows) if rows else np.zeros(0, np.uint16)),
        second_starts=lengths.astype(np.int32),
        groups=owners,
        targets={"documents": owners, "segments": np.array(segments, np.int64)},
    )


def reaches(text: CutText, begin: int, end: int, max_span: int) -> Offsets:
    """Return how many spans begin at each of the words [begin, end) of a document, (end - begin,): it alone, it and the next, and so on.

    They lie within these words and one sentence, and have at most so many pieces.
    """
    first, last, sentences = (values[begin:end] for values in (text.first, text.last, text.sentences))
    furthest = np.minimum(
        np.searchsorted(sentences, sentences, side="right"), np.searchsorted(last, first + max_span, side="left")
    )
    return np.maximum(furthest - np.arange(len(first)), 0)


def unreached(text: CutText, max_span: int) -> Counter[Fault]:
    """Count the mentions of a document that are none of the spans that `reaches` tells."""
    starts, ends = text.mentions[:, 0], text.mentions[:, 1]
    across = text.sentences[starts] != text.sentences[ends]
    found = int((ends - starts < reaches(text, 0, len(text.first), max_span)[starts]).sum())
    beyond = int(across.sum())
    return +Counter({Fault.ACROSS: beyond, Fault.LONG: len(text.mentions) - found - beyond})
