"""Tokenizers and vocabulary files made wrong: values of every type, parts exchanged, absurd sizes, texts cut or altered."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from tokenization.kinds import CL100K, O200K, QWEN
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Library
from trained import SPECIAL

from spanmask.tokenizer_json import ROLES

_LETTERS = "abcdefghijklmnopqrstuvwxyz.,!'0123456789ABCX"
_WORDS = ["the", "cat", "and", "a", "sat", "on", "##s", "##at", "éte", "日", "un", "##a"]
#: Values of every type that JSON has, and sizes that nobody needs.
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        5,
        100,
        2**31,
        2**32 - 1,
        2**32,
        2**63,
        2**64,
        10**30,
        -(2**63),
        0.5,
        -0.0,
        1e-320,
    ),
    *(
        1e308,
        float("nan"),
        float("inf"),
        "",
        " ",
        "a",
        "the",
        "▁",
        "Ġ",
        "\0",
        "\ud800",
        "[MASK]",
        "<s>",
        "<0x41>",
        "x" * 5000,
        "\n",
    ),
    *(
        [],
        [[]],
        [None],
        [0],
        ["a", 0],
        [["a", 0.0]],
        {},
        {"": 0},
        {"a": 0},
        {"a": {}},
        {"type": "Sequence"},
        {"type": None},
    ),
    *(
        {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""},
        {"String": ""},
        {"Regex": ""},
        {"Regex": "(?:a|a)*$"},
    ),
    *(
        {"Regex": "("},
        {"Regex": "a{100000}"},
        {"Regex": "(a{1000}){1000}"},
        {"Regex": r"(?<n>a\g<n>)"},
        {"Regex": r"(\w+\s?)+!"},
    ),
)
#: Texts that the mutants are given.
TEXTS = [
    "the cat sat on the mat, and un-sat.",
    "  éte a\tb\n\n日本 😀 x1 'll",
    "",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
]


def _plain(library: Any, processor: Any = None, decoder: Any = None) -> dict[str, Any]:
    names = SPECIAL if library.token_to_id("<s>") is not None else list(ROLES.values())
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    if processor is not None:
        library.post_processor = processor
    if decoder is not None:
        library.decoder = decoder
    content: dict[str, Any] = json.loads(library.to_str())
    return content


def _ids(*parts: str) -> dict[str, int]:
    return {entry: number for number, entry in enumerate(dict.fromkeys(parts))}


@cache
def tokenizers() -> tuple[dict[str, Any], ...]:
    """Small tokenizers of every kind, as contents of a tokenizer.json."""
    merges = [("t", "h"), ("th", "e"), ("a", "t"), ("a", "n"), ("an", "d")]
    merged = ["".join(pair) for pair in merges]
    framing = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte_level = Library(models.BPE(_ids(*SPECIAL, *alphabet, *merged), merges))
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.add_tokens([AddedToken("  ", normalized=False), AddedToken("sat", single_word=True)])
    split = Library(models.BPE(_ids(*SPECIAL, *alphabet, *merged), merges))
    split.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{L}+|\s+(?!\S)|\s+|[^\s\p{L}]"), "isolated"),
            pre_tokenizers.ByteLevel(use_regex=False),
        ]
    )
    published = Library(models.BPE(_ids(*SPECIAL, *alphabet, *merged), merges, ignore_merges=True))
    published.normalizer = normalizers.NFC()
    published.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *_LETTERS, *merged]
    llama = Library(models.BPE(_ids(*pieces), merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    llama.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    mistral = Library(models.BPE(_ids(*pieces), merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    mistral.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    scored = [(piece, -number / 8) for number, piece in enumerate(_ids(*SPECIAL, "▁", "▁the", "at", *_LETTERS))]
    unigram = Library(models.Unigram(scored, 3, False))
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    wordpiece = Library(models.WordPiece(_ids(*ROLES.values(), *_WORDS, *_LETTERS), unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer(lowercase=True)
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = Library(models.WordLevel(_ids(*ROLES.values(), *_WORDS), unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits()]
    )
    bert = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return (
        _plain(byte_level, framing, decoders.ByteLevel()),
        _plain(split, processors.RobertaProcessing(("</s>", 2), ("<s>", 0))),
        _plain(published, framing, decoders.ByteLevel()),
        _plain(llama, framing),
        _plain(mistral, framing),
        _plain(unigram, framing, decoders.Metaspace()),
        _plain(wordpiece, bert, decoders.WordPiece()),
        _plain(words, bert),
    )


_REGEXES = (
    r"\s+",
    " {2,}",
    "(a+)+$",
    r"(?:a|a)(?:a|a)*[bc]",
    r"(\w+\s?)+!",
    r"a+a+(?=b|c)",
    "",
    "(",
    r"\p{L}+|\s+",
    CL100K,
    QWEN,
    O200K,
    "[^b]*",
    "(?<=a)",
    r"\b",
)
_NORMALIZERS: tuple[dict[str, Any], ...] = (
    *({"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel")),
    {"type": "Strip", "strip_left": True, "strip_right": False},
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Prepend", "prepend": ""},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    {"type": "Replace", "pattern": {"String": ""}, "content": "a"},
    {"type": "Replace", "pattern": {"String": "a"}, "content": "aa" * 9},
    {"type": "Replace", "pattern": {"String": "t"}, "content": "x" * 200},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {
        "type": "BertNormalizer",
        "clean_text": False,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    *({"type": "Replace", "pattern": {"Regex": regex}, "content": "a"} for regex in _REGEXES),
)
_PRE_TOKENIZERS: tuple[dict[str, Any], ...] = (
    *({"type": name} for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts")),
    {"type": "Punctuation", "behavior": "Isolated"},
    {"type": "Digits", "individual_digits": True},
    {"type": "CharDelimiterSplit", "delimiter": "a"},
    {"type": "FixedLength", "length": 5},
    {"type": "FixedLength", "length": 0},
    *(
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": how, "split": how != "first"}
        for how in ("always", "first", "never")
    ),
    *(
        {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": not prefix}
        for prefix in (True, False)
    ),
    *(
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": behavior == "Removed"}
        for regex in _REGEXES
        for behavior in ("Isolated", "Removed", "MergedWithNext", "Contiguous")
    ),
)


def _sequence(name: str, steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    if len(steps) == 1:
        return steps[0]
    return {"type": "Sequence", name: steps} if steps else None


def _plausible(content: dict[str, Any], dice: random.Random) -> str:
    """Other parts of kinds that there are, in any combination, and other tokens added."""
    content = deepcopy(content)
    if dice.random() < 0.5:
        content["normalizer"] = _sequence(
            "normalizers", [deepcopy(dice.choice(_NORMALIZERS)) for _ in range(dice.randrange(4))]
        )
    if dice.random() < 0.5:
        content["pre_tokenizer"] = _sequence(
            "pretokenizers", [deepcopy(dice.choice(_PRE_TOKENIZERS)) for _ in range(dice.randrange(4))]
        )
    model = content["model"]
    for name in [name for name in model if type(model[name]) is bool]:
        model[name] = dice.random() < 0.5
    if "max_input_chars_per_word" in model:
        model["max_input_chars_per_word"] = dice.choice((0, 1, 5, 100, 2**62))
    ids = (
        model["vocab"]
        if isinstance(model["vocab"], dict)
        else {entry: n for n, (entry, _) in enumerate(model["vocab"])}
    )
    for _ in range(dice.randrange(4)):
        name = dice.choice([*ids, "new", " x ", "   ", "été", "the cat", "😀", "Ġ"])
        flags = {flag: dice.random() < 0.3 for flag in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        number = ids.get(name, max(token["id"] for token in (*content["added_tokens"], {"id": len(ids) - 1})) + 1)
        if name not in [token["content"] for token in content["added_tokens"]]:
            content["added_tokens"].append({"id": number, "content": name, **flags})
    if isinstance(model["vocab"], dict) and dice.random() < 0.3:
        model["vocab"].pop(dice.choice(list(model["vocab"])))
    content["added_tokens"].sort(key=lambda token: token["id"])
    return json.dumps(content)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every part of a JSON value, few of long lists and objects."""
    if place:
        yield place
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys if len(keys) < 20 else [*keys[:6], *keys[-2:]]:
        yield from _places(value[key], (*place, key))


def _changed(content: dict[str, Any], dice: random.Random) -> str:
    """A part made another value, taken away, put in twice, or exchanged for one of another tokenizer."""
    content = deepcopy(content)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        place = dice.choice(list(_places(content)))
        inner: Any = content
        for key in place[:-1]:
            inner = inner[key]
        other: Any = dice.choice(tokenizers())
        match dice.randrange(6):
            case 0:
                del inner[place[-1]]
            case 1 if isinstance(inner, list):
                inner.insert(place[-1], inner[place[-1]])
            case 2:
                content[place[0]] = deepcopy(other.get(place[0]))
            case 3 if isinstance(inner, dict) and isinstance(place[-1], str):
                inner[dice.choice(("type", "x", "", "a", "byte_fallback", "ignore_merges"))] = inner.pop(place[-1])
            case _:
                inner[place[-1]] = deepcopy(dice.choice(VALUES))
    return json.dumps(content, ensure_ascii=dice.random() < 0.5)


def _damaged(data: bytes, dice: random.Random) -> bytes:
    """A file cut, with bytes turned, a part taken out, or a part twice."""
    first, last = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    match dice.randrange(4):
        case 0:
            return data[:first]
        case 1:
            changed = bytearray(data)
            for _ in range(dice.randrange(1, 6)):
                changed[dice.randrange(len(data))] = dice.choice(b'\0\xff\x80"{}[],:0-9\n \\e')
            return bytes(changed)
        case 2:
            return data[:first] + data[min(last, first + 40) :]
        case _:
            return data[: first + 40] + data[first:]


def tokenizer_file(dice: random.Random) -> bytes:
    """A tokenizer.json made wrong, or left as it is."""
    content = dice.choice(tokenizers())
    if dice.random() < 0.6:
        return _plausible(content, dice).encode()
    data = _changed(content, dice).encode("utf-8", "surrogatepass")
    return _damaged(data, dice) if dice.random() < 0.3 else data


def vocabulary_file(dice: random.Random) -> bytes:
    """A vocab.txt with odd lines, damaged now and then."""
    ends = ("\n", "\n", "\n", "\r\n", " \n", "\t\n", "\u3000\n", "\x85\n", "\n\n", "\r", "\u2028")
    odd = (
        "",
        " ",
        "\ufeff",
        "\0",
        "the",
        "##s",
        "##",
        "[unused0]",
        "[MASK]",
        "a b",
        "\x1c",
        "a\u2028b",
        "x" * 200,
        "\u200b",
    )
    lines = [*ROLES.values(), *_WORDS, *_LETTERS]
    if dice.random() < 0.3:
        dice.shuffle(lines)
    for _ in range(dice.randrange(8)):
        lines.insert(dice.randrange(len(lines) + 1), dice.choice(odd))
    data = "".join(line + (dice.choice(ends) if dice.random() < 0.2 else "\n") for line in lines).encode()
    return _damaged(data, dice) if dice.random() < 0.2 else data


#: What is fuzzed, by the name of its file.
MAKERS: dict[str, Callable[[random.Random], bytes]] = {"tokenizer.json": tokenizer_file, "vocab.txt": vocabulary_file}
