"""What a run's folder holds beside its checkpoints and metrics: what it was started with.

::

    RUN/run.json          configuration, the model's shape, datasets' fingerprints and names, vocabulary, versions
    RUN/tokenizer/        the vocabulary as files (`spanmask.model.tokenizer_files`)
    RUN/checkpoints/      see `spanmask.train.checkpoint`
    RUN/metrics.jsonl     see `spanmask.train.metrics`
    RUN/evaluation.jsonl  what the validation split gave, a line each time
    RUN/curves.html       both, as a page
    RUN/.spanmask/        while the run is under way: its lock
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from spanmask.errors import ConfigError
from spanmask.escaping import counted
from spanmask.model.config import SpanBertConfig
from spanmask.model.convert import export
from spanmask.model.fitting import build
from spanmask.model.pretraining import PretrainingModel, SpanBertForPreTraining
from spanmask.model.tokenizer_files import read_tokenizer, write_tokenizer
from spanmask.report.curves_page import curves_page
from spanmask.report.named import names_of
from spanmask.report.runs import Told
from spanmask.shard.reader import ShardSet
from spanmask.storage import make_folder, publish_bytes
from spanmask.train.checking import read_chosen
from spanmask.train.checkpoint import Checkpoint, Tensors, checkpoints_in
from spanmask.train.claiming import claimed_run
from spanmask.train.lines import JsonLines
from spanmask.train.model_card import model_card
from spanmask.train.record import EVALUATIONS, METRICS, RUN, Run, read_run
from spanmask.vocab import Vocabulary

_CURVES = "curves.html"


class RunFolder:
    """A run's folder and its files."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints, self.tokenizer = self.path / "checkpoints", self.path / "tokenizer"
        self.metrics = JsonLines(self.path / METRICS)
        self.evaluations = JsonLines(self.path / EVALUATIONS)

    def claimed(self, *, resume: bool) -> AbstractContextManager[None]:
        """Be the only process that writes the run while the body runs; see `spanmask.train.claiming.claimed_run`."""
        mine = [self.path / name for name in (METRICS, EVALUATIONS, _CURVES)] + [*self.checkpoints.glob("*")]
        behind = (self.tokenizer, self.checkpoints, *self.checkpoints.glob("*"))
        return claimed_run(self.path / RUN, mine, behind, resume=resume)

    def begin(self, run: Run, shards: Sequence[ShardSet]) -> None:
        """Write what the run is started with; run.json last.

        Raises
        ------
        StorageError
            The file system refused.
        """
        make_folder(self.tokenizer)
        write_tokenizer(self.tokenizer, shards[0].manifest.vocabulary, max_tokens=run.model.max_positions)
        publish_bytes(self.path / RUN, json.dumps(run.to_json(), indent=2, sort_keys=True).encode())

    def draw(self, run: Run) -> None:
        """Write the page of curves.

        Raises
        ------
        StorageError
            The file system refused.
        """
        [name] = names_of([str(self.path)])
        told = Told(name=name, run=run.to_json(), metrics=self.metrics.read(), evaluations=self.evaluations.read())
        publish_bytes(self.path / _CURVES, curves_page([told]).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    """A run's model after ``step`` updates, on the host in float32, what its ids mean, and its card in Markdown."""

    model: PretrainingModel
    vocabulary: Vocabulary
    step: int
    card: str

    def export(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the model so that transformers loads it; see `spanmask.model.export` and `spanmask.model.export_backbone`."""
        if isinstance(self.model, SpanBertForPreTraining):
            export(self.model, folder, self.vocabulary, overwrite=overwrite, card=self.card)
            return
        from spanmask.model import BackboneForPreTraining, export_backbone

        assert isinstance(self.model, BackboneForPreTraining)  # noqa: S101 - there is no third kind
        export_backbone(self.model, folder, self.vocabulary, overwrite=overwrite, card=self.card)


def load_run(folder: str | Path, *, step: int | None = None, average: int = 1) -> LoadedRun:
    """Return a run's model as of its checkpoint after a step, by default its latest. average: the mean of so many, this one the last.

    Raises
    ------
    ConfigError
        There is no such run, or no such checkpoint in it.
    MismatchError
        The checkpoint is truncated or altered.
    StorageError
        The file system refused.
    """
    run, files = read_run(folder), RunFolder(folder)
    found = checkpoints_in(files.checkpoints)
    if not found:
        raise ConfigError(f"{folder}: the run has no checkpoint yet; wait for one, or resume it")
    chosen = max(found) if step is None else step
    if chosen not in found:
        there = ", ".join(f"{number:,}" for number in found)
        raise ConfigError(f"{folder}: it has no checkpoint of step {chosen:,}; it has {there}: give one of these")
    steps = [number for number in found if number <= chosen][-average:]
    if len(steps) != average:
        raise ConfigError(
            f"{folder}: it has {counted(len(steps), 'checkpoint')} up to step {chosen:,}, and {average} are to be averaged: give fewer, "
            "or train with a larger --keep-last"
        )
    checkpoints = (read_chosen(found, number, optimizer=False) for number in steps)
    state, config = _mean(checkpoints, average)
    model = _built(run, config, files.path / RUN)
    model.load_state_dict(state)
    card = model_card(run, tuple(steps), tuple(files.evaluations.read()))
    return LoadedRun(model=model, vocabulary=read_tokenizer(files.tokenizer), step=chosen, card=card)


def _built(run: Run, config: SpanBertConfig, path: Path) -> PretrainingModel:
    if run.backbone is None:
        return build(config)
    from spanmask.model import build_backbone

    return build_backbone(run.backbone, config, path)[0]


def _mean(checkpoints: Iterator[Checkpoint], count: int) -> tuple[Tensors, SpanBertConfig]:
    """Return the mean of models, added up in float64, and their shape."""
    first = next(checkpoints)
    config = SpanBertConfig.from_json(first.state["model"])
    if count == 1:
        return first.model, config
    sums = {name: tensor.double() for name, tensor in first.model.items()}
    for other in checkpoints:
        for name, tensor in other.model.items():
            sums[name] += tensor
    return {name: (tensor / count).float() for name, tensor in sums.items()}, config
