"""The n-grams of evaluation files, and what documents share with them: texts flow in once, then blocks of documents; counts flow out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spanmask.blocks import offsets_of
from spanmask.kernels.overlap import LETTERS, Grams, Scratch, add_texts, count_words, match_texts
from spanmask.overlap.evaluations import Evaluation
from spanmask.records import Bytes, DocumentBlock, Offsets

#: Bits of the sieve for each n-gram, at least.
_SIEVE_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The n-grams of E evaluation files. files: how many. texts, distinct: (E,) texts of each, and n-grams that it alone or others hold."""

    n: int
    files: int
    texts: Offsets
    distinct: Offsets
    grams: Grams

    def match(self, block: DocumentBlock) -> tuple[Offsets, Offsets]:
        """Return two (D, E) counts: n-grams that each document shares with a file's texts, and the texts with which it shares one."""
        shape = (len(block), self.files)
        shared, texts = np.empty(shape, np.int64), np.empty(shape, np.int64)
        longest = int(np.diff(block.document_offsets).max(initial=0))
        last = np.empty(len(self.grams.files), np.int64)
        match_texts(
            block.text, block.document_offsets, self.n, LETTERS, _scratch(longest), self.grams, last, shared, texts
        )
        return shared, texts


def index_of(evaluations: Sequence[Evaluation], n: int) -> Index:
    """Return the n-grams of words of evaluation files; none goes over the end of a text."""
    encoded = [text.encode("utf-8", "replace") for one in evaluations for text in one.texts]
    data, offsets = np.frombuffer(b"".join(encoded), np.uint8), offsets_of(np.array([*map(len, encoded)], np.int64))
    files = np.repeat(np.arange(len(evaluations)), [len(one.texts) for one in evaluations]).astype(np.int32)
    grams, met = _numbered(data, offsets, n, files)
    # As one number each, which sorts many times faster than rows do.
    numbers, texts = np.divmod(_distinct(met[:, 0] * len(files) + met[:, 1]), max(len(files), 1))
    grams = grams._replace(
        offsets=offsets_of(np.bincount(numbers, minlength=len(grams.starts))), texts=texts.astype(np.int32)
    )
    owners = _distinct(files[texts].astype(np.int64) * len(grams.starts) + numbers) // max(len(grams.starts), 1)
    return Index(
        n=n,
        files=len(evaluations),
        texts=np.bincount(files, minlength=len(evaluations)),
        distinct=np.bincount(owners, minlength=len(evaluations)),
        grams=grams,
    )


def _numbered(data: Bytes, offsets: Offsets, n: int, files: npt.NDArray[np.int32]) -> tuple[Grams, Offsets]:
    """Return n-grams that know no texts yet, and (P, 2) which stands in which text."""
    scratch = _scratch(int(np.diff(offsets).max(initial=0)))
    room = count_words(data, offsets, LETTERS, scratch)
    grams = Grams(
        spelled=np.empty(len(data) + len(offsets), np.uint8),
        starts=np.empty(room, np.int64),
        ends=np.empty(room, np.int64),
        hashes=np.empty(room, np.int64),
        slots=np.full(_power_above(2 * room), -1, np.int32),
        sieve=np.zeros(_power_above(_SIEVE_BITS * room) // 8, np.uint8),
        offsets=np.zeros(1, np.int64),
        texts=np.zeros(0, np.int32),
        files=files,
    )
    met = np.empty((room, 2), np.int64)
    count, rows = add_texts(data, offsets, n, LETTERS, scratch, grams, met)
    kept = {name: getattr(grams, name)[:count].copy() for name in ("starts", "ends", "hashes")}
    return grams._replace(**kept), met[:rows]


def _distinct(values: Offsets) -> Offsets:
    """Return which numbers from 0 on there are, ascending; NumPy's own, which hashes them first, takes a hundred times as long."""
    values = np.sort(values)
    return values[np.diff(values, prepend=-1) > 0]


def _scratch(longest: int) -> Scratch:
    words = longest // 2 + 2
    return Scratch(
        spelled=np.empty(longest + 2, np.uint8), ends=np.empty(words, np.int64), hashes=np.empty(words, np.int64)
    )


def _power_above(number: int) -> int:
    return 1 << max(number, 16).bit_length()
