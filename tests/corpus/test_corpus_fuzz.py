"""Damaged inputs end in an error of ours or in documents left out and counted: never in another error, a crash, or without bound."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzzed_inputs
import pytest
from figures import figure

TESTS = Path(fuzzed_inputs.__file__).parent


def test_damaged_inputs_are_refused_or_counted(tmp_path: Path) -> None:
    counts = fuzzed_inputs.fuzz(tmp_path, seed=0, cases=120)
    print(dict(sorted(counts.items())))
    assert sum(counts.values()) == 120
    ended = Counter(kind.split()[1] for kind in counts.elements())
    assert min(ended[how] for how in ("refused", "skipped", "read")) > 5


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_many_damaged_inputs_are_refused_or_counted(
    tmp_path: Path, tell: Callable[[str], None], count: Callable[[int], None]
) -> None:
    """In processes of their own, so that a crash is told with its seed."""

    def run(seed: int) -> Counter[str]:
        folder = tmp_path / str(seed)
        folder.mkdir()
        command = [sys.executable, "fuzzed_inputs.py", str(folder), str(seed), "1000"]
        ended = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (seed, ended.returncode, ended.stderr[-3000:])
        return Counter(json.loads(ended.stdout))

    seeds = range(1, figure(5, 13))
    with ThreadPoolExecutor(2) as pool:
        counts = sum(pool.map(run, seeds), Counter[str]())
    tell(f"{counts.total():,} damaged inputs: {dict(sorted(counts.items()))}")
    assert counts.total() == 1000 * len(seeds)
    count(counts.total())
