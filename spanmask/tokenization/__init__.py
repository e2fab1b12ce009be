"""Documents in, tokens out: `DocumentBlock` flows in, `TokenizedBlock` flows out."""

from spanmask.tokenization.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
