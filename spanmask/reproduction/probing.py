"""What every model of a grid is asked: probes as a plan writes them flow in, finished probe runs flow out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanmask.errors import ConfigError
from spanmask.options import Options, look_up
from spanmask.probes.boundaries.config import BoundariesConfig
from spanmask.probes.classify.config import ClassifyConfig
from spanmask.probes.config import PRESETS, FinetuneConfig
from spanmask.probes.coref.config import CorefConfig
from spanmask.probes.glue.config import GlueConfig
from spanmask.probes.glue.files import find_files
from spanmask.probes.ner.config import NerConfig
from spanmask.probes.qa.config import QaConfig
from spanmask.probes.relation.config import RelationConfig
from spanmask.reproduction.written import Written

if TYPE_CHECKING:
    from spanmask.probes.boundaries.watching import Watch as BoundariesWatch
    from spanmask.probes.results import Results
    from spanmask.probes.tasks import Task
    from spanmask.probes.watching import Watch as ProbeWatch
    from spanmask.vocab import Vocabulary

#: Asked of every model, without being named among the probes: losses and whole spans of held-out text.
HELD_OUT = "held-out"
BOUNDARIES, GLUE = "boundaries", "glue"
#: Files whose texts are not looked at for what they share with what is trained on.
_ARCHIVES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of probe. asking: its own configuration. task: module and name of what reads its files, of one that fine-tunes."""

    asking: type[Options]
    task: tuple[str, str] | None = None


KINDS: Mapping[str, Kind] = {
    BOUNDARIES: Kind(asking=BoundariesConfig),
    "qa": Kind(asking=QaConfig, task=("qa", "QuestionAnswering")),
    "coref": Kind(asking=CorefConfig, task=("coref", "Coreference")),
    GLUE: Kind(asking=GlueConfig, task=("glue", "Glue")),
    "classify": Kind(asking=ClassifyConfig, task=("classify", "Classify")),
    "ner": Kind(asking=NerConfig, task=("ner", "NamedEntities")),
    "relation": Kind(asking=RelationConfig, task=("relation", "RelationExtraction")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """A probe of a plan. kind: of `KINDS`. files: what it reads, by option. fine_tuning: options; None of one that trains nothing.

    asking: options of the kind. spans_of: of boundaries, the arm whose held-out spans are read.
    """

    name: str
    kind: str
    asking: Options
    fine_tuning: FinetuneConfig | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    spans_of: str | None = None

    @property
    def has_files(self) -> bool:
        """Whether it can be asked: shipped plans name probes whose files are yours to give."""
        return self.kind == BOUNDARIES or all(self.files.values())

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The files, or folders, of what it is scored on."""
        if self.kind == BOUNDARIES:
            return ()
        if self.kind != GLUE:
            return tuple(self.files["eval"])
        found = find_files(self.files["data"], self.files["task"])
        return tuple(map(str, (*found.evaluations.values(), *found.tests.values())))


def probe_plan(name: str, table: Mapping[str, Any], written: Written) -> ProbePlan:
    """Return a probe as a plan's table writes it.

    Raises
    ------
    ConfigError
        Something in it cannot be used; its line is named.
    """
    place, options = ("probe", name), dict(table)
    kind_name = options.pop("kind", name)
    if kind_name not in KINDS:
        raise written.error((*place, "kind"), f"a probe of kind {kind_name!r}: give kind, one of {', '.join(KINDS)}")
    kind = KINDS[kind_name]
    names = {BOUNDARIES: ("spans_of",), GLUE: ("data", "task")}.get(kind_name, ("train", "eval"))
    tuned = [] if kind.task is None else [*FinetuneConfig.option_names(), "preset"]
    known = [one for one in [*names, *kind.asking.option_names(), *tuned, "kind"] if one != "seeds"]
    written.require_names(place, table, known)
    files = {one: options.pop(one, None) for one in names}
    asking = {one: options.pop(one) for one in kind.asking.option_names() if one in options and one not in tuned}
    spans_of, files = files.pop("spans_of", None), _checked(files, place, written)
    with written.placing(*place):
        return ProbePlan(
            name=name,
            kind=kind_name,
            asking=kind.asking.of(**asking),
            fine_tuning=None if kind.task is None else _fine_tuning(kind.asking, options),
            spans_of=spans_of,
            files=files,
        )


def _fine_tuning(asking: type[Options], options: dict[str, Any]) -> FinetuneConfig:
    preset = options.pop("preset", getattr(asking, "PRESET", "single"))
    return FinetuneConfig.of(**{**look_up(PRESETS, preset, "preset"), **options})


def _checked(files: dict[str, Any], place: tuple[str, ...], written: Written) -> dict[str, Any]:
    """Return the files of a probe; those that are named must be there, and those it is scored on be no archives."""
    for name, value in files.items():
        if name == "task" or value is None:
            continue
        paths = [value] if name == "data" else value
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise written.error((*place, name), f"{name} is {value!r:.100}: give a list of files")
        for path in paths:
            if not Path(path).exists():
                raise written.error((*place, name), f"{path}: no such file or folder; give {name} of probe {place[-1]}")
            if name == "eval" and path.endswith(_ARCHIVES):
                raise written.error(
                    (*place, name),
                    f"{path}: what texts share with files of an archive is not looked for; unpack it, and give the folder",
                )
    return files


def ask(
    probe: ProbePlan, model: Path, out: Path, seed: int, *, dataset: Path, watch: tuple[ProbeWatch, BoundariesWatch]
) -> Results | None:
    """Ask a model, or go on with that; return what was found, None where the watch wanted to stop.

    Parameters
    ----------
    probe
        What is asked.
    model
        Run of a training.
    out
        Folder of the probe's run, which may have begun.
    seed
        Of heads, order and readers.
    dataset
        Whose held-out spans a boundary probe reads.
    watch
        Told what happens: of probes that fine-tune, and of boundaries.
    """
    from spanmask.probes.boundaries.run import probe as probe_boundaries
    from spanmask.probes.finetune import fine_tune
    from spanmask.probes.record import RECORD
    from spanmask.probes.starting import Source

    resume = (out / RECORD).exists()
    if probe.fine_tuning is None:
        config = BoundariesConfig.of(**{**probe.asking.to_json(), "seeds": str(seed)})
        return probe_boundaries([Source(model)], dataset, config, out=out, resume=resume, watch=watch[1]).results
    tuning = probe.fine_tuning.changed(seeds=f"{seed},")
    source = Source(model, dropout=tuning.dropout, frozen=tuning.frozen)
    return fine_tune(source, partial(_task, probe), out, tuning, resume=resume, watch=watch[0]).results


def _task(probe: ProbePlan, vocabulary: Vocabulary) -> Task:
    """Return a probe's task with its files read."""
    kind, tuning = KINDS[probe.kind], probe.fine_tuning
    if kind.task is None or tuning is None:
        raise ConfigError(f"a probe of kind {probe.kind} fine-tunes nothing")
    module, name = kind.task
    make: Callable[..., Task] = getattr(import_module(f"spanmask.probes.{module}.task"), name)
    asking = probe.asking.settled(frozen=tuning.frozen) if isinstance(probe.asking, CorefConfig) else probe.asking
    files = [probe.files[one] for one in (("data", "task") if probe.kind == GLUE else ("train", "eval"))]
    return make(
        vocabulary,
        *(tuple(one) if isinstance(one, list) else one for one in files),
        asking,
        selection=tuning.selection,
        on_error=tuning.on_error,
    )
