"""The tables of characters that ship are what the installed library does."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers

from spanmask.kernels.characters import ISOLATED, NEWLINE, SPACE, WORD
from spanmask.kernels.wide import _plain_classes
from spanmask.tokenization.characters import FIELDS, character_rules
from spanmask.tokenization.derive import derive


@pytest.mark.slow
def test_the_tables_that_ship_are_the_librarys() -> None:
    asked = derive()
    for cased, casing in ((True, "cased"), (False, "uncased")):
        rules = character_rules(cased=cased)
        for field in FIELDS:
            message = (
                f"{casing} {field}: tokenizers {tokenizers.__version__} differs; python -m spanmask.tokenization.derive"
            )
            np.testing.assert_array_equal(getattr(rules, field), asked[f"{casing}_{field}"], err_msg=message)


@pytest.mark.parametrize("cased", [True, False])
def test_bytes_that_wide_loads_classify_are_of_those_kinds(cased: bool) -> None:
    kinds = character_rules(cased=cased).kinds
    for first in range(0, 256, 64):
        data = np.arange(first, first + 64, dtype=np.uint8)
        words, alone, others = map(int, _plain_classes(data, 0, 0))
        for place, kind in enumerate(kinds[first : first + 64].tolist()):
            known = {ISOLATED: alone, WORD: words}.get(kind, ~(words | alone))
            assert known >> place & 1
            assert others >> place & 1 or kind in (WORD, ISOLATED, SPACE, NEWLINE)
