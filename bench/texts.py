"""Texts that are measured on: files as spanmask reads them, Python's own library, and made-up text in Chinese, Greek and many scripts.

No corpus in these scripts is at hand under a free licence and at a fitting size, so they are made up: characters and words with
frequencies after Zipf's law, which is about how languages use them.
"""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from spanmask.config import Format, PreshardConfig
from spanmask.corpus.inputs import find_inputs
from spanmask.corpus.reading import read_part
from spanmask.errors import ConfigError
from spanmask.presharding.planning import make_plan
from spanmask.vocab import load_vocabulary

from .inputs import SEED, zipf

#: Words made up in Greek, some of them twice, and bytes of a document in both scripts, as in an encyclopaedia.
GREEK_WORDS, DOCUMENT_BYTES = 50_000, 16_384
_SYLLABLES = 5
_BLOCK_BYTES = 4 << 20
_CONSONANTS = np.array([*"βγδζθκλμνξπρστφχψ", "πρ", "στ", "τρ", "κλ", ""])
_VOWELS, _ACCENTED = np.array(list("αεηιουω")), np.array(list("άέήίόύώ"))
_ENDINGS = np.array(["", "ς", "ν"])
#: Words of mixed text: letters that they are made of, by script, and what is put between some of them.
SCRIPTS = {
    "Latin": "abcdefghijklmnopqrstuvwxyzàâäåæçéèêëíîïñóôöøúûüßčşšžğłńőř",
    "Cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Greek": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώ",
    "Hebrew": "אבגדהוזחטיכךלמםנןסעפףצץקרשת",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويةى",
    "Devanagari": "अआइईउऊएऐओऔकखगघचछजझटठडढतथदधनपफबभमयरलवशषसहािीुूेैोौंँ्",
    "Thai": "กขคงจชซญดตถทนบปผพฟมยรลวสหอะาิีืุูเแโไ่้",
    "Hangul": "가각간갈감갑강개거건걸검게겨결경고공과관구국군그금기길김나난남내너년노는다단달당대도동",
    "Kana": "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをんアイウエオカキク",
    "Han": "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生",
}
MIXED_WORDS = 4_000
#: What `_text` counts.
_COUNTED = ("documents", "bytes", "sha256")
_BETWEEN = ("😀", "👩‍🚀", "🇩🇪", "№5", "½", "1849", "3,141.59", "—", "…", "“”", "x²")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Documents, and what a result says about them."""

    documents: list[str]
    described: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes in UTF-8."""
        size: int = self.described["bytes"]
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One text, divided. training: its first documents, for tokenizers to be trained on.

    warm_up, measured: of those after them every second one each, so that the two are alike and neither has been seen; of all documents
    where the text is too short for that.
    """

    training: list[str]
    warm_up: Text
    measured: Text


def of(name: str, paths: Sequence[str], limit: int) -> Text:
    """Return about so many bytes of ``prose``, which comes from files, or of another text of `NAMES`; see `read`."""
    return read(paths, limit) if name == "prose" else NAMES[name](limit)


def parts(name: str, paths: Sequence[str], *, training: int, limit: int, without: Sequence[str] = ()) -> Parts:
    """Return a text, divided: ``training`` bytes of it, and twice ``limit`` of documents that have no string of ``without`` in them.

    Raises
    ------
    ConfigError
        As `read`, or there is one document, which cannot be divided.
    """
    whole = of(name, paths, training + 2 * limit)
    documents = [document for document in whole.documents if not any(name in document for name in without)]
    if len(documents) < 2:
        raise ConfigError(f"{name}: one document; give a text of two at least, for one is to warm up")
    trained_on = first(documents, training)
    rest = documents[len(trained_on) :]
    if len(rest) < 2 or sum(len(document.encode()) for document in rest) < limit:
        rest = documents
    described = {key: value for key, value in whole.described.items() if key not in _COUNTED}
    warm_up, measured = (_text(first(half, limit), **described) for half in (rest[0::2], rest[1::2]))
    return Parts(training=trained_on, warm_up=warm_up, measured=measured)


def _text(documents: list[str], **described: Any) -> Text:
    digest, size = hashlib.sha256(), 0
    for document in documents:
        data = document.encode()
        digest.update(data)
        size += len(data)
    counted = {"documents": len(documents), "bytes": size, "sha256": digest.hexdigest()}
    return Text(documents=documents, described={**described, **counted})


def read(paths: Sequence[str], limit: int) -> Text:
    """Return the first documents of files, or of the stories that ship with spanmask, without their blank lines.

    Parameters
    ----------
    paths
        Whatever `spanmask.preshard` takes as inputs.
    limit
        Bytes; reading ends with the document that reaches them.

    Raises
    ------
    ConfigError
        The files hold no text, or are none that spanmask reads.
    CorpusError
        A document cannot be read.
    """
    with ExitStack() as stack:
        shipped = resources.files("spanmask.data").joinpath("poe.txt")
        used = list(paths) or [str(stack.enter_context(resources.as_file(shipped)))]
        files = find_inputs(used, Format.AUTO).files
        documents = first(_documents(files), limit)
    if not documents:
        raise ConfigError(f"{', '.join(file.name for file in files)}: no text in there to measure on")
    return _text(documents, kind="text", names=[file.name for file in files])


def code(limit: int) -> Text:
    """Return about so many bytes of Python: the sources of its standard library, a file being a document, as they are and none twice."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    documents = first(_distinct(map(_source, found)), limit)
    return _text(documents, kind="code", names=[f"the standard library of Python {platform.python_version()}"])


def _distinct(sources: Iterable[str | None]) -> Iterator[str]:
    seen: set[str | None] = {None}
    for source in sources:
        if source not in seen:
            seen.add(source)
            yield cast(str, source)


def _source(path: Path) -> str | None:
    """Return a file's text, or None where it is not UTF-8, as some that test Python are."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        return None


def _documents(files: Sequence[Any]) -> Iterator[str]:
    config = PreshardConfig.of(seed=0)
    for task in make_plan(config, load_vocabulary(config.vocabulary), files).tasks:
        for part in task.parts:
            for block in read_part(part, config.corpus, _BLOCK_BYTES):
                data = memoryview(block.text.data)
                for start, end in pairwise(block.document_offsets.tolist()):
                    lines = str(data[start:end], "utf-8").split("\n")
                    yield "\n".join(line for line in lines if line.strip())


def first(documents: Iterable[str], limit: int) -> list[str]:
    """Return the first documents, up to the one that reaches so many bytes."""
    return list(_up_to(documents, limit)) if limit else []


def _up_to(documents: Iterable[str], limit: int) -> Iterator[str]:
    size = 0
    for document in documents:
        if document:
            yield document
            size += len(document.encode())
        if size >= limit:
            return


def chinese(limit: int) -> Text:
    """Return about so many bytes of made-up Chinese: the 3,755 ideographs of GB 2312's first level, in clauses, sentences and lines."""
    ideographs = [
        bytes([row, cell]).decode("gb2312", "ignore") for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF)
    ]
    entries = np.array([character for character in ideographs if character])
    rng = np.random.default_rng(SEED)
    drawn = zipf(rng, rng.permutation(entries), limit // 3)
    documents = _joined(rng, drawn, (4, 15), _chinese_clause, limit)
    return _text(
        documents, kind="synthetic", law="Zipf over the ideographs of GB 2312, level 1", seed=SEED, entries=len(entries)
    )


def _chinese_clause(words: list[str], rank: int) -> str:
    return "".join(words) + ("。\n" if rank % 15 == 14 else "。" if rank % 3 == 2 else "，")


def greek(limit: int) -> Text:
    """Return about so many bytes of made-up Greek: words of one to five syllables, one of them accented, in sentences and lines."""
    rng = np.random.default_rng(SEED)
    entries = _greek_words(rng)
    drawn = zipf(rng, rng.permutation(entries), limit // 9)
    documents = _joined(rng, drawn, (5, 18), _greek_clause, limit)
    return _text(documents, kind="synthetic", law="Zipf over made-up words", seed=SEED, entries=len(entries))


def _greek_words(rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """Return distinct words, sorted."""
    size = (GREEK_WORDS, _SYLLABLES)
    rows, counts = np.arange(GREEK_WORDS), rng.integers(1, _SYLLABLES + 1, GREEK_WORDS)
    vowels = rng.choice(_VOWELS, size)
    vowels[rows, rng.integers(0, counts)] = rng.choice(_ACCENTED, GREEK_WORDS)
    syllables = np.char.add(rng.choice(_CONSONANTS, size), vowels)
    syllables[np.arange(_SYLLABLES) >= counts[:, None]] = ""
    endings = rng.choice(_ENDINGS, GREEK_WORDS)
    return np.unique([f"{''.join(row)}{ending}" for row, ending in zip(syllables.tolist(), endings, strict=True)])


def _greek_clause(words: list[str], rank: int) -> str:
    sentence = " ".join([words[0].capitalize(), *words[1:]])
    return sentence + (".\n" if rank % 5 == 4 else ". ")


def mixed(limit: int) -> Text:
    """Return about so many bytes of made-up text in many scripts: a clause is in one of them, and digits and emoji are among its words."""
    rng = np.random.default_rng(SEED)
    entries = [rng.permutation(_words_of(rng, letters)) for letters in SCRIPTS.values()]
    drawn = np.stack([zipf(rng, words, limit // 12) for words in entries])
    clauses = rng.integers(0, len(SCRIPTS), limit // 12)
    order = np.repeat(clauses, 12)[: drawn.shape[1]]
    documents = _joined(rng, drawn[order, np.arange(len(order))], (12, 13), _mixed_clause, limit)
    return _text(
        documents,
        kind="synthetic",
        law=f"Zipf over made-up words of {len(SCRIPTS)} scripts",
        seed=SEED,
        entries=MIXED_WORDS,
    )


def _words_of(rng: np.random.Generator, letters: str) -> npt.NDArray[np.str_]:
    """Return distinct words of two to eight letters, sorted."""
    drawn, counts = rng.choice(list(letters), (MIXED_WORDS, 8)), rng.integers(2, 9, MIXED_WORDS)
    return np.unique(["".join(row[:count]) for row, count in zip(drawn.tolist(), counts.tolist(), strict=True)])


def _mixed_clause(words: list[str], rank: int) -> str:
    between = _BETWEEN[rank % len(_BETWEEN)]
    return " ".join([*words[:6], between, *words[6:]]) + (".\n" if rank % 4 == 3 else ", ")


def _joined(
    rng: np.random.Generator,
    drawn: npt.NDArray[Any],
    lengths: tuple[int, int],
    clause: Callable[[list[str], int], str],
    limit: int,
) -> list[str]:
    """Return documents of clauses with so many of the words drawn in each; not all of the words are needed."""
    words, documents, held, size, total, rank = drawn.tolist(), list[str](), list[str](), 0, 0, 0
    bounds = np.cumsum(rng.integers(*lengths, len(words) // lengths[0] + 2)).tolist()
    for start, end in pairwise([0, *bounds]):
        if start >= len(words) or total + size >= limit:
            break
        held.append(clause(words[start:end], rank))
        size, rank = size + len(held[-1].encode()), rank + 1
        if size >= DOCUMENT_BYTES:
            documents.append("".join(held))
            held, size, total = [], 0, total + size
    return [*documents, "".join(held)] if held else documents


#: What makes a text that does not come from files, by name.
NAMES: dict[str, Callable[[int], Text]] = {"code": code, "mixed": mixed, "Chinese": chinese, "Greek": greek}
