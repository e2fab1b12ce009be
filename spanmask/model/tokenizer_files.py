"""A vocabulary as the files Hugging Face reads beside a model, and back.

BERT's is written as ``vocab.txt`` with its casing in ``tokenizer_config.json``; any other as the ``tokenizer.json`` it came from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.storage import publish_bytes, reporting, require_file
from spanmask.vocab import Vocabulary, load_vocabulary, with_spares

_VOCAB, _TOKENIZER, _SETTINGS = "vocab.txt", "tokenizer.json", "tokenizer_config.json"
#: Bytes of such a file, and of JSON about a model, at most.
_LIMIT = 128 << 20
#: Every file this module writes.
FILES = (_VOCAB, _TOKENIZER, _SETTINGS)


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
        name, text = _VOCAB, "".join(f"{entry}\n" for entry in with_spares(vocabulary.entries))
    else:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        name, text = _TOKENIZER, vocabulary.tokenizer
    told = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    return {name: text.encode(), _SETTINGS: told.encode()}


def read_tokenizer(folder: Path) -> Vocabulary:
    """Read the vocabulary from the files beside a model, ``tokenizer.json`` before ``vocab.txt``.

    Raises
    ------
    ConfigError
        There is neither, or ``vocab.txt`` without a ``do_lower_case`` that says its casing, or with settings that are not BERT's.
    StorageError
        The file system refused.
    """
    if (folder / _TOKENIZER).exists():
        require_file(folder / _TOKENIZER, _LIMIT)
        return load_vocabulary(VocabularyConfig(vocab=str(folder / _TOKENIZER)))
    if not (folder / _VOCAB).exists():
        raise ConfigError(f"{folder}: it has neither {_TOKENIZER} nor {_VOCAB}; save the model's tokenizer there")
    require_file(folder / _VOCAB, _LIMIT)
    settings = _settings(folder / _SETTINGS)
    lowercase = settings.get("do_lower_case")
    if not isinstance(lowercase, bool):
        raise ConfigError(
            f"{folder / _SETTINGS}: it does not say the casing of {_VOCAB}; add do_lower_case, true or false"
        )
    for name, wanted in {"strip_accents": (None, lowercase), "tokenize_chinese_chars": (None, True)}.items():
        if settings.get(name) not in wanted:
            raise ConfigError(
                f"{folder / _SETTINGS}: {name} is {settings[name]!r}, and {_VOCAB} is read as BERT has it ({wanted[1]}); "
                f"save the tokenizer as {_TOKENIZER}, which is read with all its settings"
            )
    return load_vocabulary(VocabularyConfig(vocab=str(folder / _VOCAB), cased=not lowercase))


def _settings(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ConfigError
        The file is missing or no such thing.
    StorageError
        The file system refused.
    """
    require_file(path, _LIMIT)
    with reporting(path, "read"):
        data = path.read_bytes()
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON ({error}); copy the folder again") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {type(content).__name__}, expected a JSON object; copy the folder again")
    return content
