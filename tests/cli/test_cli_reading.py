"""What `preshard` says of how a folder of files was read."""

from __future__ import annotations

import bz2
import lzma
from typing import Any

import pytest

import spanmask

_LINE = "the cat sat on the mat"
_NOTE = f"{_LINE}\nand nobody told it\n\nthat the mat was wet\n"


def test_hard_wrapped_notes_are_noted_and_read_as_files_where_asked(shell: Any) -> None:
    notes = shell.folder / "notes"
    notes.mkdir()
    for number in range(4):
        (notes / f"{number}.txt").write_text(_NOTE * 20)
    (notes / "4.txt.xz").write_bytes(lzma.compress(_NOTE.encode() * 20))
    (notes / "5.txt.bz2").write_bytes(bz2.compress(_NOTE.encode() * 20))
    told = shell.preshard(notes, "--overwrite").out
    assert (
        "note: sequences have 17 tokens on average, of 512 allowed, and come from 126 documents: a blank line ends one"
        in told
    )
    assert "--layout file" in told
    assert "note:" not in shell.preshard(notes, "--overwrite", "--layout", "file").out
    assert len(spanmask.open(shell.folder / "out")) == 6
    assert "each line is one; give" in shell.preshard(notes, "--overwrite", "--layout", "documents").out


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_records_of_another_width_end_the_run_or_are_counted(shell: Any, suffix: str) -> None:
    mark = "," if suffix == ".csv" else "\t"
    lines = ["id", "text"], ["0", _LINE], ["1", "too", "many"], ["2", _LINE]
    table = shell.write(f"table{suffix}", "".join(mark.join(line) + "\n" for line in lines).encode())
    failed = shell.preshard(table)
    assert failed.code == 5
    assert f"table{suffix} row 1: 3 fields, expected 2 as in the header" in failed.error
    told = shell.preshard(table, "--on-error", "skip", "--keep", "id").out
    assert "1 of 3 documents skipped" in told
    assert "each record is one" in told
    assert [row.kept["id"] for row in spanmask.open(shell.folder / "out")] == ["0", "2"]
