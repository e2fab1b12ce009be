"""Arrow's arrays become NumPy's and NumPy's become Arrow's with the values that Arrow's own conversions give."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spanmask.buffers import to_arrow, to_numpy
from spanmask.shard.schema import KEPT_TYPES

NUMBERS = [kind for kind in KEPT_TYPES if kind != pa.string()]


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
@pytest.mark.parametrize("part", [slice(0, 0), slice(0, 20), slice(3, 3), slice(7, 20), slice(9, 18)])
def test_any_part_of_a_column_becomes_the_values_that_arrow_tells(kind: pa.DataType, part: slice) -> None:
    column = pa.array([number % 3 for number in range(20)]).cast(kind)
    taken = column[part.start : part.stop]
    found = to_numpy(taken)
    assert found.tolist() == taken.to_pylist()
    assert found.dtype == taken.to_numpy(zero_copy_only=False).dtype


@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if kind != pa.bool_()], ids=str)
def test_arrays_become_the_columns_that_arrow_makes_of_them(kind: pa.DataType) -> None:
    values = np.arange(20).astype(kind.to_pandas_dtype())
    for part in (values, values[5:11], values[::3], values[:0]):
        assert to_arrow(part).equals(pa.array(part))
        to_arrow(part).validate(full=True)


def test_nothing_is_copied_but_what_lies_in_pieces() -> None:
    values = np.arange(6, dtype=np.uint32)
    assert np.shares_memory(to_numpy(to_arrow(values)), values)
    assert not np.shares_memory(to_numpy(to_arrow(values[::2])), values)
