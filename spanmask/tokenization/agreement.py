"""Whether a faster way gives the tokens that the library gives: asked at start, of texts that would tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from spanmask.blocks import read_only
from spanmask.records import Bytes, Offsets
from spanmask.tokenization.whole_documents import Encoded

#: Texts in which an encoding would differ, were it not exact.
_TELLING = (
    "",
    " ",
    "  ",
    "a",
    " a",
    "a ",
    "  a  b   c    d ",
    "a\tb\t c \t d",
    "a\nb\n\n c \n\nd\n",
    "\n a",
    "\r\n a \r\nb",
    "\x0b a\x0c b",
    "I don't, we'll; they've 'tis o'clock 's 't ' s",
    "1 22 333 4444 1,234.5 -6 x1 1x 3rd",
    "... !!! ?! -- — “a” ‘b’ (c) [d] {e} <f> a/b",
    "e\u0301 \u0301e \u0301 a \u0301\u0323 b",
    "\u0600 a \u0600\u0301 b \u0d4e c",
    "\u1100 \u1161 \u11a8",
    "नि न ि",
    "ΟΔΟΣ Σ ς ΣΑΣ",
    "İ I ı ß ẞ ﬀ ﷺ ﷺ",
    "漢字 漢 字 かな カナ 한국어",
    "😀 👩\u200d🚀 🇩🇪 🇩 🇪",
    "a\0 b \x07 c\x7f \x9f d \xad e",
    "a\u200b b \u200b c \u200d d \ufeff e",
    "a\u00a0 b \u00a0c \u3000 d\u2028 e \u2029f\u0085 g \u0085",
    "a \u00a8 b \u037a c \u203e d",
    "▁ ▁a a▁ a▁b ▁ ▁ b ▁▁c",
    "Ġ Ġa aĠ a Ġb",
    "A AB aB Ab",
    "x" * 300 + " y" * 3,
    "\U0010ffff a \ue000 b \ufffd c",
    "##a a ##b # # c",
    "un believ able unbeliev able",
)


class Encoder(Protocol):
    """What encodes documents; see `spanmask.tokenization.whole_documents.WholeDocuments.encode`."""

    def encode(self, text: Bytes, offsets: Offsets, *, spots: bool) -> Encoded:
        """Tokenize D documents."""
        ...


def agree(one: Encoder, other: Encoder, names: Sequence[str]) -> bool:
    """Tell whether two give telling texts the same tokens. names: of tokens that text may be found to be."""
    texts = [*_TELLING, *names, *(f"a {name} b{name}c" for name in names)]
    texts += [" ".join(texts), "\n".join(texts)]
    data = [text.encode() for text in texts]
    offsets = read_only(np.array([0, *accumulate(map(len, data))], np.int64))
    text = np.frombuffer(b"".join(data), np.uint8)
    given = [encoder.encode(text, offsets, spots=spots) for spots in (False, True) for encoder in (one, other)]
    return all(
        np.array_equal(mine, theirs)
        for first, second in (given[:2], given[2:])
        for mine, theirs in zip(first, second, strict=True)
        if mine is not None and theirs is not None
    )
