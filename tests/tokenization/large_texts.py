"""One document of hundreds of megabytes, encoded in a process of its own: are its tokens right, and what memory did it take.

``python large_texts.py CASING KIND SIZE`` prints ``{"same": bool, "used": bytes, "bytes": bytes, "tokens": count}``.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow as pa
from memory import with_peak
from tokenization.reference import reference_of, tokenizer_of
from tokenization.unicode_texts import random_texts

from spanmask.records import TokenizedBlock


def unit_of(kind: str) -> str:
    """Return what a document repeats: it ends in a space, so that its tokens do not depend on what follows."""
    if kind == "words":
        return " ".join(random_texts(2000, seed=7)) + " \n "
    return {"english": "The cat sat, unbelievably, on 1984 mats. ", "spaces": " " * 64}[kind]


def repeated(unit: str, times: int) -> pa.Array:
    data = pa.py_buffer(np.tile(np.frombuffer(unit.encode(), np.uint8), times))
    return pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(np.array([0, data.size])), data])


def is_repeated(found: TokenizedBlock, one: TokenizedBlock, times: int) -> bool:
    shape = (times, len(one.token_ids))
    return all(
        np.array_equal(getattr(found, name).reshape(shape), np.broadcast_to(getattr(one, name), shape))
        for name in ("token_ids", "word_starts")
    )


def main(casing: str, kind: str, size: int) -> dict[str, int | bool]:
    unit = unit_of(kind)
    times = size // len(unit.encode())
    one = reference_of(casing).encode([unit])
    if not is_repeated(reference_of(casing).encode([unit * 3]), one, 3):
        raise ValueError("the tokens of a unit depend on its neighbours: end it in a space")
    tokenizer = tokenizer_of(casing)
    tokenizer.encode([unit])
    array = repeated(unit, times)
    found, used = with_peak(lambda: tokenizer.encode(array))
    same = is_repeated(found, one, times)
    return {"same": same, "used": used, "bytes": array.nbytes, "tokens": len(found.token_ids)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
