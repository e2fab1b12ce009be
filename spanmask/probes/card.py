"""The card of a fine-tuned model: what it began as, what it learnt from and how, and what it scored."""

from __future__ import annotations

from collections.abc import Sequence

from spanmask.escaping import code_span, fact_table
from spanmask.probes.record import ProbeRun
from spanmask.probes.results import Named, SeedResult

_LOADING = {
    "coref": ("feature-extraction", "AutoModel"),
    "ner": ("token-classification", "AutoModelForTokenClassification"),
    "qa": ("question-answering", "AutoModelForQuestionAnswering"),
}
_CLASSES = ("text-classification", "AutoModelForSequenceClassification")


def finetuned_card(run: ProbeRun, found: SeedResult) -> str:
    """Return the card of a seed's model in Markdown."""
    pipeline, loader = _LOADING.get(run.task, _CLASSES)
    rows = {
        "task": run.task,
        "began as": _named([run.model]),
        "trained on": _named(run.train),
        "seed": str(found.seed),
        **{f"chosen: {name}": _figure(value) for name, value in found.chosen.items()},
        **{
            f"{name} on {code_span(file)}": _figure(value)
            for file, figures in found.scores.items()
            for name, value in figures.items()
        },
    }
    return f"""---
library_name: transformers
pipeline_tag: {pipeline}
tags: [bert, spanmask]
---

# A BERT fine-tuned by spanmask

{fact_table(rows)}

```python
from transformers import {loader}, AutoTokenizer

model = {loader}.from_pretrained("this folder")
tokenizer = AutoTokenizer.from_pretrained("this folder")
```

Grid point, epoch and thresholds were chosen on a share of the training texts; the evaluation files were scored once. Files and the
model it began as are named with the first digits of their SHA-256. Who may use the data and what the model lacks, whoever trained it has to
say.
"""


def _named(files: Sequence[Named]) -> str:
    return ", ".join(f"{code_span(one.name)} ({one.sha256[:12]})" for one in files)


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
