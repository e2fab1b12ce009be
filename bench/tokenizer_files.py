"""Tokenizers that are measured: BERT's, and others as published models have them, trained here on real text, since none may be shipped.

Byte-level BPE with GPT-2's pattern, as RoBERTa has it, and with Llama-3's, by the trainer of the ``tokenizers`` library; Unigram by
sentencepiece, as XLM-R's was, whose model becomes a ``tokenizer.json`` as that one did. Each is kept in the user's cache folder by what it
was trained on and with.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spanmask.config import VocabularyConfig
from spanmask.kernels.user_cache import user_cache_folder
from spanmask.storage import publish_bytes
from spanmask.vocab import load_vocabulary

from . import peers, texts
from .baselines.library_tokenizer import bert_library
from .protocol import MEGABYTE

#: Special tokens, as RoBERTa and XLM-R have them.
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
#: What is trained on, by text: its share of the bytes asked for.
SHARES = {"prose": 1.0, "code": 0.2, "mixed": 0.1}
#: Fields of sentencepiece's model: the normalizer's specification, and in that the table of what becomes what.
_SPECIFICATION, _TABLE = 3, 2
_BYTES_OF_WIRE_TYPE = {1: 8, 5: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A published model's kind of tokenizer. share: of the training text, for trainers that take their time."""

    model: str
    entries: int
    trainer: str
    share: float = 1.0


KINDS = {
    "gpt-2": Kind(model="byte-level BPE, GPT-2's pattern", entries=50_265, trainer="tokenizers"),
    "llama-3": Kind(model="byte-level BPE, Llama-3's pattern", entries=128_256, trainer="tokenizers"),
    "xlm-r": Kind(model="Unigram, nmt_nfkc", entries=32_000, trainer="sentencepiece", share=0.5),
}


def prepare(*, vocabulary: str, paths: list[str], megabytes: float) -> dict[str, Any]:
    """Return where a tokenizer.json is that everybody can read, and what it is.

    Parameters
    ----------
    vocabulary
        One of `KINDS`, which are trained; otherwise what ``--vocab`` takes: ``cased``, ``uncased`` or a path.
    paths, megabytes
        Text to train on: see `_trained`.

    Returns
    -------
    dict
        ``path``, and ``described``: ``name``, ``model``, ``entries``, and for those trained here ``trainer`` and ``text``.

    Raises
    ------
    ConfigError
        There is no such vocabulary, or no text.
    """
    if vocabulary in KINDS:
        return _trained(vocabulary, paths, megabytes)
    words = load_vocabulary(VocabularyConfig(vocab=vocabulary))
    text = words.tokenizer or bert_library(words).to_str()
    model = json.loads(text)["model"]["type"]
    described = {"name": words.name, "model": model, "entries": len(words), "sha256": words.sha256}
    return {"path": str(_kept(hashlib.sha256(text.encode()).hexdigest(), lambda: text)), "described": described}


def _kept(digest: str, make: Callable[[], str]) -> Path:
    """Return the path of a tokenizer.json in the user's cache folder, made if it is missing."""
    path = user_cache_folder() / "bench" / f"{digest[:32]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        publish_bytes(path, make().encode())
    return path


def _trained(kind: str, paths: list[str], megabytes: float) -> dict[str, Any]:
    """Train a tokenizer, or find the one that was.

    paths, megabytes: files to take prose from, and how much of it at most; code and mixed text come with it, as `SHARES` has them.
    """
    known = KINDS[kind]
    documents = _training_text(paths, int(megabytes * known.share * MEGABYTE))
    content = hashlib.sha256()
    for document in documents:
        content.update(document.encode() + b"\0")
    trainer = f"{known.trainer} {version(known.trainer)}"
    digest = hashlib.sha256(f"{known} {SPECIALS} {trainer} {content.hexdigest()}".encode()).hexdigest()
    path = _kept(digest, lambda: train(kind, documents))
    text = {
        "bytes": sum(len(document.encode()) for document in documents),
        "sha256": content.hexdigest(),
        "shares": SHARES,
    }
    described = {"name": kind, "model": known.model, "entries": _entries(path), "trainer": trainer, "text": text}
    return {"path": str(path), "described": described}


def _training_text(paths: list[str], limit: int) -> list[str]:
    found: list[str] = []
    for name, share in SHARES.items():
        found += texts.of(name, paths, int(limit * share)).documents
    return found


def _entries(path: Path) -> int:
    return len(json.loads(path.read_text("utf-8"))["model"]["vocab"])


def train(kind: str, documents: Sequence[str]) -> str:
    """Return the text of a tokenizer.json of a kind, trained on documents; with little text it has fewer entries."""
    known = KINDS[kind]
    if known.trainer == "sentencepiece":
        return json.dumps(_file(*_unigram(known, documents)), ensure_ascii=False)
    return _bpe(known, kind, documents)


def _bpe(known: Kind, kind: str, documents: Sequence[str]) -> str:
    library = peers.load("tokenizers")
    pre_tokenizers = library.pre_tokenizers
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt-2")
    tokenizer = library.Tokenizer(library.models.BPE(ignore_merges=kind == "llama-3"))
    if kind == "llama-3":
        split = pre_tokenizers.Split(library.Regex(LLAMA_3), "isolated")
        byte_level = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=known.entries,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    text: str = tokenizer.to_str()
    return text


def _unigram(known: Kind, documents: Sequence[str]) -> tuple[list[list[Any]], bytes]:
    """Return entries with their scores, and the normalizer's table."""
    library = peers.load("sentencepiece")
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=(line for document in documents for line in document.split("\n") if line),
        model_writer=written,
        vocab_size=known.entries,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        num_threads=1,
        minloglevel=2,
    )
    model = library.SentencePieceProcessor(model_proto=written.getvalue())
    # Its own first three are <unk>, <s> and </s>.
    pieces = [[model.id_to_piece(number), model.get_score(number)] for number in range(3, model.get_piece_size())]
    entries = [*([name, 0.0] for name in SPECIALS[:4]), *pieces, [SPECIALS[4], 0.0]]
    (specification,) = _fields(written.getvalue(), _SPECIFICATION)
    (table,) = _fields(specification, _TABLE)
    return entries, table


def _file(entries: list[list[Any]], table: bytes) -> dict[str, Any]:
    ids = {name: number for number, (name, _) in enumerate(entries)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    normalizer = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[name], "content": name, **flags} for name in SPECIALS],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": None,
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": ids["<unk>"], "vocab": entries, "byte_fallback": False},
    }


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yield the values, as they are written, of one field of a protocol buffer's message."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        start, wire_type = at, tag & 7
        if wire_type == 0:
            _, at = _number(message, at)
        elif wire_type == 2:
            size, start = _number(message, at)
            at = start + size
        else:
            at += _BYTES_OF_WIRE_TYPE[wire_type]
        if tag >> 3 == wanted:
            yield message[start:at]


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while message[at] >= 0x80:
        value, shift, at = value | (message[at] & 0x7F) << shift, shift + 7, at + 1
    return value | message[at] << shift, at + 1
