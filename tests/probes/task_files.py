"""The files that the pages on tasks take for granted, in each task's layout."""

from __future__ import annotations

import json
import tarfile
from itertools import pairwise
from pathlib import Path

from probes.asked import write_questions
from probes.coref_stories import write_stories
from probes.glue_files import write_task
from probes.ordering import sentences
from probes.related import write_tacred
from probes.tagged import write_columns


def write_task_files(folder: Path) -> None:
    """Write them under the names that the pages give them."""
    write_questions(folder / "QUESTIONS.json", 0, 12)
    write_questions(folder / "HELD-OUT.json", 120, 4)
    _write_litbank(folder / "litbank_coref_conll.tar.gz")
    write_tacred(folder / "PAIRS.json", 40, 1)
    write_tacred(folder / "HELD-OUT-PAIRS.json", 12, 2)
    for task in ("rte", "wnli"):
        write_task(folder / "glue", task)
    write_columns(folder / "TRAIN.conll", 0, 40)
    write_columns(folder / "TEST.conll", 100, 12)
    _write_labelled(folder)


def _write_litbank(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for first in range(0, 40, 2):
            part = write_stories(path.with_name("part.conll"), first, 2)
            archive.add(part, f"conll/{first:02}_brat.conll")
            part.unlink()


def _write_labelled(folder: Path) -> None:
    texts = sentences()[:60]
    for name, part in (("train", texts[:40]), ("dev", texts[40:50]), ("test", texts[50:])):
        rows = [f"{text}\t{'long' if len(text.split()) > 8 else 'short'}\n" for text in part]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows), "utf-8")
    for name, part in (("pairs", texts[:40]), ("held-out", texts[40:])):
        lines = [{"text": one, "reply": other, "label": len(other) / 10} for one, other in pairwise(part)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
