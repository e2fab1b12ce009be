"""Read Arrow IPC files and streams: a file and rows flow in, checked batches flow out, memory-mapped where they are not compressed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from spanmask.config import CorpusConfig
from spanmask.corpus.arrow_messages import Growth
from spanmask.corpus.columns import column_names
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.nested import pulled, with_inner
from spanmask.corpus.ranges import is_list
from spanmask.corpus.sources import open_columns
from spanmask.corpus.strings import is_plain, is_text, plain_offsets, without_encoding
from spanmask.errors import CorpusError
from spanmask.records import Offsets


class ArrowTable:
    """An Arrow IPC file or stream, memory-mapped."""

    def __init__(self, file: InputFile, stack: contextlib.ExitStack, names: Iterable[str]) -> None:
        self._path = file.path
        self._source = stack.enter_context(pa.memory_map(str(stack.enter_context(open_columns(file)))))
        self._is_file = self._source.read(6) == b"ARROW1"
        self._stored = pa.schema([])
        self._stored = self._open([]).schema
        self.schema = with_inner(self._stored, names)

    def _open(self, names: list[str]) -> Any:
        self._source.seek(0)
        fields = sorted({self._index(name) for name in names})
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
        opener = pa.ipc.open_file if self._is_file else pa.ipc.open_stream
        return opener(self._source, options=options)

    def _index(self, name: str) -> int:
        """Return the number of the column that holds one."""
        known = self._stored.get_field_index(name)
        return known if known >= 0 else int(self._stored.get_field_index(name.partition(".")[0]))

    def _batches(self, names: list[str], limit: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield each batch, unchecked, with the number of its first row; refuse one that grows out of all measure when decompressed."""
        growth = Growth(self._stored, frozenset(self._watched(names)), limit)
        self._source.seek(0)
        largest = growth.batches(memoryview(self._source.read_buffer()), self._is_file)
        reader = self._open(names)
        batches = (reader.get_batch(index) for index in range(reader.num_record_batches)) if self._is_file else reader
        batches, row = iter(batches), 0
        while True:
            size = next(largest, 0)
            if size:
                raise CorpusError(
                    f"a record batch grows to {size:,} bytes when it is decompressed, a thousand times its size and more: "
                    "raise --max-document-bytes where that is no damage",
                    path=self._path,
                    row=row,
                )
            batch = next(batches, None)
            if batch is None:
                return
            yield row, pulled(batch, names)
            row += len(batch)

    def _watched(self, names: list[str]) -> Iterator[int]:
        """Yield the columns of which a row may be of any size."""
        for name in names:
            kind = self.schema.field(name).type
            if is_text(kind) or is_list(kind):
                yield self._index(name)

    def bounds(self, config: CorpusConfig, target_bytes: int) -> list[int]:
        """Return the rows at which parts of about so many bytes of text start, and the number of rows."""
        bounds: list[int] = []
        total, size, window = 0, 0, -1
        for row, batch in self._batches([config.text_field], config.max_document_bytes):
            # Parts begin where a window of so many bytes of text does: fixed by the content, however it is batched.
            places = size + _text_places(batch.column(config.text_field))
            windows = places[:-1] // target_bytes
            changes = np.flatnonzero(windows != np.concatenate(([window], windows[:-1])))
            bounds.extend((row + changes).tolist())
            size, total = int(places[-1]), row + len(batch)
            window = int(windows[-1]) if len(windows) else window
        return [*bounds, total]

    def batches(self, config: CorpusConfig, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield checked batches that overlap rows [start, stop), each with the number of its first row."""
        names = [name for name in column_names(config) if name in self.schema.names]
        for row, batch in self._batches(names, config.max_document_bytes):
            if row >= stop:
                return
            if start < row + len(batch):
                for name in names:
                    without_encoding(batch.column(name)).validate(full=True)
                yield row, batch


def _text_places(column: pa.Array) -> Offsets:
    """Return (D + 1,) byte places of texts in their batch; spread evenly where they are not in one buffer."""
    column.validate()
    if not is_plain(column.type):
        return np.arange(len(column) + 1, dtype=np.int64) * int(column.nbytes) // max(1, len(column))
    offsets = plain_offsets(column)
    places: Offsets = np.maximum.accumulate(offsets - offsets[0])
    return places
