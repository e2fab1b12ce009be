"""RUN/run.json: what a run was started with; and what it tells beside that. Read without PyTorch."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, TypeVar

from spanmask.errors import ConfigError
from spanmask.model.config import SpanBertConfig
from spanmask.report.runs import Told
from spanmask.tokenizer_folder import read_json
from spanmask.train.config import TrainConfig
from spanmask.train.lines import JsonLines

RUN, METRICS, EVALUATIONS = "run.json", "metrics.jsonl", "evaluation.jsonl"
RUN_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run was started with.

    datasets: fingerprints, in order. names: of their folders, by fingerprint. vocabulary: its SHA-256. new_heads, dropped_rows: what is not
    as the model to start from had it: heads that were drawn anew, by name, and rows of its embedding beyond the vocabulary. backbone: the
    configuration of a model of transformers, as that has it; None for our own.
    """

    config: TrainConfig
    model: SpanBertConfig
    datasets: tuple[str, ...]
    vocabulary: str
    parameters: int
    new_heads: tuple[str, ...] = ()
    dropped_rows: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    backbone: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        texts = [self.vocabulary, *self.datasets, *self.new_heads, *self.names, *self.names.values()]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"expected texts alone in {texts!r:.200}")
        if type(self.parameters) is not int or type(self.dropped_rows) is not int:
            raise TypeError(f"expected numbers, found {self.parameters!r:.100} and {self.dropped_rows!r:.100}")

    def to_json(self) -> dict[str, Any]:
        """Return the parts as plain JSON values, with the versions of what computes."""
        return {
            "version": RUN_VERSION,
            "config": self.config.to_json(),
            "model": self.model.to_json(),
            "datasets": list(self.datasets),
            "names": dict(self.names),
            "vocabulary": self.vocabulary,
            "parameters": self.parameters,
            "new_heads": list(self.new_heads),
            "dropped_rows": self.dropped_rows,
            **({} if self.backbone is None else {"backbone": self.backbone}),
            "versions": versions(*(() if self.backbone is None else ("transformers",))),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Build what `to_json` wrote."""
        return cls(
            config=TrainConfig.from_json(content["config"]),
            model=SpanBertConfig.from_json(content["model"]),
            datasets=tuple(content["datasets"]),
            vocabulary=content["vocabulary"],
            parameters=content["parameters"],
            # Runs that began before these were told have none.
            new_heads=tuple(content.get("new_heads", ())),
            dropped_rows=content.get("dropped_rows", 0),
            names={**content.get("names", {})},
            backbone=content.get("backbone"),
        )


@cache
def versions(*libraries: str) -> dict[str, str]:
    """Return the versions that may change a run's numbers. libraries: beside those that any run computes with."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("spanmask", "torch", *libraries)}}


def read_record(
    path: Path,
    build: Callable[[dict[str, Any]], T],
    *,
    by: str,
    version: int | None = None,
    advice: str = "copy the run's folder again",
) -> T:
    """Return what a file of a run says.

    Parameters
    ----------
    path
        A JSON object.
    build
        Makes of it what is wanted.
    by
        The command that writes it.
    version
        What it says its version is; None where it says none.
    advice
        What to do where it is damaged.

    Raises
    ------
    ConfigError
        It is missing, damaged, or of another version.
    """
    content = read_json(path)
    if version is not None and content.get("version") != version:
        raise ConfigError(
            f"{path}: of version {content.get('version')!r:.100}, this spanmask reads {version}; use the one that wrote it"
        )
    try:
        return build(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; {advice}") from None
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: not what {by} writes ({error!r:.300}); {advice}") from None


def read_run(folder: str | Path) -> Run:
    """Return what a run was started with.

    Raises
    ------
    ConfigError
        There is none, or its file is damaged.
    """
    path = Path(folder) / RUN
    if not path.exists():
        raise ConfigError(f"{folder}: no {RUN} there, so it is no run; give the folder that spanmask train wrote")
    # Written last when the run began, so it is there whole or the run never began.
    return read_record(path, Run.from_json, by="spanmask train", version=RUN_VERSION)


def told_by(folder: str | Path, name: str) -> Told:
    """Return what a run tells, under a name for people.

    Raises
    ------
    ConfigError
        There is no run, or one of its files is damaged.
    StorageError
        The file system refused.
    """
    read_run(folder)
    metrics, evaluations = (JsonLines(Path(folder) / file).read() for file in (METRICS, EVALUATIONS))
    return Told(name=name, run=read_json(Path(folder) / RUN), metrics=metrics, evaluations=evaluations)
