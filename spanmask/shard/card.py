"""The dataset card: README.md beside the manifest, for people and for `datasets.load_dataset`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from spanmask.escaping import code_span, first_of
from spanmask.shard.input_list import input_names
from spanmask.shard.manifest import Manifest

_CARD = """\
---
configs:
- config_name: default
  data_files:
{files}
tags:
- spanmask
- masked-language-modeling
---

# Span-masked sequences

{rows:,} sequences of up to {max_tokens} tokens ({tokens:,} tokens with special ones), masked by spanmask {version}:
scheme `{scheme}`{sampler}, {ratio:.4f} of the tokens masked (asked for {asked}), seed {seed}, mask epoch {epoch},
vocabulary {vocabulary} ({casing}), {unknown:.2%} of the tokens unknown to it.

| split | sequences | tokens | masked | spans | shards |
|---|---:|---:|---:|---:|---:|
{table}

| column | meaning |
|---|---|
| `document_id`, `segment` | identity of the sequence |
| `input_ids` | corrupted tokens, `[CLS]` to `[SEP]` |
| `span_starts`, `span_ends` | half-open spans in positions of `input_ids`; `start - 1` and `end` are a span's boundaries |
| `labels` | original ids under the spans, in span order |

```python
from datasets import load_dataset            # any reader of Arrow IPC files will do
rows = load_dataset("DIR")

import spanmask                              # memory-mapped, checked
shards = spanmask.open("DIR")
print(shards[0].original())
```

Inputs: {inputs}. Fingerprint `{fingerprint}`.
"""


def dataset_card(manifest: Manifest) -> str:
    """Return the card of a dataset."""
    config, splits = manifest.config, manifest.splits
    statistics, vocabulary = manifest.statistics, manifest.stated_vocabulary
    masked, unknown, total = (
        sum(counts[name] for counts in statistics.values()) for name in ("masked_tokens", "unknown_tokens", "tokens")
    )
    return _CARD.format(
        version=version("spanmask"),
        files="\n".join(f"  - split: {name}\n    path: {name}/*.arrow" for name in splits),
        rows=sum(split.rows for split in splits.values()),
        tokens=sum(split.tokens for split in splits.values()),
        max_tokens=config.sequence.max_tokens,
        scheme=config.masking.scheme,
        sampler=f", sampler `{config.masking.sampler}`" if config.masking.sampler else "",
        ratio=masked / max(total, 1),
        unknown=unknown / max(total, 1),
        asked=config.masking.mask_ratio,
        seed=config.masking.seed,
        epoch=config.masking.mask_epoch,
        vocabulary=code_span(vocabulary.name),
        casing={True: "cased", False: "uncased", None: "its own tokenizer"}[vocabulary.cased],
        table="\n".join(_line(name, manifest, statistics[name]) for name in splits),
        inputs=first_of([code_span(name) for name in input_names(manifest.inputs)], 10),
        fingerprint=manifest.fingerprint,
    )


def _line(name: str, manifest: Manifest, counts: dict[str, Any]) -> str:
    split = manifest.splits[name]
    return (
        f"| {name} | {split.rows:,} | {split.tokens:,} | {counts['masked_tokens']:,} "
        f"| {counts['spans']:,} | {len(split.shards)} |"
    )
