"""A vocabulary as the files Hugging Face reads beside a model, and back.

BERT's is written as ``vocab.txt`` with its casing in ``tokenizer_config.json``; any other as the ``tokenizer.json`` it came from.
"""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.storage import publish_bytes
from spanmask.tokenizer_folder import SETTINGS, TOKENIZER, VOCAB, chosen_file
from spanmask.vocab import Vocabulary, load_vocabulary, with_spares

#: Every file this module writes.
FILES = (VOCAB, TOKENIZER, SETTINGS)


def write_tokenizer(folder: Path, vocabulary: Vocabulary, *, max_tokens: int) -> None:
    """Write a vocabulary's files into a folder that exists, each atomically; see `tokenizer_files`.

    Raises
    ------
    StorageError
        The file system refused.
    """
    for name, data in tokenizer_files(vocabulary, max_tokens=max_tokens).items():
        publish_bytes(folder / name, data)


def tokenizer_files(vocabulary: Vocabulary, *, max_tokens: int) -> dict[str, bytes]:
    """Return a vocabulary's files by name.

    Parameters
    ----------
    vocabulary
        What the model's ids mean.
    max_tokens
        The longest sequence the model takes.
    """
    special = {f"{role}_token": number for role, number in vocabulary.special.as_dict().items() if number is not None}
    settings: dict[str, Any] = {name: vocabulary.entries[number] for name, number in special.items()}
    settings["model_max_length"] = max_tokens
    if vocabulary.tokenizer is None:
        settings |= {"tokenizer_class": "BertTokenizer", "do_lower_case": not vocabulary.cased}
        settings |= {"strip_accents": None, "tokenize_chinese_chars": True}
        name, text = VOCAB, "".join(f"{entry}\n" for entry in with_spares(vocabulary.entries))
    else:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        name, text = TOKENIZER, vocabulary.tokenizer
    told = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    return {name: text.encode(), SETTINGS: told.encode()}


def as_tokenizer_json(vocabulary: Vocabulary) -> str:
    """Return the text of a ``tokenizer.json``, BERT's too: models that are no BERTs have their tokenizer from that file alone.

    It is what the ``tokenizers`` library writes of BERT's WordPiece, and is read as that again.
    """
    if vocabulary.tokenizer is not None:
        return vocabulary.tokenizer
    ids = {vocabulary.entries[number]: number for number in vocabulary.special.as_dict().values() if number is not None}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special, entries = vocabulary.special, with_spares(vocabulary.entries)
    ends = {"sep": special.sep, "cls": special.cls}
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": entry, **plain} for entry, number in sorted(ids.items(), key=itemgetter(1))
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": not vocabulary.cased,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            **{role: [vocabulary.entries[number], number] for role, number in ends.items()},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": None if special.unk is None else vocabulary.entries[special.unk],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {entry: number for number, entry in enumerate(entries)},
        },
    }
    return json.dumps(content, ensure_ascii=False)


def read_tokenizer(folder: Path) -> Vocabulary:
    """Read the vocabulary from the files beside a model, ``tokenizer.json`` before ``vocab.txt``.

    Raises
    ------
    ConfigError
        There is neither, or ``vocab.txt`` without a ``do_lower_case`` that says its casing, or with settings that are not BERT's.
    StorageError
        The file system refused.
    """
    path, cased = chosen_file(folder)
    if path.name == VOCAB and cased is None:
        raise ConfigError(
            f"{folder / SETTINGS}: it does not say the casing of {VOCAB}; add do_lower_case, true or false"
        )
    return load_vocabulary(VocabularyConfig(vocab=str(path), cased=cased))
