"""The paper's own figures of its two comparisons (Joshi et al. 2020, arXiv 1907.10529v3, tables 6 and 7), to stand beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """A table of the paper. told: what it is. rows: figures by what was trained, one a column."""

    told: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]


_COLUMNS = ("SQuAD 2.0", "NewsQA", "TriviaQA", "Coreference", "MNLI-m", "QNLI", "GLUE, mean")
_TRAINED = "BERT-large, 1.2 million updates of 256 sequences of up to 512 tokens; one training each, development sets"

TABLES: Mapping[str, PaperTable] = {
    "masking": PaperTable(
        told=f"Table 6, masking schemes, with two segments and next-sentence prediction: {_TRAINED}",
        columns=_COLUMNS,
        rows={
            "Subword tokens": (83.8, 72.0, 76.3, 77.7, 86.7, 92.5, 83.2),
            "Whole words": (84.3, 72.8, 77.1, 76.6, 86.3, 92.8, 82.9),
            "Named entities": (84.8, 72.7, 78.7, 75.6, 86.0, 93.1, 83.2),
            "Noun phrases": (85.0, 73.0, 77.7, 76.7, 86.5, 93.2, 83.5),
            "Geometric spans": (85.4, 73.0, 78.8, 76.4, 87.0, 93.3, 83.4),
        },
    ),
    "objective": PaperTable(
        told=f"Table 7, objectives, with geometric spans: {_TRAINED}",
        columns=_COLUMNS,
        rows={
            "Two segments, next-sentence prediction": (85.4, 73.0, 78.8, 76.4, 87.0, 93.3, 83.4),
            "One segment": (86.7, 73.4, 80.0, 76.3, 87.3, 93.8, 83.8),
            "One segment, span boundary objective": (86.8, 74.1, 80.3, 79.0, 87.6, 93.9, 84.0),
        },
    ),
}
