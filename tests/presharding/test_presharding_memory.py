"""Peak memory of the command line: bounded by blocks of text, not by the input."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from spanmask_bench.usage import measure

pytestmark = pytest.mark.slow
MIB = 1 << 20


def _peak(lab: Any, path: Path, out: str, *options: object) -> int:
    """Return the peak resident bytes of a run in one process."""
    arguments = [*lab.command, "preshard", path, "--out", lab.folder / out, "--seed", 1, "--jobs", 1, *options]
    with (lab.folder / f"{out}.errors").open("w+") as errors:
        used = measure(list(map(str, arguments)), stdout=subprocess.DEVNULL, stderr=errors)
        errors.seek(0)
        assert (used.code, errors.read()) == (0, "")
    return used.peak_bytes


@pytest.fixture(scope="module")
def base(make_lab: Any) -> Any:
    """What a run of a small text takes: libraries and compiled kernels."""
    lab = make_lab("memory")
    lab.base = _peak(lab, lab.text(), "small")
    return lab


def test_one_line_of_50_mb_takes_a_few_times_its_size(base: Any, tell: Callable[[str], None]) -> None:
    path = base.folder / "line.txt"
    text = base.text(count=4000).read_text().replace("\n", " ").encode()
    path.write_bytes(text * (50_000_000 // len(text)))
    extra = _peak(base, path, "line") - base.base
    tell(f"50 MB on one line: {extra / MIB:.0f} MiB above {base.base / MIB:.0f}")
    assert extra < 6 * 50_000_000


def test_more_input_takes_no_more_memory(base: Any, tell: Callable[[str], None]) -> None:
    text = base.text(count=4000).read_bytes() + b"\n"
    peaks = []
    for size in (12_000_000, 48_000_000):
        path = base.folder / f"{size}.txt"
        path.write_bytes(text * (size // len(text)))
        peaks.append(_peak(base, path, f"more-{size}", "--shard-bytes", "4MiB") - base.base)
    tell(f"12 MB and 48 MB: {peaks[0] / MIB:.0f} and {peaks[1] / MIB:.0f} MiB above {base.base / MIB:.0f}")
    assert peaks[1] < peaks[0] * 1.3 + 16 * MIB


def test_a_line_without_a_space_takes_no_more_than_one_with_spaces(base: Any, tell: Callable[[str], None]) -> None:
    path = base.folder / "ideographs.txt"
    path.write_text("漢字かな、混じり。" * 740_000)
    extra = _peak(base, path, "ideographs") - base.base
    tell(f"{path.stat().st_size / 1e6:.0f} MB without a space: {extra / MIB:.0f} MiB above {base.base / MIB:.0f}")
    assert extra < 6 * path.stat().st_size


def test_a_line_of_10_gb_in_a_small_file_takes_a_few_times_the_limit(base: Any, tell: Callable[[str], None]) -> None:
    path = base.folder / "endless.txt.zst"
    text, endless = (bytes(pa.Codec("zstd").compress(data)) for data in (base.text().read_bytes(), b"a" * 16 * MIB))
    path.write_bytes(text + endless * 640 + text)
    limit = 16 * MIB
    extra = _peak(base, path, "endless", "--on-error", "skip", "--max-document-bytes", limit) - base.base
    tell(f"10 GB on one line of {path.stat().st_size / 1e3:.0f} KB: {extra / MIB:.0f} MiB above {base.base / MIB:.0f}")
    assert extra < 4 * limit + 4 * 32 * MIB
    (line,) = (base.folder / "endless" / "skipped.jsonl").read_text().splitlines()
    assert '"reason":"length"' in line
