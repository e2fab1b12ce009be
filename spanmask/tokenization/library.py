"""The `tokenizers` library itself: a ``tokenizer.json`` loaded so that text is text, and calls that end, in tokens or in an error."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

from spanmask.errors import ConfigError
from spanmask.pieces import steps_of
from spanmask.tokenization.growth import require_moderate
from spanmask.tokenizer_json import special_added
from spanmask.vocab import Vocabulary

#: A call that takes both more seconds and more processor time than these, and a second more for every so many bytes, is given up.
PATIENCE, SLOWEST = 60.0, 10_000
#: What special entries are called where text must not become them: after a noncharacter, which no text holds.
HIDDEN = "\U0010fffe"
#: What a number stands behind in a string, so that it keeps its digits: the library does not read the nearest number to some.
_NUMBER = "\U0010ffff number "
_WRITTEN_NUMBER = re.compile(json.dumps(_NUMBER)[:-1].replace("\\", r"\\") + r'([^"]*)"')
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_METASPACE = "▁"
#: Characters of a message of the library's, or of a regular expression, that are shown.
_SHOWN = 160


def load_library(vocabulary: Vocabulary, *, parse: bool) -> Any:
    """Return the library's tokenizer of a vocabulary, without padding, truncation and post-processor.

    Parameters
    ----------
    parse
        Whether the literal name of a special token is that token; otherwise no text becomes a special token but one that the model makes of
        other text, too.

    Raises
    ------
    ConfigError
        The library cannot read it, or numbers its tokens otherwise.
    """
    return _load(vocabulary, parse=parse)[0]


def load_for_text(vocabulary: Vocabulary) -> tuple[Any, dict[str, Any]]:
    """Return a library where no name is a special token, and its tokenizer.json with all parts as these are today; see `load_library`.

    Scores are those that the library holds: it does not read the nearest number to some.
    """
    library, content = _load(vocabulary, parse=False)
    model = {name: _number(value) for name, value in content["model"].items()}
    if "merges" in model:
        model["merges"] = _merges_of(model)
    if model["type"] == "Unigram":
        model |= json.loads(library.model.__getstate__())
    parts = {"normalizer": library.normalizer, "pre_tokenizer": library.pre_tokenizer}
    states = {name: None if part is None else json.loads(part.__getstate__()) for name, part in parts.items()}
    return library, content | {"model": model} | states


def _number(value: Any) -> Any:
    return float(value.removeprefix(_NUMBER)) if isinstance(value, str) and value.startswith(_NUMBER) else value


def _load(vocabulary: Vocabulary, *, parse: bool) -> tuple[Any, dict[str, Any]]:
    """Return a library, and the tokenizer.json it was made of, numbers with digits behind `_NUMBER`."""
    from tokenizers import Tokenizer as Library

    names = dict(zip(vocabulary.special_tokens, vocabulary.special_tokens, strict=True))
    text = vocabulary.tokenizer or ""
    with failing(vocabulary, "the tokenizers library cannot read it", "save it with this version"):
        content = json.loads(text, parse_float=_NUMBER.__add__)
        added = content.get("added_tokens", [])
        if not parse:
            names = _hide(vocabulary, content)
            text = _WRITTEN_NUMBER.sub(r"\1", json.dumps(content))
        library: Any = Library.from_str(text)
        if parse:
            # Those that are special by the file keep what it says of them: whether the space before them is theirs, say.
            library.add_special_tokens([name for name in names if name not in special_added(content)])
        library.no_padding()
        library.no_truncation()
        library.post_processor = None
        steps = [] if library.normalizer is None else steps_of(json.loads(library.normalizer.__getstate__()))
        require_moderate(vocabulary.name, steps, [_normalizer_of(step) for step in steps])
        _require_ids(library, vocabulary, added, names)
    return library, content


def _normalizer_of(step: dict[str, Any]) -> Any:
    from tokenizers import normalizers

    made: Any = normalizers.Sequence([])
    made.__setstate__(json.dumps(step).encode())
    return made


def _require_ids(library: Any, vocabulary: Vocabulary, added: list[dict[str, Any]], names: dict[str, str]) -> None:
    """Refuse a library that gives the last entry, a special or an added token another id than is stated, or now one and now another."""
    stated = {vocabulary.entries[-1]: len(vocabulary) - 1} | {name: vocabulary.ids[name] for name in names}
    for name, number in (stated | {token["content"]: token["id"] for token in added}).items():
        found = library.token_to_id(names.get(name, name))
        if found != number:
            raise ConfigError(
                f"vocabulary {vocabulary.name}: {name!r} has id {number}, the tokenizers library gives it {found}; "
                "save it with this version"
            )
    same = dict[str, str]()
    for name in [token["content"] for token in added if token["normalized"] and not token["special"]]:
        other = same.setdefault(library.normalizer.normalize_str(name) if library.normalizer else name, name)
        if other != name:
            raise ConfigError(
                f"vocabulary {vocabulary.name}: the added tokens {other!r} and {name!r} are one text to its normalizer, and the tokenizers "
                "library gives that now the one's id, now the other's; take one away, or set its normalized to false"
            )


def _hide(vocabulary: Vocabulary, content: dict[str, Any]) -> dict[str, str]:
    """Make the names of special tokens text to a tokenizer.json; return what it calls them."""
    model = content["model"]
    listed = model["vocab"] if isinstance(model["vocab"], dict) else [entry for entry, _ in model["vocab"]]
    roles = {vocabulary.entries[number] for number in vocabulary.special.as_dict().values() if number is not None}
    made = _made_of_text(model, set(listed) & set(vocabulary.special_tokens)) - roles
    names = {name: name if name in made else HIDDEN + name for name in vocabulary.special_tokens}
    # One that the model makes is found by the model alone. The others stay among the added tokens, whose number decides about ids; a
    # normalizer may take away what hides them.
    content["added_tokens"] = [
        {**token, "content": names[token["content"]], "normalized": False} if token["special"] else token
        for token in content.get("added_tokens", [])
        if token["content"] not in made or not token["special"]
    ]
    _rename(model, names)
    return names


def _made_of_text(model: dict[str, Any], special: set[str]) -> set[str]:
    """Return the special entries that a model makes of text without their names: bytes, characters, parts of words, what it merges."""
    parts = _merges_of(model)
    sides = {side for pair in parts for side in pair if side in special}
    merged = special & set(map("".join, parts))
    prefix, suffix = (model.get(name) or _METASPACE for name in ("continuing_subword_prefix", "end_of_word_suffix"))
    return {
        name
        for name in special
        if name in sides
        or name in merged
        or len(name) == 1
        or _METASPACE in name
        or name.startswith(prefix)
        or name.endswith(suffix)
        or (model.get("byte_fallback") and _BYTE.fullmatch(name))
    }


def _merges_of(model: dict[str, Any]) -> list[Sequence[str]]:
    """Return the pairs that a model merges; in a file each may be one text, the version of their form among them."""
    listed = model.get("merges") or ()
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in listed if pair[:8] != "#version"]


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        for entry, name in names.items():
            if entry in vocab:
                vocab[name] = vocab.pop(entry)
    else:
        model["vocab"] = [[names.get(entry, entry), score] for entry, score in vocab]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])


def encode_batch(library: Any, texts: Sequence[str], vocabulary: Vocabulary) -> list[Any]:
    """Return the library's encodings of texts, without special tokens.

    Raises
    ------
    ConfigError
        The tokenizer fails on a text, or would go on as if without end.
    """
    size = sum(map(len, texts))
    with failing(vocabulary, "its tokenizer fails on a text", "mend its tokenizer.json"):
        found: list[Any] = _watched(lambda: library.encode_batch(texts, add_special_tokens=False), vocabulary, size)
        return found


def normalizer_of(steps: Sequence[dict[str, Any]]) -> Any:
    """Return the library's normalizer of some steps as a tokenizer.json has them."""
    return characters_of(steps).normalizer


def characters_of(steps: Sequence[dict[str, Any]]) -> Any:
    """Return a tokenizer to which each character that a normalizer of some steps makes is a token."""
    from tokenizers import Tokenizer as Library

    parts: dict[str, Any] = dict.fromkeys(("truncation", "padding", "post_processor", "decoder"))
    parts["normalizer"] = {"type": "Sequence", "normalizers": list(steps)}
    parts["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    parts["model"] = {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    return Library.from_str(json.dumps({"version": "1.0", **parts}))


def normalize_batch(normalizer: Any, texts: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Return what a normalizer makes of texts.

    Raises
    ------
    ConfigError
        It fails on one, or would go on as if without end.
    """
    with failing(vocabulary, "its normalizer fails on a text", "mend its tokenizer.json"):
        made: list[str] = _watched(
            lambda: [normalizer.normalize_str(text) for text in texts], vocabulary, sum(map(len, texts))
        )
        return made


@contextmanager
def failing(vocabulary: Vocabulary, what: str, advice: str) -> Iterator[None]:
    """Turn what the library raises, which a panic of its own is too, into an error that says so."""
    try:
        yield
    except ConfigError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        told = str(error).split("\n", 1)[0][:_SHOWN]
        raise ConfigError(f"vocabulary {vocabulary.name}: {what} ({told}){_patterns(vocabulary)}; {advice}") from None


def _watched(call: Callable[[], Any], vocabulary: Vocabulary, size: int) -> Any:
    """Return what a call returns, unless it takes too long for texts of ``size`` characters: no call into the library can be ended."""
    results, errors = list[Any](), list[BaseException]()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    # Processor time alone would count what other threads do, the clock alone a machine's sleep.
    began, busy, limit = time.monotonic(), time.process_time(), PATIENCE + size / SLOWEST
    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    while thread.is_alive():
        if min(time.monotonic() - began, time.process_time() - busy) > limit:
            raise ConfigError(
                f"vocabulary {vocabulary.name}: {size:,} characters are not tokenized after {limit:.0f} s{_patterns(vocabulary)}; "
                "simplify what is repeated in it, or leave such documents out"
            )
        thread.join(min(limit / 10, 1.0))
    if errors:
        raise errors[0]
    return results[0]


def _patterns(vocabulary: Vocabulary) -> str:
    """Return the regular expressions of a tokenizer.json, for an error."""
    found = sorted(set(re.findall(r'"Regex":\s*("(?:[^"\\]|\\.)*")', vocabulary.tokenizer or "")))
    if not found:
        return ""
    shown = ", ".join(pattern if len(pattern) <= _SHOWN else f"{pattern[:_SHOWN]}…" for pattern in found[:3])
    return f", with the regular expression {shown}" if len(found) == 1 else f", with the regular expressions {shown}"
