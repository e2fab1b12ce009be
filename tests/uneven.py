"""A dataset whose bins differ much: full rows first, then rows of two words, which have more masked tokens a bin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spanmask import PreshardConfig, preshard

#: Loads it as it is stored, some of its bins in batches of 16, so that the first batches have few targets, and the last ones many.
OPTIONS: dict[str, Any] = {"batch_size": 16, "layout": "packed", "order": "none", "window": 240}


def write(folder: Path, **options: Any) -> Path:
    """Write the dataset to a folder in a folder."""
    long = [
        " ".join(["the", "cat", "sat", "on", "a", "mat"][place * 7 % 6] for place in range(n, n + 400))
        for n in range(12)
    ]
    texts = [*long, *["of the"] * 1200]
    (folder / "text.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    config = PreshardConfig.of(**{"seed": 7, "max_tokens": 48, "min_tokens": 2, **options})
    preshard(folder / "text.jsonl", folder / "out", config, jobs=1)
    return folder / "out"
