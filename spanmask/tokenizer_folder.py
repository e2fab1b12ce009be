"""A folder with a tokenizer's files as Hugging Face names them: which of them says what its entries and its casing are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError
from spanmask.storage import reporting, require_file

VOCAB, TOKENIZER, SETTINGS = "vocab.txt", "tokenizer.json", "tokenizer_config.json"
#: Bytes of such a file, and of JSON about a model, at most.
_LIMIT = 128 << 20


def chosen_file(folder: Path) -> tuple[Path, bool | None]:
    """Return ``tokenizer.json``, which is read before ``vocab.txt``, or that one with whether it is cased, None where nothing says so.

    Raises
    ------
    ConfigError
        There is neither, one is no regular file, or ``vocab.txt`` stands beside settings that are not BERT's.
    StorageError
        The file system refused.
    """
    if (folder / TOKENIZER).exists():
        require_file(folder / TOKENIZER, _LIMIT)
        return folder / TOKENIZER, None
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give one that holds a model, or its tokenizer")
    if not (folder / VOCAB).exists():
        raise ConfigError(f"{folder}: it has neither {TOKENIZER} nor {VOCAB}; save the model's tokenizer there")
    require_file(folder / VOCAB, _LIMIT)
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).exists() else {}
    lowercase = settings.get("do_lower_case")
    if not isinstance(lowercase, bool):
        return folder / VOCAB, None
    for name, wanted in {"strip_accents": (None, lowercase), "tokenize_chinese_chars": (None, True)}.items():
        if settings.get(name) not in wanted:
            raise ConfigError(
                f"{folder / SETTINGS}: {name} is {settings[name]!r}, and {VOCAB} is read as BERT has it ({wanted[1]}); "
                f"save the tokenizer as {TOKENIZER}, which is read with all its settings"
            )
    return folder / VOCAB, not lowercase


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
