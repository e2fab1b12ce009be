"""What a ``tokenizer.json`` says of its entries: their ids, whether it is BERT's, and which special token has which role.

It is taken as parsed JSON and believed in nothing: what it is not made as raises what Python raises there, and the caller says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from spanmask.errors import ConfigError
from spanmask.pieces import CONTINUATION

#: The special tokens by role.
ROLES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
#: What other tokenizers call them, where their post-processor, padding or model does not say.
_OTHER_NAMES = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
#: Characters of an entry of a Unigram at most: the library frees them one within the other, and overflows its stack from some 100,000 on.
_LONGEST = 4096
#: The parts of a tokenizer.json that make it BERT's, casing aside.
_BERT: dict[str, dict[str, Any]] = {
    "model": {
        "type": "WordPiece",
        "unk_token": ROLES["unk"],
        "continuing_subword_prefix": CONTINUATION,
        "max_input_chars_per_word": 100,
    },
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
}


def spares(entries: Iterable[str]) -> Iterator[str]:
    """Yield names of unused entries that are not there."""
    known = set(entries)
    return (spare for number in count() if (spare := f"[unused{number}]") not in known)


def entries_of(name: str, content: dict[str, Any]) -> tuple[str, ...]:
    """Return the entries of a tokenizer.json by id; an id without one, as a list with doubles leaves behind, has an unused one."""
    vocab = content["model"]["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else ((entry, number) for number, (entry, _) in enumerate(vocab))
    by_id = {number: str(entry) for entry, number in pairs}
    longest = 0 if isinstance(vocab, dict) else max(map(len, by_id.values()), default=0)
    if longest > _LONGEST:
        raise ConfigError(
            f"vocabulary {name}: an entry of {longest:,} characters, at most {_LONGEST:,} are taken; shorten it"
        )
    by_id |= {token["id"]: str(token["content"]) for token in content.get("added_tokens", [])}
    if not all(type(number) is int and number >= 0 for number in by_id):
        raise ValueError("its ids are no numbers from 0 on")
    size = max(by_id, default=-1) + 1
    if size > 2 * len(by_id):
        raise ConfigError(
            f"vocabulary {name}: its ids go to {size - 1:,} for {len(by_id):,} entries; number them from 0"
        )
    unused = spares(by_id.values())
    return tuple(by_id[number] if number in by_id else next(unused) for number in range(size))


def is_berts(content: dict[str, Any]) -> bool:
    """Tell whether nothing but the entries and the casing is other than BERT's, and each entry has an id of its own."""
    for part, wanted in _BERT.items():
        if not wanted.items() <= (content.get(part) or {}).items():
            return False
    normalizer, vocab = content["normalizer"], content["model"]["vocab"]
    known = all(
        token["special"]
        and token["content"] in ROLES.values()
        and vocab.get(token["content"], token["id"]) == token["id"]
        for token in content.get("added_tokens", [])
    )
    ids = vocab | {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    alone = len(set(ids.values())) == len(ids)
    return known and alone and normalizer["strip_accents"] in (None, normalizer["lowercase"])


def special_added(content: dict[str, Any]) -> dict[str, int]:
    """Return the special ones among the added tokens, with their ids."""
    return {token["content"]: token["id"] for token in content.get("added_tokens", []) if token["special"]}


def roles_of(name: str, ids: dict[str, int], content: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the ids of special tokens by role: by what post-processor, padding and model say, else by name, special tokens before others.

    Parameters
    ----------
    name
        The vocabulary's, for errors.
    ids
        Each entry's id.
    content
        The tokenizer.json.
    size
        How many ids there are.

    Raises
    ------
    ConfigError
        One other than unk is missing, or lies outside of the vocabulary.
    """
    added, roles = special_added(content), dict[str, Any](unk=None)
    for role, known_as in ROLES.items():
        found = (known.get(word) for known in (added, ids) for word in (known_as, _OTHER_NAMES[role]))
        number = next((number for number in found if number is not None), None)
        if number is not None:
            roles[role] = number
    roles |= _model_unknown(content["model"], ids)
    roles |= _framing(content.get("post_processor") or {})
    if content.get("padding"):
        roles["pad"] = content["padding"]["pad_id"]
    missing = [role for role in ROLES if role not in roles]
    if missing:
        wanted = ", ".join(_OTHER_NAMES[role] for role in missing)
        raise ConfigError(
            f"vocabulary {name}: it has no token for {', '.join(missing)}; "
            f"add {wanted} to its special tokens, and save it again"
        )
    _require_known(name, roles, size)
    return roles


def _require_known(name: str, roles: dict[str, Any], size: int) -> None:
    for role, number in roles.items():
        if number is not None and not (type(number) is int and 0 <= number < size):
            raise ConfigError(
                f"vocabulary {name}: its id for {role} is {number}, and it has {size} entries; correct it"
            )


def _model_unknown(model: dict[str, Any], ids: dict[str, int]) -> dict[str, int]:
    """Return the id that a model gives to what it does not know, by its role, where it has one."""
    number = model.get("unk_id") if model["type"] == "Unigram" else ids.get(model.get("unk_token") or "")
    return {} if number is None else {"unk": number}


def _framing(processor: dict[str, Any]) -> dict[str, int]:
    """Return the ids that a post-processor puts before and after a text, by their roles."""
    kind = processor.get("type")
    if kind == "Sequence":
        inner = [_framing(item) for item in processor["processors"]]
        return {role: number for found in inner for role, number in found.items()}
    if kind in ("BertProcessing", "RobertaProcessing"):
        return {role: processor[role][1] for role in ("cls", "sep")}
    if kind != "TemplateProcessing":
        return {}
    names = [item["SpecialToken"]["id"] if "SpecialToken" in item else None for item in processor["single"]]
    place = names.index(None)
    around = {"cls": names[:place][:1], "sep": names[place + 1 :][:1]}
    return {role: processor["special_tokens"][name]["ids"][0] for role, found in around.items() for name in found}
