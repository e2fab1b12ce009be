"""Questions on the stories that ship, in SQuAD's layout: which words follow some others?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from probes.ordering import sentences


def paragraphs(first: int, count: int) -> list[dict[str, Any]]:
    """Passages of three sentences, from one on, with two questions each."""
    made = []
    for place in range(first, first + 3 * count, 3):
        context = " ".join(sentences()[place : place + 3])
        words = context.split()
        asked = []
        for at in (1, len(words) // 2):
            answer = " ".join(words[at + 1 : at + 3])
            start = len(" ".join(words[: at + 1])) + 1
            question = f"What follows {words[at - 1]} {words[at]} ?"
            asked.append(
                {"id": f"{place}-{at}", "question": question, "answers": [{"text": answer, "answer_start": start}]}
            )
        made.append({"context": context, "qas": asked})
    return made


def write_questions(path: Path, first: int, count: int) -> Path:
    content = {"version": "1.1", "data": [{"title": "stories", "paragraphs": paragraphs(first, count)}]}
    path.write_text(json.dumps(content), "utf-8")
    return path
