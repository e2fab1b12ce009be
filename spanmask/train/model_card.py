"""The card of an exported model: what it is, what it was trained on and how, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanmask.escaping import code_span, fact_table
from spanmask.train.record import Run

_HEADER = """---
library_name: transformers
pipeline_tag: fill-mask
tags: [{}, spanbert, spanmask]
---
"""


def model_card(run: Run, steps: tuple[int, ...], lines: tuple[Mapping[str, Any], ...]) -> str:
    """Return a model's card in Markdown.

    Parameters
    ----------
    run
        What trained it.
    steps
        After which it was kept; of several it is the mean.
    lines
        Evaluations of the run.
    """
    config, model = run.config, run.model
    source = config.init_from or config.backbone
    began = "from nothing" if source is None else f"from {code_span(Path(source).name)}"
    kind = "bert" if run.backbone is None else run.backbone["model_type"]
    ours = {"dropout in training": f"{config.hidden_dropout:g}, of attention {config.attention_dropout:g}"}
    mean = f", the mean of {len(steps)} checkpoints" if len(steps) > 1 else ""
    pooler = " The pooler is not trained." if run.backbone is None else ""
    rows = {
        "shape": f"{model.layers} layers of width {model.hidden}, {model.heads} heads, {model.max_positions} positions",
        "parameters": f"{run.parameters:,}",
        "objective": f"{model.objective}, spans of up to {model.max_span_offset} tokens for the span boundary head",
        "trained": f"{began}, {steps[-1]:,} of {config.steps:,} steps{mean}",
        "batch": f"{config.batch_size} bins × {config.accumulate} on each rank",
        "learning rate": f"{config.lr:g} after {config.warmup:,} steps, {config.schedule}",
        "weight decay, epsilon": f"{config.weight_decay:g}, {config.epsilon:g}",
        **(ours if run.backbone is None else {}),
        "masks": str(config.masks),
        "datasets": ", ".join(run.datasets),
        "vocabulary": run.vocabulary,
    } | _evaluated(steps[-1], lines)
    return f"""{_HEADER.format(kind)}
# A {"BERT" if run.backbone is None else code_span(kind)} trained on masked spans

Trained with spanmask as SpanBERT is (Joshi et al. 2020, arXiv 1907.10529), on one segment, without
next sentence prediction.{pooler} `sbo_head.safetensors`, where it is there, is the span boundary head, which
`spanmask infill` reads.

{fact_table(rows)}

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

model = AutoModelForMaskedLM.from_pretrained("this folder")
tokenizer = AutoTokenizer.from_pretrained("this folder")
```

Datasets are named by their fingerprints (`manifest.json`). What the text was, who may use it and what it lacks,
whoever trained the model has to say.
"""


def _evaluated(step: int, lines: tuple[Mapping[str, Any], ...]) -> dict[str, str]:
    """Return what an evaluation after this step found."""
    for line in lines:
        if line["step"] == step:
            names = {"MLM loss": "mlm_loss", "SBO loss": "sbo_loss", "MLM accuracy": "mlm_accuracy"}
            told = {name: line.get(key) for name, key in names.items()}
            return {f"held out: {name}": f"{value:.4f}" for name, value in told.items() if isinstance(value, float)}
    return {}
