"""Tokenizers as published models have them, trained here on real text: texts of a tokenizer.json, in every part but its entries theirs.

The special tokens that masking needs, and that some of those models lack, are added to them.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import sentencepiece
from tokenizers import Tokenizer as Library
from tokenizers import pre_tokenizers, trainers
from trained import stories

#: What the stories have too little of: other scripts, digits, code, contractions and runs of spaces.
MIXED = """\
Él comió una manzana; señor Müller wohnt in der Straße 12, à côté du café. Zażółć gęślą jaźń, příliš žluťoučký kůň.
Η γρήγορη αλεπού πηδάει πάνω από το σκυλί. Быстрая лиса прыгает через ленивую собаку, а собака спит.
漢字とかな交じりの文章です。中文分词没有空格。빠른 갈색 여우가 게으른 개를 뛰어넘는다. किताब मेज़ पर है।
السلام عليكم ورحمة الله שלום עולם ภาษาไทย
In 1849 and 2026 it cost 3,141,592.65 or 50% more; x1 = 0x7F, 1e-9, 12345678 items, the 3rd, 44th and 101st.
I don't know, we'll see; they've gone, she's here, I'd say you're right, I'm sure. DON'T, WE'LL, THEY'VE, it’s
def f(x, *args):
    if x > 0 and args[0] != x:
        return {"a": x ** 2, 'b': [x - 1, x / 2]}  # done
\tfor (int i = 0; i < n; ++i) { sum += a[i]; }
😀 👩‍🚀 🇩🇪 ❤️ … — “quoted” ‘so’ «là» №5 ½ ² Ⅷ ﬁ ™
"""
#: Splits of byte-level tokenizers, as published.
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = CL100K.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Part = dict[str, Any]
_SIZE = 2_000
_NFC: Part = {"type": "NFC"}
_TWO_SPACES: Part = {"Regex": " {2,}"}


# --- Training


def _text() -> str:
    return stories()[:120_000] + MIXED * 5


def _file(model: Part, normalizer: Part | None, pre_tokenizer: Part | None) -> Part:
    parts = {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": None}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], **parts, "model": model}


def _trained(content: Part, trainer: Any, texts: Iterable[str]) -> Part:
    library = Library.from_str(json.dumps(content))
    library.train_from_iterator(texts, trainer)
    model: Part = json.loads(library.to_str())["model"]
    return {**content, "model": content["model"] | {name: model[name] for name in ("vocab", "merges") if name in model}}


def _byte_level_bpe(first: list[str], normalizer: Part | None, pre_tokenizer: Part, **options: Any) -> Part:
    """A file whose model is a BPE over the characters that stand for bytes; ``first`` are its first entries."""
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
    }
    model |= {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {}, "merges": []} | options
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_SIZE, special_tokens=first, initial_alphabet=alphabet, show_progress=False
    )
    return _trained(_file(model, normalizer, pre_tokenizer), trainer, _text().splitlines(keepends=True))


@cache
def _sentencepiece_bpe() -> Part:
    """The model of Llama-2: ▁ for spaces, bytes for what it does not know, no merge over a space that follows another character."""
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None}
    model |= {"end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False}
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=_SIZE, special_tokens=first, limit_alphabet=150, show_progress=False)
    parts = re.findall(r"▁*[^▁\n]+", _text().replace(" ", "▁"))
    trained: Part = _trained(_file(model | {"vocab": {}, "merges": []}, None, None), trainer, parts)["model"]
    return trained


@cache
def _sentencepiece() -> sentencepiece.SentencePieceProcessor:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_text().splitlines()),
        model_writer=written,
        vocab_size=_SIZE,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
        num_threads=1,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def _fields(message: bytes, wanted: int) -> list[bytes]:
    """The values of one field of a protocol buffer's message whose fields are numbers, floats and bytes."""

    def number(at: int) -> tuple[int, int]:
        size = next(k for k in range(at, len(message)) if message[k] < 128) + 1
        return sum((byte & 127) << 7 * k for k, byte in enumerate(message[at:size])), size

    at, found = 0, []
    while at < len(message):
        tag, at = number(at)
        start, end = at, at + {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 0:
            end = number(at)[1]
        elif tag & 7 == 2:
            length, start = number(at)
            end = start + length
        if tag >> 3 == wanted:
            found.append(message[start:end])
        at = end
    return found


@cache
def precompiled() -> Part:
    """The normalizer nmt_nfkc with sentencepiece's own table, which is in the models that its trainer writes."""
    (specification,) = _fields(_sentencepiece().serialized_model_proto(), 3)
    (table,) = _fields(specification, 2)
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def _unigram(first: list[str], unknown: str, steps: list[Part], pre_tokenizer: Part) -> Part:
    """A file whose model is a Unigram from the library's trainer; ``first`` are its first entries."""
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]], "byte_fallback": False}
    content = _file(model, {"type": "Sequence", "normalizers": steps}, pre_tokenizer)
    trainer = trainers.UnigramTrainer(
        vocab_size=1_500, special_tokens=first, unk_token=unknown, show_progress=False, n_sub_iterations=1
    )
    content = _trained(content, trainer, _text().splitlines())
    content["model"]["unk_id"] = first.index(unknown)
    return content


# --- What is put around a model


def _added(content: Part, name: str, *, special: bool = True, **flags: bool) -> None:
    """Add a token; it has its id in the model, or the next one."""
    vocab = content["model"]["vocab"]
    known = vocab if isinstance(vocab, dict) else {entry: number for number, (entry, _) in enumerate(vocab)}
    taken = {token["id"] for token in content["added_tokens"]} | {len(known) - 1}
    number = known.get(name, max(taken) + 1)
    defaults = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special}
    content["added_tokens"].append({"id": number, "content": name, **defaults, "special": special, **flags})


def metaspace(scheme: str, **options: Any) -> Part:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True, **options}


def byte_step(*, prefix: bool = False, regex: bool = True) -> Part:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern: str, *, behavior: str = "Isolated", invert: bool = False) -> Part:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps: Part) -> Part:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def _split_bytes(pattern: str, **options: Any) -> Part:
    return sequence(split(pattern, **options), byte_step(regex=False))


def _frame(content: Part, first: str, last: str, *before: Part) -> str:
    """The file's text, with a template that puts a text between two tokens, and the decoder of its kind."""
    ids = {token["content"]: token["id"] for token in content["added_tokens"]}
    single = [{"SpecialToken": {"id": first, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    single += [{"SpecialToken": {"id": last, "type_id": 0}}]
    known = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (first, last)}
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, single[-1]]
    template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}
    content["post_processor"] = {"type": "Sequence", "processors": [*before, template]} if before else template
    if content["model"]["type"] == "BPE" and not content["model"]["byte_fallback"]:
        content["decoder"] = byte_step()
    else:
        content["decoder"] = metaspace("always")
    return json.dumps(content, ensure_ascii=False)


# --- The kinds


@cache
def roberta(*, prefix: bool = False) -> str:
    content = _byte_level_bpe(["<s>", "<pad>", "</s>", "<unk>"], None, byte_step(prefix=prefix), unk_token="<unk>")
    content["model"]["vocab"]["<mask>"] = len(content["model"]["vocab"])
    for name in ("<s>", "<pad>", "</s>", "<unk>"):
        _added(content, name, normalized=True)
    _added(content, "<mask>", lstrip=True)
    ends: Part = {"cls": ["<s>", 0], "sep": ["</s>", 2], "trim_offsets": True, "add_prefix_space": prefix}
    content |= {"post_processor": {"type": "RobertaProcessing", **ends}, "decoder": byte_step()}
    return json.dumps(content, ensure_ascii=False)


@cache
def gpt_2() -> str:
    content = _byte_level_bpe([], None, byte_step())
    for name in ("<|endoftext|>", "<pad>", "<mask>"):
        _added(content, name, normalized=True)
    return _frame(content, "<|endoftext|>", "<|endoftext|>")


@cache
def modernbert() -> str:
    content = _byte_level_bpe(["|||IP_ADDRESS|||", "<|padding|>"], _NFC, byte_step())
    _added(content, "|||IP_ADDRESS|||", special=False)
    _added(content, "<|padding|>")
    for size in range(24, 1, -1):
        _added(content, " " * size, special=False)
    for name in ("|||EMAIL_ADDRESS|||", "|||PHONE_NUMBER|||"):
        _added(content, name, special=False)
    for name in ("<|endoftext|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]"):
        _added(content, name)
    _added(content, "[MASK]", lstrip=True)
    for number in range(3):
        _added(content, f"[unused{number}]", special=False)
    return _frame(content, "[CLS]", "[SEP]")


def _tiktoken(names: Iterable[str], normalizer: Part | None, pre_tokenizer: Part, **options: Any) -> Part:
    content = _byte_level_bpe([], normalizer, pre_tokenizer, **options)
    for name in (*names, "<pad>", "<mask>"):
        _added(content, name)
    return content


@cache
def llama_3() -> str:
    names = ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>")
    content = _tiktoken(names, None, _split_bytes(CL100K), ignore_merges=True)
    return _frame(content, *names[:2], {**byte_step(prefix=True), "trim_offsets": False})


@cache
def qwen() -> str:
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    return _frame(_tiktoken(names, _NFC, _split_bytes(QWEN)), *names[1:])


@cache
def olmo_2() -> str:
    names = ("<|fim_prefix|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")
    return _frame(_tiktoken(names, None, _split_bytes(CL100K, behavior="Removed", invert=True)), *names[2:])


@cache
def gpt_4o() -> str:
    names = ("<|endoftext|>", "<|endofprompt|>")
    return _frame(_tiktoken(names, None, _split_bytes(O200K), ignore_merges=True), *names)


@cache
def byte_level_normalizer() -> str:
    """Bytes written as characters by the normalizer, and what is split is split by spaces as that writes them."""
    step = {"type": "Split", "pattern": {"String": "Ġ"}, "behavior": "MergedWithNext", "invert": False}
    return _frame(_tiktoken(("<s>", "</s>"), {"type": "ByteLevel"}, step), "<s>", "</s>")


def _sentencepiece_file(normalizer: Part | None, pre_tokenizer: Part | None) -> str:
    content = _file(_sentencepiece_bpe(), normalizer, pre_tokenizer)
    for name in ("<unk>", "<s>", "</s>", "<pad>", "<mask>"):
        _added(content, name)
    return _frame(content, "<s>", "</s>")


@cache
def llama_2() -> str:
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return _sentencepiece_file({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]}, None)


@cache
def mistral() -> str:
    return _sentencepiece_file(None, metaspace("first", split=False))


@cache
def xlm_r() -> str:
    """With the entries and scores of sentencepiece's own trainer, which are floats of 32 bits."""
    model = _sentencepiece()
    pieces = [[model.id_to_piece(number), model.get_score(number)] for number in range(3, model.get_piece_size())]
    first = [[name, 0.0] for name in ("<s>", "<pad>", "</s>", "<unk>")]
    unigram = {"type": "Unigram", "unk_id": 3, "vocab": [*first, *pieces, ["<mask>", 0.0]], "byte_fallback": False}
    splits = [{"type": "WhitespaceSplit"}, metaspace("always")]
    content = _file(unigram, precompiled(), sequence(*splits))
    for name, _ in first:
        _added(content, str(name))
    _added(content, "<mask>", lstrip=True)
    return _frame(content, "<s>", "</s>")


@cache
def t5() -> str:
    spaces = {"type": "Replace", "pattern": _TWO_SPACES, "content": "▁"}
    steps = [precompiled(), {"type": "Strip", "strip_left": False, "strip_right": True}, spaces]
    content = _unigram(["<pad>", "</s>", "<unk>"], "<unk>", steps, metaspace("always"))
    for name in ("<pad>", "</s>", "<unk>", *(f"<extra_id_{number}>" for number in range(9, -1, -1)), "<s>", "<mask>"):
        _added(content, name)
    return _frame(content, "<s>", "</s>")


@cache
def deberta_v3() -> str:
    spaces = {"type": "Replace", "pattern": _TWO_SPACES, "content": " "}
    steps = [{"type": "Strip", "strip_left": True, "strip_right": True}, precompiled(), spaces]
    pre_tokenizer = sequence(metaspace("always"))
    content = _unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[UNK]", steps, pre_tokenizer)
    for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"):
        _added(content, name, normalized=name == "[UNK]")
    return _frame(content, "[CLS]", "[SEP]")


#: The text of each kind's tokenizer.json, by name.
KINDS: dict[str, Callable[[], str]] = {
    "roberta": roberta,
    "roberta with prefix": lambda: roberta(prefix=True),
    "gpt-2": gpt_2,
    "modernbert": modernbert,
    "llama-3": llama_3,
    "qwen": qwen,
    "olmo-2": olmo_2,
    "gpt-4o": gpt_4o,
    "byte-level normalizer": byte_level_normalizer,
    "llama-2": llama_2,
    "mistral": mistral,
    "xlm-r": xlm_r,
    "t5": t5,
    "deberta-v3": deberta_v3,
}
