"""Tokenizers, spanmask's among them, each in the ways it can be called from Python that might be its fastest, on one thread.

All read one ``tokenizer.json`` or are given what is in it. Ids stay in whatever a call returns; `Way.flat` makes arrays of that, which
nobody's time includes.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import peers
from .library_tokenizer import BATCH

#: The pattern of ByteLevel, as tiktoken writes it.
_GPT_2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

#: Ids (T,) of all documents, and (D,) how many each has.
Flat = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of calling a tokenizer: what documents become before, the call that is measured, and ids of what it returns."""

    given: Callable[[Sequence[str]], Any]
    call: Callable[[Any, Any], Any]
    flat: Callable[[Any], Flat]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A tokenizer. package: its distribution. load: makes one that has seen no text of a tokenizer.json's path. ways: by name.

    remembers: whether text seen before is faster; where it is not, one figure says all.
    """

    package: str
    load: Callable[[str], Any]
    ways: Mapping[str, Way]
    remembers: bool = True


# --- What calls return


def _of_lists(found: Sequence[Sequence[int]]) -> Flat:
    counts = np.fromiter(map(len, found), np.int64, len(found))
    return np.fromiter(chain.from_iterable(found), np.int64, int(counts.sum())), counts


def _of_encodings(found: Sequence[Any]) -> Flat:
    return _of_lists([encoding.ids for encoding in found])


def _of_ragged(ids: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> Flat:
    return ids, np.diff(offsets.astype(np.int64))


def _of_awkward(found: Any) -> Flat:
    awkward = peers.load("awkward")
    return awkward.to_numpy(awkward.flatten(found)), awkward.to_numpy(awkward.num(found))


# --- What documents become


def _as_list(documents: Sequence[str]) -> list[str]:
    return list(documents)


def _as_bytes(documents: Sequence[str]) -> list[bytes]:
    return [document.encode() for document in documents]


def _as_arrow(documents: Sequence[str]) -> pa.Array:
    return pa.array(documents, pa.large_string())


def _as_awkward(documents: Sequence[str]) -> Any:
    return peers.load("awkward").from_arrow(_as_arrow(documents))


# --- How each is loaded


def _reader(module: str, name: str) -> Callable[[str], Any]:
    """Return what makes a tokenizer of a path: a function of a module, which is imported when it is called."""

    def load(path: str) -> Any:
        return attrgetter(name)(peers.load(module))(path)

    return load


def _spanmask(path: str) -> Any:
    import spanmask

    return spanmask.Tokenizer(_vocabulary(path))


@cache
def _vocabulary(path: str) -> Any:
    from spanmask.config import VocabularyConfig
    from spanmask.vocab import load_vocabulary

    return load_vocabulary(VocabularyConfig(vocab=path))


def _quicktok(path: str) -> Any:
    quicktok = peers.load("quicktok")
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder, contextlib.redirect_stdout(io.StringIO()):
        quicktok.import_tokenizer(path, "bench", folder)
        return quicktok.Tokenizer("bench", folder)


def _tiktoken(path: str) -> Any:
    """Give tiktoken a byte-level BPE: what its entries stand for in bytes, by rank, and the pattern.

    Raises
    ------
    ValueError
        It is none.
    """
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    if content["model"]["type"] != "BPE":
        raise ValueError("tiktoken knows byte-level BPE only")
    steps = content["pre_tokenizer"].get("pretokenizers", [content["pre_tokenizer"]])
    patterns = [step["pattern"]["Regex"] for step in steps if step["type"] == "Split"]
    specials = {token["content"]: token["id"] for token in content["added_tokens"]}
    byte_of = _byte_of_character()
    ranks = {
        bytes(byte_of[character] for character in entry): number
        for entry, number in content["model"]["vocab"].items()
        if entry not in specials
    }
    return peers.load("tiktoken").Encoding(
        name="bench", pat_str=patterns[0] if patterns else _GPT_2, mergeable_ranks=ranks, special_tokens=specials
    )


def _byte_of_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for: itself where it can be seen, or from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in set(seen)]
    return {chr(byte): byte for byte in seen} | {chr(0x100 + rank): byte for rank, byte in enumerate(unseen)}


def _encode_fast(library: Any, documents: Sequence[str]) -> list[Any]:
    batches = (documents[start : start + BATCH] for start in range(0, len(documents), BATCH))
    return [encoding for batch in batches for encoding in library.encode_batch_fast(batch, add_special_tokens=False)]


LIBRARY, OURS = "tokenizers", "spanmask"
CONTESTANTS = {
    OURS: Contestant(
        package="spanmask",
        load=_spanmask,
        ways={
            "Tokenizer.encode, Arrow": Way(
                given=_as_arrow,
                call=lambda tokenizer, texts: tokenizer.encode(texts),
                flat=lambda found: _of_ragged(found.token_ids, found.document_offsets),
            )
        },
    ),
    "gigatoken": Contestant(
        package="gigatoken",
        load=_reader("gigatoken", "Tokenizer"),
        ways={
            f"encode_batch, {name}": Way(
                given=given,
                call=lambda tokenizer, texts: tokenizer.encode_batch(texts, parallel=False),
                flat=_of_awkward,
            )
            for name, given in {"str": _as_list, "bytes": _as_bytes, "awkward": _as_awkward}.items()
        },
    ),
    "nanotoken": Contestant(
        package="nanotoken",
        load=_reader("nanotoken", "Tokenizer"),
        ways={
            f"encode_batch, {name}": Way(
                given=given,
                call=lambda tokenizer, texts: tokenizer.encode_batch(texts, add_special_tokens=False, parallel=False),
                flat=lambda found: _of_ragged(found.ids, found.offsets),
            )
            for name, given in {"str": _as_list, "bytes": _as_bytes}.items()
        },
    ),
    "tokie": Contestant(
        package="tokie",
        load=_reader("tokie", "Tokenizer.from_json"),
        ways={
            "encode_batch_flat": Way(
                given=_as_list,
                call=lambda tokenizer, texts: tokenizer.encode_batch_flat(texts, add_special_tokens=False),
                flat=lambda found: (found[0], found[1].astype(np.int64)),
            )
        },
    ),
    "quicktok": Contestant(
        package="quicktok-v1",
        load=_quicktok,
        ways={
            "encode_batch": Way(
                given=_as_list,
                call=lambda tokenizer, texts: tokenizer.encode_batch(texts, 1),
                flat=lambda found: _of_ragged(*found),
            )
        },
        remembers=False,
    ),
    "kitoken": Contestant(
        package="kitoken",
        load=_reader("kitoken", "Kitoken.from_tokenizers_file"),
        ways={
            "encode_all": Way(given=_as_list, call=lambda tokenizer, texts: tokenizer.encode_all(texts), flat=_of_lists)
        },
        remembers=False,
    ),
    "tiktoken": Contestant(
        package="tiktoken",
        load=_tiktoken,
        ways={
            "encode_to_numpy": Way(
                given=_as_list,
                call=lambda tokenizer, texts: [
                    tokenizer.encode_to_numpy(text, disallowed_special=()) for text in texts
                ],
                flat=_of_lists,
            ),
            "encode_ordinary": Way(
                given=_as_list,
                call=lambda tokenizer, texts: [tokenizer.encode_ordinary(text) for text in texts],
                flat=_of_lists,
            ),
        },
        remembers=False,
    ),
    LIBRARY: Contestant(
        package="tokenizers",
        load=_reader("tokenizers", "Tokenizer.from_file"),
        ways={
            "encode_batch_fast": Way(given=_as_list, call=_encode_fast, flat=_of_encodings),
            "encode_batch": Way(
                given=_as_list,
                call=lambda library, texts: library.encode_batch(texts, add_special_tokens=False),
                flat=_of_encodings,
            ),
        },
        remembers=False,
    ),
}
