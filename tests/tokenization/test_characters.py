"""The tables of characters that ship are what the installed library does."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers

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
