"""How well vocabularies fit a text: into how many tokens each cuts some of it."""

from __future__ import annotations

from dataclasses import dataclass

from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary
from spanmask.vocabularies.text import Corpus

#: Bytes of text that are enough to tell two vocabularies apart.
_ENOUGH = 4 << 20


@dataclass(slots=True)
class Measured:
    """Tokens of some text, how many of them are unknown, and its bytes."""

    name: str
    text_bytes: int = 0
    tokens: int = 0
    unknown: int = 0

    @property
    def bytes_per_token(self) -> float:
        """How many bytes of text a token stands for."""
        return self.text_bytes / max(self.tokens, 1)


def measure(corpus: Corpus, first: Vocabulary, second: Vocabulary) -> tuple[Measured, Measured]:
    """Tokenize the first 4 MiB of a corpus, or somewhat more, with two vocabularies."""
    tokenizers = Tokenizer(first), Tokenizer(second)
    found = Measured(name=first.name), Measured(name=second.name)
    for block in corpus.blocks("measuring"):
        for tokenizer, measured in zip(tokenizers, found, strict=True):
            ids = tokenizer.tokenize(block).token_ids
            measured.text_bytes += int(block.document_offsets[-1] - block.document_offsets[0])
            measured.tokens += len(ids)
            measured.unknown += int((ids == tokenizer.vocabulary.special.unk).sum())
        if found[0].text_bytes >= _ENOUGH:
            break
    return found
