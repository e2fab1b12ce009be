"""Small tokenizers of every kind, trained with the `tokenizers` library on the stories that ship, as texts of a tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

#: Special tokens as RoBERTa calls them, in order of their ids.
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_BYTES = pre_tokenizers.ByteLevel.alphabet()


@cache
def stories() -> str:
    return resources.files("spanmask.data").joinpath("poe.txt").read_text("utf-8")


def changed(text: str, change: Callable[[dict[str, Any]], Any]) -> str:
    """A tokenizer.json with a change to its content."""
    content = json.loads(text)
    change(content)
    return json.dumps(content)


def saved(text: str, folder: Path) -> str:
    """The path of a tokenizer.json with this text."""
    path = folder / "tokenizer.json"
    path.write_text(text, "utf-8")
    return str(path)


def _finish(tokenizer: Any, trainer: Any, decoder: Any = None) -> str:
    tokenizer.train_from_iterator(stories()[:60_000].split("\n"), trainer)
    tokenizer.decoder = decoder
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return str(tokenizer.to_str())


def _bpe(size: int = 600, **options: Any) -> Any:
    return trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False, **options)


@cache
def byte_level(*, prefix: bool = False) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return _finish(tokenizer, _bpe(initial_alphabet=_BYTES), decoders.ByteLevel())


@cache
def byte_level_with_added_tokens() -> str:
    """As ModernBERT has them: NFC, and runs of spaces and other names as tokens that are not special."""
    tokenizer = Tokenizer.from_str(byte_level())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("   ", "  ", "|||PHONE|||", "<b>")])
    tokenizer.add_tokens([AddedToken("<lead>", lstrip=True), "été"])
    return str(tokenizer.to_str())


@cache
def wide() -> str:
    """Of more than 65,536 entries, the last of which is <mask>."""

    def widen(content: dict[str, Any]) -> None:
        vocab = content["model"]["vocab"]
        del vocab["<mask>"]
        vocab |= {"<hole>": 4} | {f"filler {i}": len(vocab) + 1 + i for i in range(65_536)}
        vocab["<mask>"] = len(vocab)
        content["added_tokens"][4]["id"] = vocab["<mask>"]

    return changed(byte_level(), widen)


@cache
def unigram(*, normalized: bool = True) -> str:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if normalized:
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), spaces])
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False, n_sub_iterations=1
    )
    return _finish(tokenizer, trainer, decoders.Metaspace())


@cache
def metaspace_first() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return _finish(tokenizer, _bpe(), decoders.Metaspace())


@cache
def accented_wordpiece() -> str:
    """Lower case with accents, as BERTs of other languages have it: WordPiece, but not BERT's own."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)
    return _finish(tokenizer, trainer, decoders.WordPiece())


@cache
def whole_words() -> str:
    """A word list behind several pre-tokenizers."""
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits()]
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    trainer = trainers.WordLevelTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)
    return _finish(tokenizer, trainer)


@cache
def without_words() -> str:
    """As Llama's: ▁ by a normalizer, and no pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL + pieces, show_progress=False)
    tokenizer.train_from_iterator(stories()[:5_000].split(" "), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return changed(tokenizer.to_str(), lambda content: content.update(added_tokens=content["added_tokens"][:5]))


def unsplit() -> str:
    """As Gemma's: Metaspace that makes one word of a whole text."""
    return changed(metaspace_first(), lambda content: content["pre_tokenizer"].update(split=False))


#: Each kind by name, and whether units of its text are looked up.
KINDS: dict[str, tuple[Callable[[], str], bool]] = {
    "byte level": (byte_level, True),
    "byte level with prefix": (lambda: byte_level(prefix=True), True),
    "byte level with added tokens": (byte_level_with_added_tokens, True),
    "unigram": (unigram, True),
    "unigram as it stands": (lambda: unigram(normalized=False), True),
    "metaspace first": (metaspace_first, True),
    "accented wordpiece": (accented_wordpiece, True),
    "whole words": (whole_words, True),
    "without words": (without_words, False),
    "unsplit": (unsplit, False),
}
