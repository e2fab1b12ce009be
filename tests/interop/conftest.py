"""What the tests of other libraries share: finished datasets, and a Hugging Face cache of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from finished import finished

__all__ = ["finished", "load"]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """`datasets.load_dataset` of a folder, with a cache of its own and no network."""

    def load_folder(folder: Path, **options: Any) -> Any:
        return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), **options)

    datasets.disable_progress_bars()
    return load_folder
