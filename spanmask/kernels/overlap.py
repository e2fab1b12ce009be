"""N-grams of words that texts share with others, found by a hash and settled by comparing their bytes. Oracle: ``shared_ngrams``.

A word is a run of the ASCII letters and digits of a text in lower case; all else parts words. A text's words are spelled one after another
with a space between, so that two n-grams are equal where their bytes are. Hashes have 31 bits: no product of two leaves 63.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Ints, inlined, kernel, signed

_MASK = (1 << 31) - 1
#: Odd numbers without pattern: of a word's bytes, of its end, and of the words of an n-gram.
_BYTE, _END, _WORD = 0x01000193, 0x2C1B3C6D, 0x5BD1E995
_SPACE = 0x20

#: What `LETTERS` says of bytes other than letters and digits: none of one, or perhaps the first of a character whose lower case is one.
OTHER, RARE = 0, 1


def _letters() -> Bytes:
    table = np.zeros(256, np.uint8)
    for byte in b"0123456789abcdefghijklmnopqrstuvwxyz":
        table[byte] = table[ord(chr(byte).upper())] = byte
    table[[0xC4, 0xE2]] = RARE
    return table


#: (256,) the lower case of the letter or digit that a byte is.
LETTERS = _letters()


class Scratch(NamedTuple):
    """Where a text is spelled. spelled: as many bytes as it and one; ends, hashes: of its words, half as many and one."""

    spelled: Bytes
    ends: Ints
    hashes: Ints


class Grams(NamedTuple):
    """The n-grams of K texts, G of them, and which texts each stands in.

    spelled: the texts' words. starts, ends, hashes: (G,), of each n-gram. slots: (a power of two,) its number at its hash or behind, -1
    where none is. sieve: (a power of two,) bits, by the hash, for what may be there. offsets: (G + 1,) in texts: (P,), each once.
    files: (K,) the file of a text.
    """

    spelled: Bytes
    starts: Ints
    ends: Ints
    hashes: Ints
    slots: npt.NDArray[np.int32]
    sieve: Bytes
    offsets: Ints
    texts: npt.NDArray[np.int32]
    files: npt.NDArray[np.int32]


@inlined
def _rare(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Return the letter that a character of several bytes has as lower case, 0 for none, and the bytes to pass over."""
    if data[at] == 0xC4 and at + 1 < end and data[at + 1] == 0xB0:  # U+0130, whose dot is a character of its own then
        return 0x69, 1
    if (
        data[at] == 0xE2 and at + 2 < end and data[at + 1] == 0x84 and data[at + 2] == 0xAA
    ):  # U+212A, the sign of kelvin
        return 0x6B, 3
    return OTHER, 1


@inlined
def _spell(data: Bytes, start: int, end: int, letters: Bytes, scratch: Scratch) -> int:
    """Spell the words of ``data[start:end]``; return how many there are."""
    size = words = hash_ = 0
    inside = False
    at = start
    while at < end:
        letter, width = signed(letters[data[at]]), 1
        if letter == RARE:
            letter, width = _rare(data, at, end)
        if letter != OTHER:
            scratch.spelled[size] = letter
            size += 1
            hash_ = ((hash_ ^ letter) * _BYTE) & _MASK
            inside = True
        elif inside:
            words = _end_word(scratch, words, size, hash_)
            size, hash_, inside = size + 1, 0, False
        at += width
    return _end_word(scratch, words, size, hash_) if inside else words


@inlined
def _end_word(scratch: Scratch, words: int, size: int, hash_: int) -> int:
    scratch.ends[words] = size
    scratch.spelled[size] = _SPACE
    mixed = ((hash_ ^ (hash_ >> 15)) * _END) & _MASK
    scratch.hashes[words] = mixed ^ (mixed >> 13)
    return words + 1


@inlined
def _power(n: int) -> int:
    power = 1
    for _ in range(n):
        power = (power * _WORD) & _MASK
    return power


@inlined
def _hash_on(hash_: int, hashes: Ints, word: int, n: int, power: int) -> int:
    """Return the hash of the n words up to one from that of those up to the one before."""
    hash_ = (hash_ * _WORD + hashes[word]) & _MASK
    return (hash_ - hashes[word - n] * power) & _MASK if word >= n else hash_


@inlined
def _sieve_bit(hash_: int, sieve: Bytes) -> int:
    # The slots go by the low bits.
    return (hash_ ^ (hash_ >> 11)) & (8 * len(sieve) - 1)


@inlined
def _find(hash_: int, scratch: Scratch, start: int, end: int, grams: Grams) -> tuple[int, int]:
    """Return the slot at which an n-gram is or would be put, and its number, -1 for none."""
    slot = hash_ & (len(grams.slots) - 1)
    while grams.slots[slot] >= 0:
        gram = signed(grams.slots[slot])
        first = grams.starts[gram]
        if grams.hashes[gram] == hash_ and grams.ends[gram] - first == end - start:
            k = 0
            while k < end - start and grams.spelled[first + k] == scratch.spelled[start + k]:
                k += 1
            if k == end - start:
                return slot, gram
        slot = (slot + 1) & (len(grams.slots) - 1)
    return slot, -1


@kernel
def count_words(data: Bytes, offsets: Ints, letters: Bytes, scratch: Scratch) -> int:
    """Return how many words K texts have; parameters as in `add_texts`."""
    count = 0
    for text in range(len(offsets) - 1):
        count += _spell(data, offsets[text], offsets[text + 1], letters, scratch)
    return count


@kernel
def add_texts(
    data: Bytes, offsets: Ints, n: int, letters: Bytes, scratch: Scratch, grams: Grams, met: Ints
) -> tuple[int, int]:
    """Give the n-grams of K texts numbers.

    Parameters
    ----------
    data, offsets
        (C,), (K + 1,): the texts, UTF-8.
    n
        Words of an n-gram.
    letters
        `LETTERS`.
    scratch
        Room for the longest text.
    grams
        Output, but for offsets, texts and files; slots are -1 before. At least as many n-grams as there are words have room, and as many
        bytes as `data` has and K.
    met
        Output, (at least as many as there are words, 2): the number of an n-gram, and the text that it stands in.

    Returns
    -------
    tuple of int and int
        N-grams, and rows of ``met``.
    """
    count = rows = base = 0
    power = _power(n)
    for text in range(len(offsets) - 1):
        words = _spell(data, offsets[text], offsets[text + 1], letters, scratch)
        hash_ = 0
        for word in range(words):
            hash_ = _hash_on(hash_, scratch.hashes, word, n, power)
            if word < n - 1:
                continue
            start, end = scratch.ends[word - n] + 1 if word >= n else 0, scratch.ends[word]
            slot, gram = _find(hash_, scratch, start, end, grams)
            if gram < 0:
                gram = count
                count += 1
                grams.slots[slot] = gram
                grams.hashes[gram], grams.starts[gram], grams.ends[gram] = hash_, base + start, base + end
                # A text may have an n-gram twice: what is found again was spelled here by then.
                for k in range(start, end):
                    grams.spelled[base + k] = scratch.spelled[k]
                bit = _sieve_bit(hash_, grams.sieve)
                grams.sieve[bit >> 3] |= 1 << (bit & 7)
            met[rows, 0], met[rows, 1] = gram, text
            rows += 1
        base += scratch.ends[words - 1] + 1 if words > 0 else 0
    return count, rows


@kernel
def match_texts(
    data: Bytes,
    offsets: Ints,
    n: int,
    letters: Bytes,
    scratch: Scratch,
    grams: Grams,
    last: Ints,
    shared: Ints,
    texts: Ints,
) -> None:
    """Count the n-grams that D documents share with each of E files.

    Parameters
    ----------
    data, offsets
        (C,), (D + 1,): the documents, UTF-8; the first may begin behind 0.
    n, letters, scratch, grams
        As in `add_texts`; grams is whole.
    last
        In place, (K,): scratch.
    shared
        Output, (D, E): n-grams of a document, each place counted, times the texts of a file in which it stands.
    texts
        Output, (D, E): texts of a file with which a document shares one.
    """
    power = _power(n)
    last[:] = -1
    shared[:] = 0
    texts[:] = 0
    for document in range(len(offsets) - 1):
        words = _spell(data, offsets[document], offsets[document + 1], letters, scratch)
        hash_ = 0
        for word in range(words):
            hash_ = _hash_on(hash_, scratch.hashes, word, n, power)
            bit = _sieve_bit(hash_, grams.sieve)
            if word < n - 1 or not (grams.sieve[bit >> 3] >> (bit & 7)) & 1:
                continue
            start = scratch.ends[word - n] + 1 if word >= n else 0
            _, gram = _find(hash_, scratch, start, scratch.ends[word], grams)
            if gram < 0:
                continue
            for k in range(grams.offsets[gram], grams.offsets[gram + 1]):
                text = grams.texts[k]
                shared[document, grams.files[text]] += 1
                if last[text] != document:
                    last[text] = document
                    texts[document, grams.files[text]] += 1
