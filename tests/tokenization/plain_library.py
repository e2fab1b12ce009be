"""What the `tokenizers` library gives for whole texts, with words and bytes by the rules of FORMAT.md §6.7 and `Backend`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Library

from spanmask.records import TokenizedBlock
from spanmask.vocab import Vocabulary

#: Unicode's White_Space.
WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


class PlainLibrary:
    """The library with a tokenizer.json, as a user would load it, for texts that name no special token.

    Words are those of its pre-tokenizer or, where that splits nothing, what white space sets apart, the white space before it included.
    """

    def __init__(self, vocabulary: Vocabulary, library: Any = None) -> None:
        content = json.loads(vocabulary.tokenizer or "") | {"post_processor": None}
        step = content["pre_tokenizer"] or {"type": "Sequence", "pretokenizers": []}
        steps = step["pretokenizers"] if step["type"] == "Sequence" else [step]
        writing = {"Metaspace": "split", "ByteLevel": "use_regex"}
        self.vocabulary = vocabulary
        self._library: Any = library or Library.from_str(json.dumps(content))
        self._at_white_space = all(step.get(writing.get(step["type"], "")) is False for step in steps)

    def ids(self, texts: Sequence[str]) -> list[int]:
        """Return the ids of all texts, one text's after another's."""
        encodings = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        return list(chain.from_iterable(encoding.ids for encoding in encodings))

    def encode(self, texts: Sequence[str], specials: str = "text") -> TokenizedBlock:
        """Return ids, word starts and the bytes of each token: without the white space around it; none, at its end, where it is white."""
        encodings = self._library.encode_batch(list(texts), add_special_tokens=False)
        counts = np.array([len(encoding) for encoding in encodings], np.int64)
        total, bounds = int(counts.sum()), np.cumsum([0, *counts])
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), self.vocabulary.dtype, total)
        flat = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
        spots = np.fromiter(flat, np.int64, 2 * total).reshape(-1, 2)
        bases = np.cumsum([0, *map(len, texts)])[:-1]
        characters = _Characters(texts)
        spots, white = characters.trimmed(spots + np.repeat(bases, counts)[:, None])
        if self._at_white_space:
            words = characters.words(spots, white)
        else:
            words = np.fromiter(chain.from_iterable(encoding.word_ids for encoding in encodings), np.int64, total)
        starts = np.diff(words, prepend=-1) != 0
        starts[bounds[:-1][counts > 0]] = True
        spots[white, 0] = spots[white, 1]
        places = characters.places
        return TokenizedBlock(
            token_ids=ids,
            word_starts=starts,
            document_offsets=bounds,
            byte_offsets=places[spots] - np.repeat(places[bases], counts)[:, None],
        )


class _Characters:
    """All characters of some texts, one text behind the other. places: where each starts in UTF-8, and where the last one ends."""

    def __init__(self, texts: Sequence[str]) -> None:
        points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
        self._white = np.isin(points, np.array([ord(char) for char in WHITE], np.uint32))
        sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
        self.places = np.concatenate(([0], np.cumsum(sizes)))
        self._black = np.flatnonzero(~self._white)

    def trimmed(self, spots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (T, 2) characters without the white ones around them, all where all are white; and (T,) whether all are."""
        first = np.searchsorted(self._black, spots[:, 0])
        last = np.searchsorted(self._black, spots[:, 1]) - 1
        white = first > last
        if white.all():
            return spots.copy(), white
        inner = np.stack([self._black[np.minimum(first, len(self._black) - 1)], self._black[last] + 1], axis=1)
        return np.where(white[:, None], spots, inner), white

    def words(self, spots: np.ndarray, white: np.ndarray) -> np.ndarray:
        """Return (T,) the number of the word that each token belongs to: a white one to that behind it."""
        begins = ~self._white & np.concatenate(([True], self._white[:-1]))[: len(self._white)]
        before = np.concatenate(([0], np.cumsum(begins)))
        found: np.ndarray = np.where(white, before[spots[:, 0]] + 1, before[np.where(white, 0, spots[:, 0] + 1)])
        return found
