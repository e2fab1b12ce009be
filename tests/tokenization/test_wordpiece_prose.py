"""WordPiece on real prose: Wikipedia, novels and technical text, every token of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
from figures import figure
from tokenization.reference import CASINGS, assert_as_library, reference_of, tokenizer_of

PROSE = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not PROSE.is_dir(), reason=f"needs the prose in {PROSE}, which is not there"),
]
each_casing = pytest.mark.parametrize("casing", CASINGS)
FILES = sorted(path.relative_to(PROSE).as_posix() for path in PROSE.rglob("*") if path.name.endswith((".txt", ".zst")))
_BATCH = 1_000_000


def documents_of(name: str) -> Iterator[str]:
    """Yield the texts of a file whole, as they are in it."""
    path = PROSE / name
    if path.suffix == ".txt":
        yield path.read_bytes().decode()
        return
    with pa.input_stream(path, compression="zstd") as stream:
        for line in io.BufferedReader(stream):
            yield json.loads(line)["text"]


def batches_of(name: str) -> Iterator[list[str]]:
    """Yield documents together, up to a million characters at once and the rest of the last."""
    batch: list[str] = []
    held = 0
    for text in documents_of(name):
        batch.append(text)
        held += len(text)
        if held >= _BATCH:
            yield batch
            batch, held = [], 0
    yield batch


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_casing
@pytest.mark.parametrize("name", FILES)
def test_much_prose_gives_the_librarys_tokens(casing: str, name: str) -> None:
    """A sixteenth of it, all along each file; all of it in a long run."""
    for number, batch in enumerate(islice(batches_of(name), 0, None, figure(16, 1))):
        assert number or sum(map(len, batch)) >= 100_000
        assert_as_library(tokenizer_of(casing), reference_of(casing), batch)
