"""The ``tokenizers`` library with a BERT vocabulary, and how text is cut where that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spanmask.vocab import Vocabulary

from .. import peers

#: Texts that the library is given at once: no other number beats it by more than the noise.
BATCH = 128
#: Characters that lines are joined to: about where the library is fastest on long documents.
PIECE_CHARACTERS = 4096


def bert_library(vocabulary: Vocabulary) -> Any:
    """Return the library's tokenizer for a BERT vocabulary, without added tokens, for which it would have to look."""
    library = peers.load("tokenizers")
    tokenizer = library.Tokenizer(
        library.models.WordPiece(vocabulary.ids, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    lower = not vocabulary.cased
    tokenizer.normalizer = library.normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower
    )
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    return tokenizer


def pieces(document: str) -> Iterator[str]:
    """Yield a document cut at line ends, which changes none of BERT's tokens, in pieces of a few KiB."""
    held, size = list[str](), 0
    for line in document.splitlines(keepends=True):
        if held and size + len(line) > PIECE_CHARACTERS:
            yield "".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line)
    yield "".join(held)
