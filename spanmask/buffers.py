"""NumPy arrays as Arrow's and back, through their buffers: Arrow's own conversions import pandas wherever it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def to_arrow(values: npt.NDArray[Any]) -> pa.Array:
    """Return (N,) numbers as an Arrow array, without copying them where they lie in one piece."""
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def to_numpy(column: pa.Array) -> npt.NDArray[Any]:
    """Return the (N,) numbers of an Arrow array without nulls as a view of it, or its truth values, (N,) bool, as a copy.

    What is neither, as in a batch of a foreign schema, becomes what Arrow makes of it.
    """
    if not pa.types.is_primitive(column.type):
        other: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return other
    buffer, count = column.buffers()[1], len(column)
    if pa.types.is_boolean(column.type):
        bits = np.frombuffer(buffer or b"", np.uint8)
        return np.unpackbits(bits, count=column.offset + count, bitorder="little")[column.offset :].view(np.bool_)
    dtype = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(buffer, dtype, count, column.offset * dtype.itemsize) if count else np.empty(0, dtype)
