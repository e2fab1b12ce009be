"""What a finished probe run found: RUN/results.json, and of each seed RUN/seed-K/questions.jsonl. Read and written without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spanmask.errors import ConfigError
from spanmask.probes.writing import as_json
from spanmask.records import Flags, Offsets
from spanmask.storage import make_folder, publish_bytes, reporting, require_file
from spanmask.train.record import read_record

RESULTS, QUESTIONS = "results.json", "questions.jsonl"
RESULTS_VERSION = 1
#: Bytes of a file of questions, at most: ten million of them.
_LIMIT = 2 << 30
#: No figure of a task is larger: sums of some stay finite.
_MOST = 1e15

#: Figures by name, such as ``{"exact_match": 80.1, "f1": 87.9}``, as the task's official program has them.
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A file or a model. name: for people, told from others of its kind by it. sha256: of its content, in hexadecimal."""

    name: str
    sha256: str

    def __post_init__(self) -> None:
        _require(
            all(isinstance(one, str) and one for one in (self.name, self.sha256)), f"a name and a digest in {self}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """What one seed came to. chosen: grid point, epoch and thresholds, from the training files. scores: figures by evaluation file."""

    seed: int
    chosen: Mapping[str, Any]
    scores: Mapping[str, Figures]

    def __post_init__(self) -> None:
        _require(type(self.seed) is int and self.seed >= 0, f"a seed of 0 or more, found {self.seed!r:.100}")
        _require(isinstance(self.chosen, dict), f"an object for what was chosen, found {self.chosen!r:.100}")
        for figures in self.scores.values():
            for name, value in figures.items():
                number = type(value) in (int, float) and abs(value) <= _MOST
                _require(
                    isinstance(name, str) and number, f"figures that are numbers, found {name!r:.100}: {value!r:.100}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a finished run found.

    task: such as ``qa``. model: what was fine-tuned. train, eval: files, in order. metric: the figure by which grid point and epoch were
    chosen, which every evaluation file has. protocol: what must be alike for figures of two runs to be compared. seeds: in order.
    """

    task: str
    model: Named
    train: tuple[Named, ...]
    eval: tuple[Named, ...]
    metric: str
    seeds: tuple[SeedResult, ...]
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(isinstance(self.task, str) and isinstance(self.metric, str), "texts for task and metric")
        _require(isinstance(self.protocol, dict), f"an object for the protocol, found {self.protocol!r:.100}")
        names = [one.name for one in self.eval]
        _require(
            0 < len(names) == len(set(names)),
            f"evaluation files that are told apart by their names, found {names!r:.200}",
        )
        numbers = [one.seed for one in self.seeds]
        _require(0 < len(numbers) == len(set(numbers)), f"seeds, each once, found {numbers!r:.200}")
        first = self.seeds[0].scores
        for one in self.seeds:
            _require(one.scores.keys() == set(names), f"figures of each evaluation file for seed {one.seed}")
            for name in names:
                alike = one.scores[name].keys() == first[name].keys() and self.metric in first[name]
                _require(alike, f"the same figures of {name} for each seed, {self.metric} among them")

    @property
    def mean(self) -> dict[str, dict[str, float]]:
        """Figures by evaluation file, averaged over the seeds."""
        return {
            name: {figure: fmean(values) for figure, values in own.items()} for name, own in self._by_figure().items()
        }

    @property
    def deviation(self) -> dict[str, dict[str, float | None]]:
        """Their standard deviations (n - 1 in the denominator); None for one seed."""
        return {
            name: {figure: stdev(values) if len(values) > 1 else None for figure, values in own.items()}
            for name, own in self._by_figure().items()
        }

    def _by_figure(self) -> dict[str, dict[str, list[float]]]:
        return {
            name: {figure: [one.scores[name][figure] for one in self.seeds] for figure in figures}
            for name, figures in self.seeds[0].scores.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values, means and deviations with it."""
        return {"version": RESULTS_VERSION, **asdict(self), "mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build what `to_json` wrote; means and deviations follow from the seeds."""
        return cls(
            task=content["task"],
            model=Named(**content["model"]),
            train=tuple(Named(**one) for one in content["train"]),
            eval=tuple(Named(**one) for one in content["eval"]),
            metric=content["metric"],
            protocol=content["protocol"],
            seeds=tuple(SeedResult(**one) for one in content["seeds"]),
        )


def trained_on(train: Sequence[Named], evaluated: Sequence[Named], protocol: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of evaluation files that are trained on too, whatever those are called; none where a fold divides such files."""
    known = {one.sha256 for one in train}
    return () if protocol.get("fold") else tuple(one.name for one in evaluated if one.sha256 in known)


def write_results(folder: str | Path, results: Results) -> None:
    """Write RUN/results.json, whole or not at all: its presence is that the run is finished.

    Raises
    ------
    StorageError
        The file system refused.
    """
    publish_bytes(Path(folder) / RESULTS, as_json(results.to_json()))


def read_results(folder: str | Path) -> Results:
    """Return what a run found.

    Raises
    ------
    ConfigError
        The run is not finished, or its file is damaged.
    StorageError
        The file system refused.
    """
    path = Path(folder) / RESULTS
    if not path.exists():
        raise ConfigError(f"{folder}: no {RESULTS} there; give the folder of a spanmask probe that has come to its end")
    return read_record(path, Results.from_json, by="spanmask probe", version=RESULTS_VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """N evaluation questions as one seed answered them.

    eval: the evaluation file of each, by its name in the results. ids: its own. paragraphs: (N,) int64, which passage of its file it is
    about. exact, f1: (N,) float64 in [0, 1], whose means times 100 are the files' figures.
    """

    eval: Sequence[str]
    ids: Sequence[str]
    paragraphs: Offsets
    exact: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        columns = (self.eval, self.ids, self.paragraphs, self.exact, self.f1)
        _require(len({len(column) for column in columns}) == 1, "columns of one length")
        _require(all(isinstance(one, str) for one in (*self.eval, *self.ids)), "texts for evaluation files and ids")
        _require(self.paragraphs.dtype == np.int64, f"whole numbers of passages, found {self.paragraphs.dtype}")
        for values in (self.exact, self.f1):
            within = values.dtype == np.float64 and bool(((values >= 0) & (values <= 1)).all())
            _require(within, "shares from 0 to 1 for exact and f1")
        _require(len(set(zip(self.eval, self.ids, strict=True))) == len(self.ids), "questions, each once")

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, name: str) -> Flags:
        """Return (N,) which questions are an evaluation file's."""
        return np.fromiter((one == name for one in self.eval), np.bool_, len(self))


def joined(parts: Sequence[Questions]) -> Questions:
    """Return the questions of some evaluation files, one or more, as one."""
    return Questions(
        eval=[name for part in parts for name in part.eval],
        ids=[key for part in parts for key in part.ids],
        paragraphs=np.concatenate([part.paragraphs for part in parts]),
        exact=np.concatenate([part.exact for part in parts]),
        f1=np.concatenate([part.f1 for part in parts]),
    )


_COLUMNS = ("eval", "id", "paragraph", "exact", "f1")


def write_questions(folder: str | Path, seed: int, questions: Questions) -> None:
    """Write RUN/seed-K/questions.jsonl, whole or not at all.

    Raises
    ------
    StorageError
        The file system refused.
    """
    path = Path(folder) / f"seed-{seed}" / QUESTIONS
    numbers = (values.tolist() for values in (questions.paragraphs, questions.exact, questions.f1))
    rows = zip(questions.eval, questions.ids, *numbers, strict=True)
    make_folder(path.parent)
    publish_bytes(path, "".join(json.dumps(dict(zip(_COLUMNS, row, strict=True))) + "\n" for row in rows).encode())


def read_questions(folder: str | Path, seed: int) -> Questions:
    """Return the questions as a seed of a run answered them.

    Raises
    ------
    ConfigError
        There are none, or the file is damaged.
    StorageError
        The file system refused.
    """
    path = Path(folder) / f"seed-{seed}" / QUESTIONS
    require_file(path, _LIMIT)
    with reporting(path, "read"):
        lines = path.read_bytes().splitlines()
    rows = [_row(path, number, line) for number, line in enumerate(lines, start=1)]
    evals, ids, paragraphs, exact, f1 = zip(*rows, strict=True) if rows else ((),) * len(_COLUMNS)
    try:
        return Questions(
            eval=evals,
            ids=ids,
            paragraphs=np.array(paragraphs, np.int64),
            exact=np.array(exact, np.float64),
            f1=np.array(f1, np.float64),
        )
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; copy the run's folder again") from None


def _row(path: Path, number: int, line: bytes) -> tuple[Any, ...]:
    try:
        content = json.loads(line)
        name, key, paragraph, exact, f1 = (content[column] for column in _COLUMNS)
        if type(paragraph) is int and abs(paragraph) < 1 << 63 and {type(exact), type(f1)} <= {int, float}:
            return name, key, paragraph, float(exact), float(f1)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        pass
    raise ConfigError(
        f"{path}:{number}: no JSON object with {', '.join(_COLUMNS)} as spanmask probe writes it; copy the run's folder again"
    )


def _require(holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"expected {wanted}")
