"""Text without spaces, made of stated sentences, and tokenizers of eight kinds that have seen some of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from trained import SPECIAL, changed, stories

#: What stands behind each sentence, and the sentences.
SENTENCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Chinese": (
        "。",
        (
            "我们今天去北京的故宫博物院参观并且拍了很多照片",
            "然后回家吃饭",
            "他在上海的一家公司工作已经十年了",
            "这本书讲的是一个年轻人离开家乡的故事",
            "老师让学生把课文读三遍",
        ),
    ),
    "Japanese": (
        "。",
        (
            "今日は天気がいいから散歩しましょうと友達に言われました",
            "東京の夏はとても暑くて電車の中も混んでいます",
            "コンピューターで新しいプログラムを書いています",
            "明日の朝は早く起きなければなりません",
        ),
    ),
    "Thai": (
        " ",
        (
            "ฉันชอบกินข้าวเช้าทุกวันและอ่านข่าวตอนเย็นที่บ้านของฉันในกรุงเทพมหานคร",
            "เขาเดินทางไปเชียงใหม่โดยรถไฟเมื่อวานนี้",
            "เด็กเด็กกำลังเล่นฟุตบอลอยู่ในสนามหญ้าหลังโรงเรียน",
            "วันนี้อากาศร้อนมากเราจึงไปว่ายน้ำกัน",
        ),
    ),
    "Korean": (
        ".",
        (
            "오늘은날씨가좋아서친구와함께공원에갔습니다",
            "서울에는높은건물이많고사람들도많이살고있습니다",
            "나는아침마다커피를마시면서신문을읽습니다",
            "학생들이도서관에서조용히책을읽고있었다",
        ),
    ),
}
_PATH = "abcdefghijklmnopqrstuvwxyz0123456789-_"


def _dna(chance: random.Random) -> str:
    """A line of FASTA: 40 to 90 bases, which BERT's WordPiece takes as one word."""
    return "".join(chance.choices("ACGT", k=chance.randint(40, 90))) + "\n"


def _url(chance: random.Random) -> str:
    folders = ("".join(chance.choices(_PATH, k=chance.randint(4, 18))) for _ in range(chance.randint(1, 6)))
    host = f"{chance.choice(('www.example', 'data.archive', 'cdn.static'))}.{chance.choice(('com', 'org', 'net'))}"
    return f"https://{host}/{'/'.join(folders)}?id={chance.randint(0, 10**9)}\n"


def _sentence(language: str) -> Callable[[random.Random], str]:
    end, sentences = SENTENCES[language]
    return lambda chance: chance.choice(sentences) + end


#: What makes a bit of each kind of text.
LANGUAGES: dict[str, Callable[[random.Random], str]] = {
    **{language: _sentence(language) for language in SENTENCES},
    "DNA": _dna,
    "URLs": _url,
}


def documents(language: str, *, count: int, characters: int = 1500) -> Iterator[str]:
    """Yield documents of a language of at least as many characters, the same each time."""
    chance, bit = random.Random(language), LANGUAGES[language]
    for _ in range(count):
        text = ""
        while len(text) < characters:
            text += bit(chance)
        yield text.strip()


@cache
def _seen() -> list[str]:
    """What tokenizers are trained on: English, and every sentence three times."""
    sentences = [f"{sentence}{end}" for end, sentences in SENTENCES.values() for sentence in sentences]
    return [
        *stories()[:40_000].split("\n"),
        *3 * sentences,
        *(next(documents(name, count=1)) for name in ("DNA", "URLs")),
    ]


def _saved(tokenizer: Any, trainer: Any, decoder: Any = None) -> str:
    tokenizer.train_from_iterator(_seen(), trainer)
    tokenizer.decoder = decoder
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return str(tokenizer.to_str())


def _bpe(size: int = 1200, **options: Any) -> Any:
    return trainers.BpeTrainer(vocab_size=size, show_progress=False, **{"special_tokens": SPECIAL, **options})


@cache
def xlmr() -> str:
    tokenizer = Tokenizer(models.Unigram())
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=1200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False, n_sub_iterations=1
    )
    return _saved(tokenizer, trainer, decoders.Metaspace())


def xlmr_ws() -> str:
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    tokenizer = Tokenizer.from_str(xlmr())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return str(tokenizer.to_str())


def meta_nosplit() -> str:
    return changed(xlmr(), lambda content: content["pre_tokenizer"].update(split=False, prepend_scheme="first"))


@cache
def roberta() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _saved(tokenizer, _bpe(initial_alphabet=pre_tokenizers.ByteLevel.alphabet()), decoders.ByteLevel())


@cache
def modernbert() -> str:
    tokenizer = Tokenizer.from_str(roberta())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("|||IP_ADDRESS|||"), *(AddedToken(" " * size) for size in range(24, 1, -1))])
    return str(tokenizer.to_str())


@cache
def llama() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    text = _saved(tokenizer, _bpe(1500, special_tokens=SPECIAL + pieces))
    return changed(text, lambda content: content.update(added_tokens=content["added_tokens"][:5]))


@cache
def nopre() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    return _saved(tokenizer, _bpe(800))


TOKENIZERS: dict[str, Callable[[], str] | None] = {
    "cased": None,
    "xlmr": xlmr,
    "xlmr_ws": xlmr_ws,
    "meta_nosplit": meta_nosplit,
    "roberta": roberta,
    "modernbert": modernbert,
    "llama": llama,
    "nopre": nopre,
}


def ranges(text: str) -> list[list[int]]:
    """Ranges of six code points, as an annotator would give them."""
    return [[first, first + 6] for first in islice(range(3, len(text) - 10, 29), 60)]
