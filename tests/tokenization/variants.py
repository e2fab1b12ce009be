"""The kinds with one part or another made otherwise, each for a trap of its own: texts of a tokenizer.json by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from tokenization.kinds import CL100K, KINDS, Part, byte_step, metaspace, precompiled, sequence, split
from tokenization.plain_library import PlainLibrary
from trained import changed

from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary, vocabulary_from_tokenizer

#: Names that overlap, with flags in many combinations; none is special.
ADDED = (
    ("raven", {"single_word": True}),
    ("ravenous", {"single_word": True, "normalized": True}),
    ("the", {"single_word": True, "normalized": True}),
    ("<a>", {"lstrip": True}),
    ("<a><b>", {"rstrip": True}),
    ("<b>", {"lstrip": True, "rstrip": True, "normalized": True}),
    ("<c d>", {"rstrip": True, "single_word": True}),
    ("é", {"normalized": True}),
    ("e\u0301e\u0301", {}),
    ("fi", {"single_word": True, "normalized": True}),
    ("漢", {"single_word": True}),
    ("▁of", {"normalized": True}),
    ("'s", {}),
    ("²", {"normalized": True}),
)

#: White space as tokens, whole runs of it first.
SPACES = (("  ", {"normalized": True}), (" ", {}), ("\n\n\n", {}), ("\t", {}), (" the", {}))

Change = Callable[[Part], Any]


def _with_added(tokens: Iterable[tuple[str, dict[str, bool]]]) -> Change:
    return lambda content: _add(content, tokens)


def _add(content: Part, tokens: Iterable[tuple[str, dict[str, bool]]]) -> None:
    vocab = content["model"]["vocab"]
    known = vocab if isinstance(vocab, dict) else {entry: number for number, (entry, _) in enumerate(vocab)}
    known = known | {token["content"]: token["id"] for token in content["added_tokens"]}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    taken = {token["content"] for token in content["added_tokens"]}
    free = max(known.values()) + 1
    for name, chosen in tokens:
        if name not in taken:
            content["added_tokens"].append({"id": known.get(name, free), "content": name, **flags, **chosen})
            free += name not in known


def _model(**options: Any) -> Change:
    return lambda content: content["model"].update(options)


def _pre_tokenizer(*steps: Part) -> Change:
    return lambda content: content.update(pre_tokenizer=sequence(*steps))


def _normalizer(*steps: Part) -> Change:
    return lambda content: content.update(normalizer={"type": "Sequence", "normalizers": list(steps)})


def _without_entries(*gone: str) -> Change:
    """Without some entries of a BPE and the merges that need them; their ids go to entries that no text becomes."""

    def change(content: Part) -> None:
        vocab, merges = content["model"]["vocab"], content["model"]["merges"]
        for number, entry in enumerate(gone):
            vocab[f"[unused{number}]"] = vocab.pop(entry)
        content["model"]["merges"] = [pair for pair in merges if not {*pair, "".join(pair)} & {*gone}]

    return change


def _reversed_ids(content: Part) -> None:
    """The ids of merged entries the other way round: ranks are places of merges, not ids."""
    vocab = content["model"]["vocab"]
    merged = [left + right for left, right in content["model"]["merges"]]
    numbers = [vocab[entry] for entry in merged]
    vocab.update(zip(merged, reversed(numbers), strict=True))


def _merges_twice(content: Part) -> None:
    """Each third merge again at the end: the library goes by its last place."""
    content["model"]["merges"] += content["model"]["merges"][::3]


def _grow(content: Part, *entries: str, score: float = -9.0) -> None:
    """Put entries behind the model's; the ids of added tokens behind them move."""
    model = content["model"]
    size = len(model["vocab"])
    if isinstance(model["vocab"], dict):
        model["vocab"] |= {entry: size + number for number, entry in enumerate(entries)}
    else:
        model["vocab"] = model["vocab"] + [[entry, score] for entry in entries]
    for token in content["added_tokens"]:
        token["id"] += len(entries) if token["id"] >= size else 0
    ids = {token["content"]: token["id"] for token in content["added_tokens"]}
    for name, token in content["post_processor"]["special_tokens"].items():
        token["ids"] = [ids[name]]


def _merges_over_spaces(content: Part) -> None:
    """Merges that take two words, or a space behind one, into one entry."""
    pairs = [["▁of", "▁the"], ["e", "▁"], ["e▁", "▁"], ["s", "▁of▁the"], ["▁of▁the", "▁"]]
    _grow(content, *map("".join, pairs))
    content["model"]["merges"] += pairs


def _same_scores(content: Part) -> None:
    """Scores that tie: of every other entry the same, of the others the same a character."""
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = [[entry, -float(len(entry)) if k % 2 else -2.0] for k, (entry, _) in enumerate(vocab)]


def _odd_scores(content: Part) -> None:
    """Scores above zero, and others rounded so that sums tie."""
    vocab = content["model"]["vocab"]
    rounded = [[entry, 0.5 if k % 7 == 0 else round(2 * score) / 2] for k, (entry, score) in enumerate(vocab)]
    content["model"]["vocab"] = rounded


def _unigram_bytes(*, each: int) -> Change:
    """With entries for all bytes but each so-manieth."""

    def change(content: Part) -> None:
        content["model"]["byte_fallback"] = True
        _grow(content, *(f"<0x{byte:02X}>" for byte in range(256) if byte % each != 1))

    return change


_DIGITS = {"type": "Digits", "individual_digits": True}
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_COLLAPSE = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
_BY_SPACES = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}

#: What is changed in which kind, by name.
_VARIANTS: dict[str, tuple[str, tuple[Change, ...]]] = {
    **{f"{kind} with added tokens": (kind, (_with_added(ADDED),)) for kind in KINDS},
    **{
        f"{kind} with added spaces": (kind, (_with_added(SPACES),))
        for kind in ("gpt-2", "llama-3", "llama-2", "mistral", "xlm-r")
    },
    "reversed ids": ("gpt-2", (_reversed_ids,)),
    "merges twice": ("roberta", (_merges_twice,)),
    "unknown bytes dropped": ("gpt-2", (_without_entries("Ġ", "e", "Ã", "¢"),)),
    "unknown bytes fused": ("roberta", (_without_entries("Ġ", "e", "Ã", "¢"), _model(fuse_unk=True))),
    "unknown bytes not fused": ("roberta", (_without_entries("Ġ", "e", "Ã", "¢"),)),
    "merges ignored": ("gpt-2", (_model(ignore_merges=True), _reversed_ids)),
    "prefix behind a split": ("llama-3", (_pre_tokenizer(split(CL100K), byte_step(prefix=True, regex=False)),)),
    "digits before bytes": ("gpt-2", (_pre_tokenizer(_DIGITS, byte_step()),)),
    "two splits": (
        "gpt-2",
        (_pre_tokenizer(split(r"\p{N}{1,3}"), split(r"[一-龥]+"), split(CL100K), byte_step(regex=False)),),
    ),
    "split without bytes": ("qwen", (lambda content: content.update(pre_tokenizer=split(CL100K)),)),
    "split kept by inverting": (
        "llama-3",
        (_pre_tokenizer(split(CL100K, behavior="Isolated", invert=True), byte_step(regex=False)),),
    ),
    "split merged with the next": (
        "llama-3",
        (_pre_tokenizer(split(r"\s", behavior="MergedWithNext"), byte_step(regex=False)),),
    ),
    "no words": ("gpt-2", (_pre_tokenizer(byte_step(regex=False)),)),
    "nfkc before bytes": ("roberta", (_normalizer({"type": "NFKC"}),)),
    "lower case before bytes": (
        "gpt-2",
        (_normalizer({"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}),),
    ),
    "llama-2 without fallback": ("llama-2", (_model(byte_fallback=False),)),
    "llama-2 with unknowns not fused": ("llama-2", (_model(byte_fallback=False, fuse_unk=False),)),
    "llama-2 without unknown": ("llama-2", (_model(byte_fallback=False, unk_token=None), _without_entries("e", "é"))),
    "llama-2 with some bytes": ("llama-2", (_without_entries("<0xE6>", "<0x0A>", "é"),)),
    "llama-2 with merges over spaces": ("llama-2", (_merges_over_spaces,)),
    "llama-2 ignoring merges": ("llama-2", (_model(ignore_merges=True), _reversed_ids)),
    "gemma": ("llama-2", (_normalizer(_SPACES), lambda content: content.update(pre_tokenizer=_BY_SPACES))),
    "metaspace first": ("mistral", (_pre_tokenizer(metaspace("first")),)),
    "metaspace always": ("mistral", (_pre_tokenizer(metaspace("always")),)),
    "metaspace never": ("mistral", (_pre_tokenizer(metaspace("never")),)),
    "metaspace always, unsplit": ("mistral", (_pre_tokenizer(metaspace("always", split=False)),)),
    "unigram metaspace first": ("xlm-r", (_pre_tokenizer(metaspace("first")),)),
    "unigram metaspace never": ("t5", (_pre_tokenizer(metaspace("never")),)),
    "unigram unsplit": ("deberta-v3", (_pre_tokenizer(metaspace("always", split=False)),)),
    "unigram as it stands": (
        "xlm-r",
        (lambda content: content.update(normalizer=None), _pre_tokenizer(metaspace("always"))),
    ),
    "unigram of marks": (
        "deberta-v3",
        (_pre_tokenizer(metaspace("always"), {"type": "Punctuation", "behavior": "Isolated"}),),
    ),
    "unigram nmt and nfkc": ("t5", (_normalizer({"type": "Nmt"}, {"type": "NFKC"}, _COLLAPSE),)),
    "unigram precompiled behind lower case": ("t5", (_normalizer({"type": "Lowercase"}, precompiled(), _COLLAPSE),)),
    "unigram ties": ("xlm-r", (_same_scores,)),
    "unigram odd scores": ("t5", (_odd_scores,)),
    "unigram with bytes": ("t5", (_unigram_bytes(each=1),)),
    "unigram with some bytes": ("deberta-v3", (_unigram_bytes(each=5),)),
}
VARIANTS = tuple(_VARIANTS)


@cache
def variant(name: str) -> str:
    kind, changes = _VARIANTS[name]

    def change(content: Part) -> None:
        for one in changes:
            one(content)

    return changed(KINDS[kind](), change)


#: Every tokenizer that texts are held against the library with.
NAMES = (*KINDS, *VARIANTS)


@cache
def vocabulary_of(name: str) -> Vocabulary:
    return vocabulary_from_tokenizer(name, KINDS[name]() if name in KINDS else variant(name))


@cache
def tokenizer_of(name: str) -> Tokenizer:
    return Tokenizer(vocabulary_of(name))


@cache
def plain_library_of(name: str) -> PlainLibrary:
    return PlainLibrary(vocabulary_of(name))
