"""Tokenizers written down piece by piece, so that no release of a trainer moves their ids: texts of a tokenizer.json."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from trained import SPECIAL, stories

_MERGES = (
    "t h|th e|Ġ the|Ġ a|i n|e r|Ġ w|o n|r e|Ġ o|Ġo f|e d|n d|Ġa nd|i t|Ġ t|Ġt o|e s|o u|in g|Ġ h|Ġ s|a t|e n|i s|Ġ m|Ġm y|h a|Ġ b|l l|"
    "v e|o r|Ġ f|Ġ d|a s|Ġ p|Ġ c|l e|a r|s t|en t|l y|Ġ in|i on|Ġ I|Ġh is|Ġw it|Ġwit h|Ġ T|ĠT he|Ġb e|u t|Ġ l|r o|h e|Ġ n|Ġn o|th at|Ġ that"
)


def _finish(tokenizer: Any, decoder: Any) -> str:
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.decoder = decoder
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return str(tokenizer.to_str())


@cache
def byte_level() -> str:
    """Byte-level BPE of 256 bytes and some merges of English, as RoBERTa's."""
    merges = [tuple(pair.split(" ")) for pair in _MERGES.split("|")]
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(dict.fromkeys(pieces))}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _finish(tokenizer, decoders.ByteLevel())


@cache
def unigram() -> str:
    """Unigram over the 400 commonest words of the stories and their letters, with Metaspace before it, as XLM-R's."""
    words = Counter(f"▁{word}" for word in stories()[:60_000].split()).most_common(400)
    letters = sorted(set(stories()) | {"▁"})
    scored = [(name, 0.0) for name in SPECIAL]
    scored += [(word, -4.0 - rank / 64) for rank, (word, _) in enumerate(words) if len(word) > 1]
    scored += [(letter, -12.0 - rank / 64) for rank, letter in enumerate(letters)]
    tokenizer = Tokenizer(models.Unigram(list(dict(scored).items()), 3, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return _finish(tokenizer, decoders.Metaspace())


@cache
def wide() -> str:
    """The byte-level one with more than 65,536 entries, <mask> the last of them."""
    content = json.loads(byte_level())
    vocab = content["model"]["vocab"]
    del vocab["<mask>"]
    vocab |= {"<hole>": 4} | {f"filler {i}": len(vocab) + 1 + i for i in range(65_536)}
    content["added_tokens"][4]["id"] = vocab["<mask>"] = len(vocab)
    return json.dumps(content)
