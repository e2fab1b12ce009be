"""Files for scorers: gold ones and predictions, written as given or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def write(folder: Path, gold: Any, predictions: Any) -> tuple[Path, Path]:
    """Write both files; what is no text becomes JSON."""
    for name, content in (("gold", gold), ("predictions", predictions)):
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return folder / "gold", folder / "predictions"


def squad_layout(accepted: dict[str, list[str]]) -> dict[str, Any]:
    """Return questions by id, with their answers, in SQuAD's layout: of two articles, the first one of two paragraphs."""
    asked = [{"id": name, "answers": [{"text": text} for text in texts]} for name, texts in accepted.items()]
    paragraphs = [{"context": "", "qas": asked[:1]}, {"context": "", "qas": asked[1:2]}]
    return {"version": "1.1", "data": [{"paragraphs": paragraphs}, {"paragraphs": [{"qas": asked[2:]}]}]}


def lines(*rows: str) -> str:
    """Return rows as lines; a blank between two columns is a tab."""
    return "".join(row.replace(" ", "\t") + "\n" for row in rows)
