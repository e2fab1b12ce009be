"""What BERT's normalizer and pre-tokenizer do with each character: the tables that ship with the package.

They were asked of the `tokenizers` library (`spanmask.tokenization.derive`). They ship, rather than being asked for at start, so that a
dataset does not depend on the Unicode version of the library that happens to be installed.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np

from spanmask.kernels.characters import Rules

#: What the tables are called in the file, after the casing.
FIELDS = ("kinds", "blocks", "entries", "expansions")
FILE = "bert_characters.npz"


@cache
def character_rules(*, cased: bool) -> Rules:
    """Return what becomes of characters where text keeps its case and accents, or loses them."""
    casing = "cased" if cased else "uncased"
    with resources.files("spanmask.data").joinpath(FILE).open("rb") as file, np.load(file) as tables:
        kinds, blocks, entries, expansions = (tables[f"{casing}_{field}"] for field in FIELDS)
    return Rules(kinds, 0 if cased else 0x20, blocks, entries, expansions)
