"""Texts that are measured on: files as spanmask reads them, and made-up text in Chinese and Greek.

No corpus in these scripts is at hand under a free licence and at a fitting size, so they are made up: characters and words with
frequencies after Zipf's law, which is about how languages use them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.config import Format, PreshardConfig
from spanmask.corpus.inputs import find_inputs
from spanmask.corpus.reading import read_part
from spanmask.errors import ConfigError
from spanmask.presharding.plan import make_plan
from spanmask.vocab import load_vocabulary

from .inputs import SEED, zipf

#: Words made up in Greek, some of them twice, and bytes of a document in both scripts, as in an encyclopaedia.
GREEK_WORDS, DOCUMENT_BYTES = 50_000, 16_384
_SYLLABLES = 5
_BLOCK_BYTES = 4 << 20
_CONSONANTS = np.array([*"βγδζθκλμνξπρστφχψ", "πρ", "στ", "τρ", "κλ", ""])
_VOWELS, _ACCENTED = np.array(list("αεηιουω")), np.array(list("άέήίόύώ"))
_ENDINGS = np.array(["", "ς", "ν"])


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
        documents = list(_up_to(_documents(files), limit))
    if not documents:
        raise ConfigError(f"{', '.join(file.name for file in files)}: no text in there to measure on")
    return _text(documents, kind="text", names=[file.name for file in files])


def _documents(files: Sequence[Any]) -> Iterator[str]:
    config = PreshardConfig.of(seed=0)
    for task in make_plan(config, load_vocabulary(config.vocabulary), files).tasks:
        for part in task.parts:
            for block in read_part(part, config.corpus, _BLOCK_BYTES):
                data = memoryview(block.text.data)
                for start, end in pairwise(block.document_offsets.tolist()):
                    lines = str(data[start:end], "utf-8").split("\n")
                    yield "\n".join(line for line in lines if line.strip())


def _up_to(documents: Iterator[str], limit: int) -> Iterator[str]:
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
