"""Read JSON lines of which strings only are wanted, compiled: lines flow in, an Arrow batch flows out, or nothing where one is odd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.blocks import offsets_of
from spanmask.kernels.jsonl import STRIDE, find_specials, find_strings, unescape
from spanmask.records import Bytes, Offsets

#: Of a block's bytes, one in so many may be a quote, backslash or control character.
_BYTES_PER_SPECIAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StringReader:
    """Reads K fields. names: their UTF-8, joined; offsets: (K + 1,) of each in it."""

    schema: pa.Schema
    names: Bytes
    offsets: Offsets

    @classmethod
    def of(cls, schema: pa.Schema) -> StringReader | None:
        """Return the reader of a schema, or None where a field is no string, or named twice."""
        if not all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in schema.types):
            return None
        if len(set(schema.names)) < len(schema.names):
            return None
        names = [name.encode() for name in schema.names]
        offsets = offsets_of([len(name) for name in names])
        return cls(schema=schema, names=np.frombuffer(b"".join(names), np.uint8), offsets=offsets)

    def read(self, data: Bytes, starts: Offsets, ends: Offsets) -> pa.RecordBatch | None:
        """Read L lines of valid UTF-8.

        Parameters
        ----------
        data
            (C,), below 2³¹ bytes.
        starts, ends
            (L,): where each line starts and ends in `data`, without its newline.

        Returns
        -------
        RecordBatch or None
            L rows; None where a line is not plainly one object that has each field once, as a string.
        """
        specials = np.empty(len(data) // _BYTES_PER_SPECIAL + 2 * STRIDE, np.int32)
        places = np.empty((len(self.schema), len(starts), 2), np.int64)
        if find_specials(data, specials) < 0:
            return None
        if not find_strings(data, specials, starts, ends, self.names, self.offsets, places):
            return None
        columns = [self._column(field.type, data, specials, places[k]) for k, field in enumerate(self.schema)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _column(self, kind: pa.DataType, data: Bytes, specials: npt.NDArray[np.int32], places: Offsets) -> pa.Array:
        texts = np.empty(int((places[:, 1] - places[:, 0]).sum()) + STRIDE, np.uint8)
        offsets = np.empty(len(places) + 1, np.int64)
        unescape(data, specials, places, texts, offsets)
        width = np.int64 if pa.types.is_large_string(kind) else np.int32
        buffers = [None, pa.py_buffer(offsets.astype(width, copy=False)), pa.py_buffer(texts[: offsets[-1]])]
        return pa.Array.from_buffers(kind, len(places), buffers)
