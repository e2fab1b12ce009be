"""What a run imports: a run of a second is mostly that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: What Arrow's conversions, its functions on columns, and numba's compiler import.
NEEDLESS = {"pandas", "pyarrow.compute", "scipy.linalg", "numba.np.arraymath"}


@pytest.mark.slow
def test_presharding_imports_neither_pandas_nor_a_compiler_once_kernels_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "text.jsonl"
    source.write_text('{"text": "The cat sat on the mat, and nobody told the cat that it sat on the mat."}\n')
    run = "import spanmask; spanmask.preshard({!r}, {!r}, spanmask.PreshardConfig.of(seed=1), jobs=1)"
    loaded = [
        subprocess.run(
            [sys.executable, "-c", f"{run.format(str(source), str(tmp_path / out))}\nimport sys; print(*sys.modules)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for out in ("first", "second")
    ]
    assert "numba" in loaded[1]
    assert not NEEDLESS & set(loaded[1])
