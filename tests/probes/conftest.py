"""What the tests of probes share: real questions, and files of questions in both layouts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QA = Path(__file__).resolve().parents[3] / "shared" / "data" / "qa"
GLUE = QA.parent / "glue"
needs_glue = pytest.mark.skipif(not GLUE.is_dir(), reason=f"needs the files of GLUE in {GLUE}, which are not there")
needs_qa = pytest.mark.skipif(not QA.is_dir(), reason=f"needs the questions in {QA}, which are not there")


@pytest.fixture
def squad(tmp_path: Path) -> Callable[..., Path]:
    """Write a SQuAD file of passages, (context, qas) each."""

    def write(*paragraphs: tuple[Any, Any], name: str = "squad.json") -> Path:
        path = tmp_path / name
        held = [{"context": context, "qas": qas} for context, qas in paragraphs]
        path.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": held}]}), "utf-8")
        return path

    return write


@pytest.fixture
def mrqa(tmp_path: Path) -> Callable[..., Path]:
    """Write an MRQA file of passages, (context, qas) each."""

    def write(*paragraphs: tuple[Any, Any], name: str = "mrqa.jsonl.gz") -> Path:
        path = tmp_path / name
        lines = [{"header": {"dataset": "t", "split": "train"}}]
        lines += [{"id": "", "context": context, "context_tokens": [], "qas": qas} for context, qas in paragraphs]
        path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
        return path

    return write
