"""A small task of real text for the engine: do two sentences of a story stand in this order? Whole examples through a pooler."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask import Tokenizer
from spanmask.blocks import offsets_of
from spanmask.model import ClassHead, SpanBertConfig, SpanBertForPreTraining, export
from spanmask.probes import Examples
from spanmask.probes.config import FinetuneConfig
from spanmask.probes.finetune import Finished, fine_tune
from spanmask.probes.results import Named, Questions
from spanmask.probes.selection import selected
from spanmask.probes.starting import Source
from spanmask.probes.tasks import Judged, Outputs, Rows, Settings
from spanmask.records import Ragged
from spanmask.vocab import Vocabulary

STORIES = Path(__file__).resolve().parents[2] / "spanmask" / "data" / "poe.txt"
WIDTH = 64
SIZES = {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 48, "max_positions": WIDTH}
#: A run of 2 seeds and 2 points, of 2 epochs of 3 or 4 updates.
SMALL: dict[str, Any] = {
    "lr": (1e-3, 5e-4),
    "batch_size": (8,),
    "epochs": 2,
    "seeds": "2",
    "selection": 0.2,
    "save_minutes": 0.0,
    "log_every": 3,
    "bins": 2,
    "device": "cpu",
    "threads": 1,
}


@cache
def sentences() -> tuple[str, ...]:
    found = re.split(r"(?<=[.!?])\s+", STORIES.read_text("utf-8"))
    return tuple(" ".join(text.split()) for text in found if 4 <= len(text.split()) <= 14)


def pairs(tokenizer: Tokenizer, first: int, count: int) -> Examples:
    """Sentences from one on, each with its neighbour: every other pair is turned round."""
    texts = sentences()[first : first + count + 1]
    block = tokenizer.encode(texts)
    special = tokenizer.vocabulary.special
    ids = Ragged(offsets=block.document_offsets, values=block.token_ids)
    rows, seconds = [], []
    for number in range(count):
        one, two = (ids[number], ids[number + 1])[:: -1 if number % 2 else 1]
        rows.append(np.concatenate([[special.cls], one, [special.sep], two, [special.sep]]))
        seconds.append(len(one) + 2)
    return Examples(
        input_ids=Ragged(offsets=offsets_of([len(row) for row in rows]), values=np.concatenate(rows).astype(np.uint16)),
        second_starts=np.array(seconds, np.int32),
        groups=np.arange(count),
        targets={"turned": np.arange(count) % 2},
    )


@dataclass(frozen=True)
class Turned:
    """Pairs that are predicted, and what is right of them."""

    name: str
    examples: Examples

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        told = self.examples.targets["turned"]
        margin = outputs[:, 1] - outputs[:, 0]
        threshold = float(np.median(margin)) if settings is None else settings["threshold"]
        right = ((margin > threshold) == (told == 1)).astype(np.float64)
        lines = "".join(f"{value:.9g}\n" for value in margin.tolist())
        return Judged(
            figures={"accuracy": 100 * float(right.mean())},
            settings={"threshold": threshold},
            files={"margins.txt": lines.encode()},
            questions=Questions(
                eval=[self.name] * len(told),
                ids=[str(number) for number in range(len(told))],
                paragraphs=self.examples.groups,
                exact=right,
                f1=right,
            ),
        )


@dataclass(frozen=True)
class Ordering:
    """The task on some of the stories' sentences."""

    training: Examples
    selection: Turned
    evaluations: tuple[Turned, ...]
    name: str = "ordering"
    metric: str = "accuracy"
    width: int = WIDTH
    rows: Rows = Rows.EXAMPLE
    train_files: tuple[Named, ...] = (Named(name="poe.txt", sha256="0" * 64),)
    eval_files: tuple[Named, ...] = (Named(name="one", sha256="1" * 64), Named(name="two", sha256="2" * 64))

    @property
    def protocol(self) -> Mapping[str, Any]:
        return {"width": self.width}

    def head(self, config: SpanBertConfig) -> nn.Module:
        return ClassHead(config, ("kept", "turned"))

    def loss(self, scores: Tensor, batch: Any) -> Tensor:
        return functional.cross_entropy(scores.float(), batch.targets["turned"], reduction="sum")


def ordering(vocabulary: Vocabulary, count: int = 32, share: float = 0.2) -> Ordering:
    tokenizer = Tokenizer(vocabulary)
    examples = pairs(tokenizer, 0, count)
    chosen = selected((examples.input_ids[number].tobytes() for number in range(count)), share)
    held = [Turned(name, pairs(tokenizer, first, 20)) for name, first in (("one", 200), ("two", 300))]
    return Ordering(
        training=examples.take(np.flatnonzero(~chosen)),
        selection=Turned("selection", examples.take(np.flatnonzero(chosen))),
        evaluations=tuple(held),
    )


@cache
def vocabulary() -> Vocabulary:
    """All words of the sentences, and the letters."""
    words = sorted(set(re.findall(r"[a-z]+", " ".join(sentences()).lower())))
    letters = [chr(place) for place in range(33, 127) if not chr(place).isupper() and chr(place) not in words]
    return Vocabulary(
        name="stories", entries=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *words), cased=False
    )


def small_model(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a model of random weights as `export` does."""
    torch.manual_seed(seed)
    config = SpanBertConfig.of(vocab_size=len(vocabulary()), **{**SIZES, **changes})
    export(SpanBertForPreTraining(config), folder, vocabulary())
    return folder


def config_of(**options: Any) -> FinetuneConfig:
    return FinetuneConfig.of(**{**SMALL, **options})


def tune(model: Path, out: Path, config: FinetuneConfig | None = None, **options: Any) -> Finished:
    return fine_tune(Source(model), ordering, out, config or config_of(), **options)
