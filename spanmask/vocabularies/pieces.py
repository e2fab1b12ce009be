"""Which pieces would save a text the most tokens: words as a vocabulary cuts them flow in, runs of their pieces to make one flow out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from spanmask.pieces import CONTINUATION
from spanmask.records import TokenizedBlock

#: Pieces of a word at most that runs are looked for in: what has more is no word.
_LONGEST = 16

Run = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPiece:
    """A piece to add.

    text: the entry. parts: the old ids that its text had. count: how often it stands in the text.
    """

    text: str
    parts: Run
    count: int


def count_words(tokens: TokenizedBlock, counts: Counter[Run]) -> None:
    """Add how often each word of several pieces stands in some documents."""
    starts = np.flatnonzero(tokens.word_starts)
    sizes = np.diff(starts, append=len(tokens.token_ids))
    for size in range(2, _LONGEST + 1):
        places = starts[sizes == size]
        words, times = np.unique(tokens.token_ids[places[:, None] + np.arange(size)], axis=0, return_counts=True)
        counts.update(dict(zip(map(tuple, words.tolist()), times.tolist(), strict=True)))


class Words:
    """Words as runs of pieces, and how often each run stands in the text.

    joinable: ids that may become part of a piece.
    """

    def __init__(self, words: Mapping[Run, int], joinable: frozenset[int]) -> None:
        # By pieces, so that nothing depends on the order in which words were met.
        self._words = sorted(words)
        self._times = [words[word] for word in self._words]
        self._joinable = set(joinable)
        self.counts = Counter[Run]()
        self._where: defaultdict[Run, list[int]] = defaultdict(list)
        for number in range(len(self._words)):
            self._add(number)

    def join(self, run: Run, new: int) -> set[Run]:
        """Make one piece of a run wherever it stands; return the runs whose counts may be other ones now."""
        self._joinable.add(new)
        changed = set[Run]()
        for number in set(self._where.pop(run, ())):
            word = _joined(self._words[number], run, new)
            # Another run may have been made one that took some of this one's pieces away.
            if word != self._words[number]:
                changed |= self._take(number)
                self._words[number] = word
                changed |= self._add(number)
        return changed

    def _runs(self, number: int) -> Iterator[Run]:
        word = self._words[number]
        for start in range(len(word)):
            for end in range(start + 1, len(word) + 1):
                if word[end - 1] not in self._joinable:
                    break
                if end - start > 1:
                    yield word[start:end]

    def _add(self, number: int) -> set[Run]:
        runs = Counter(self._runs(number))
        for run, times in runs.items():
            self.counts[run] += times * self._times[number]
            self._where[run].append(number)
        return set(runs)

    def _take(self, number: int) -> set[Run]:
        runs = Counter(self._runs(number))
        for run, times in runs.items():
            self.counts[run] -= times * self._times[number]
        return set(runs)


def _joined(word: Run, run: Run, new: int) -> Run:
    found, at = list[int](), 0
    while at < len(word):
        here = word[at : at + len(run)] == run
        found.append(new if here else word[at])
        at += len(run) if here else 1
    return tuple(found)


def _spelled(entries: Sequence[str]) -> str:
    """Return the entry of WordPiece that joins some."""
    return entries[0] + "".join(entry.removeprefix(CONTINUATION) for entry in entries[1:])


def choose_pieces(words: Words, entries: Sequence[str], *, add: int, min_frequency: int) -> list[NewPiece]:
    """Return the pieces that save the most tokens, one after another: each where those before it are there already.

    A run of k pieces that stands n times saves n·(k − 1) tokens; of runs that save as many, the first by text is taken.

    Parameters
    ----------
    words
        Of the text; they are changed.
    entries
        Of the vocabulary.
    add
        Pieces at most.
    min_frequency
        How often a piece stands in the text at least.
    """
    known, names, parts = set(entries), list(entries), dict[int, Run]()

    def ranked(run: Run) -> tuple[int, str, Run]:
        return -words.counts[run] * (len(run) - 1), _spelled([names[number] for number in run]), run

    heap = [ranked(run) for run, count in words.counts.items() if count >= min_frequency]
    heapify(heap)
    chosen = list[NewPiece]()
    while heap and len(chosen) < add:
        saved, text, run = heappop(heap)
        count = words.counts[run]
        # What changed since it was ranked is there again with its new rank.
        if text in known or count < min_frequency or saved != -count * (len(run) - 1):
            continue
        known.add(text)
        new, made = len(names), tuple(part for number in run for part in parts.get(number, (number,)))
        names.append(text)
        parts[new] = made
        chosen.append(NewPiece(text=text, parts=made, count=count))
        for other in words.join(run, new):
            if words.counts[other] >= min_frequency:
                heappush(heap, ranked(other))
    return chosen
