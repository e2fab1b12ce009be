"""What BERT's tokenizer gives, by the `tokenizers` library itself, always on whole texts; and how to compare with it.

The library is the law here, so there is no literal twin beside it: `unicodedata` is of another Unicode version than the library's
tables, and would differ on the code points between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, pairwise
from typing import Any, Literal

import numpy as np
from tokenization.unicode_texts import alphabet
from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from spanmask.config import VocabularyConfig
from spanmask.records import DocumentBlock, SequenceBlock, TokenizedBlock
from spanmask.tokenization import Tokenizer
from spanmask.tokenizer_json import ROLES
from spanmask.vocab import Vocabulary, load_vocabulary

CASINGS = ("cased", "uncased")
#: BERT's vocabularies, and those that know all characters.
VOCABULARIES = (*CASINGS, "alphabet-cased", "alphabet-uncased")

Specials = Literal["text", "parse"]

_MOST_TRIES = 3000
_SHOWN = 400


def library_of(vocabulary: Vocabulary, specials: Specials = "text") -> Any:
    """Return BERT's tokenizer as the library has it; the five special tokens are added to it when they are to be parsed."""
    lower = not vocabulary.cased
    library: Any = Library(
        models.WordPiece(dict(vocabulary.ids), unk_token="[UNK]", max_input_chars_per_word=100),
    )
    library.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower
    )
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if specials == "parse":
        library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ROLES.values()])
    return library


class Reference:
    """The library with one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._libraries = {"text": library_of(vocabulary), "parse": library_of(vocabulary, "parse")}

    def encodings(self, texts: Sequence[str], specials: Specials = "text") -> list[Any]:
        found: list[Any] = self._libraries[specials].encode_batch(list(texts), add_special_tokens=False)
        return found

    def encode(self, texts: Sequence[str], specials: Specials = "text") -> TokenizedBlock:
        """Return ids, word starts and the bytes of each token."""
        encodings = self.encodings(texts, specials)
        ids = [encoding.ids for encoding in encodings]
        bounds = np.cumsum([0, *map(len, ids)])
        total = int(bounds[-1])
        words = np.fromiter(chain.from_iterable(encoding.word_ids for encoding in encodings), np.int64, total)
        starts = np.diff(words, prepend=-1) != 0
        starts[bounds[:-1][np.diff(bounds) > 0]] = True
        flat = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
        points = np.fromiter(flat, np.int64, 2 * total).reshape(-1, 2)
        return TokenizedBlock(
            token_ids=np.fromiter(chain.from_iterable(ids), self.vocabulary.dtype, total),
            word_starts=starts,
            document_offsets=bounds,
            byte_offsets=in_bytes(texts, points, np.diff(bounds)),
        )

    def word_bytes(self, text: str) -> list[tuple[int, int]]:
        """Return the bytes [start, end) of each word of a text."""
        (encoding,) = self.encodings([text])
        count = len({*encoding.word_ids})
        return [
            (len(text[:start].encode()), len(text[:end].encode()))
            for start, end in map(encoding.word_to_chars, range(count))
        ]


@cache
def vocabulary_of(name: str) -> Vocabulary:
    """Return one of VOCABULARIES."""
    if name.startswith("alphabet"):
        return alphabet(cased=name.endswith("-cased"))
    return load_vocabulary(VocabularyConfig(vocab=name))


@cache
def reference_of(name: str) -> Reference:
    return Reference(vocabulary_of(name))


@cache
def tokenizer_of(name: str) -> Tokenizer:
    return Tokenizer(vocabulary_of(name))


def in_bytes(texts: Sequence[str], points: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Turn (T, 2) code points of texts, `counts` tokens in each, into bytes of them."""
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    places = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))
    first = np.repeat(np.cumsum([0, *map(len, texts)])[:-1], counts)[:, None]
    found: np.ndarray = places[points + first] - places[first]
    return found


def ids_of(block: TokenizedBlock) -> list[list[int]]:
    return [block.token_ids[start:end].tolist() for start, end in pairwise(block.document_offsets.tolist())]


def block_of(texts: Sequence[str], **fields: Any) -> DocumentBlock:
    encoded = [text.encode() for text in texts]
    return DocumentBlock(
        text=np.frombuffer(b"".join(encoded), np.uint8),
        document_offsets=np.cumsum([0, *map(len, encoded)]),
        document_ids=np.arange(len(texts), dtype=np.uint64),
        **fields,
    )


# --- Comparing


def same(found: TokenizedBlock, expected: TokenizedBlock) -> bool:
    """Say whether two blocks agree in ids and their dtype, word starts, documents, and bytes where both have them."""
    if found.byte_offsets is None:
        expected = replace(expected, byte_offsets=None)
    return found.token_ids.dtype == expected.token_ids.dtype and all(
        np.array_equal(getattr(found, name), getattr(expected, name))
        for name in ("token_ids", "word_starts", "document_offsets", "byte_offsets")
    )


def shrink(text: str, fails: Callable[[str], bool]) -> str:
    """Return a part of a text that still fails, from which no character can be left out, if a few thousand tries do."""
    size, tries = len(text), 0
    while size and tries < _MOST_TRIES:
        for start in range(0, len(text), size):
            shorter = text[:start] + text[start + size :]
            tries += 1
            if fails(shorter):
                text = shorter
                break
        else:
            size //= 2
    return text


def assert_as_library(
    tokenizer: Tokenizer, reference: Reference, texts: Sequence[str], specials: Specials = "text"
) -> TokenizedBlock:
    """Check texts against the library; the first that differs is made as small as can be and shown.

    They are encoded without offsets, with them, and without again: a word seen before may be remembered.
    """
    expected = reference.encode(texts, specials)
    found = [tokenizer.encode(texts, specials, offsets=offsets) for offsets in (False, True, False)]
    if not all(same(block, expected) for block in found):
        raise AssertionError(_difference(tokenizer, reference, texts, specials))
    assert [block.byte_offsets is not None for block in found] == [False, True, False]
    return found[1]


def _difference(tokenizer: Tokenizer, reference: Reference, texts: Sequence[str], specials: Specials) -> str:
    def differs(text: str) -> bool:
        expected = reference.encode([text], specials)
        return not all(same(tokenizer.encode([text], specials, offsets=wanted), expected) for wanted in (False, True))

    wrong = next((text for text in texts if differs(text)), None)
    if wrong is None:
        return f"{len(texts)} texts differ from the library's tokens together, and none of them alone"
    smallest = shrink(wrong, differs)
    found, expected = tokenizer.encode([smallest], specials, offsets=True), reference.encode([smallest], specials)
    return f"{smallest[:_SHOWN]!a}\n  found    {_shown(reference, found)}\n  expected {_shown(reference, expected)}"


def _shown(reference: Reference, block: TokenizedBlock) -> str:
    assert block.byte_offsets is not None
    entries = [reference.vocabulary.entries[number] for number in block.token_ids.tolist()]
    shown = [entries, block.word_starts.astype(int).tolist(), block.byte_offsets.tolist()]
    return " ".join(ascii(values[:_SHOWN]) for values in shown) + f" {block.token_ids.dtype}"


def whole_documents(tokens: TokenizedBlock) -> SequenceBlock:
    """Documents as one segment each."""
    count = len(tokens.document_offsets) - 1
    return SequenceBlock(
        token_ids=tokens.token_ids,
        word_starts=tokens.word_starts,
        starts=tokens.document_offsets[:-1],
        ends=tokens.document_offsets[1:],
        document_index=np.arange(count),
        document_ids=np.arange(count, dtype=np.uint64),
        segments=np.zeros(count, np.uint32),
        annotations=tokens.annotations,
        dropped={},
    )
