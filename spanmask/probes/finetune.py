"""A model fine-tuned on a task, from its start or from where it was ended, and what it is worth: `fine_tune`.

::

    RUN/probe.json                        what the run was started with (`spanmask.probes.record`)
    RUN/seed-K/lr-L-batch-B/              a training: metrics.jsonl, selection.jsonl, checkpoints, and outcome.json when it is done
    RUN/seed-K/EVAL/…                     predictions on an evaluation file in official layouts
    RUN/seed-K/questions.jsonl            what was right of each question, where the task has such
    RUN/seed-K/model/                     the model that was chosen, as transformers loads it
    RUN/seed-K/result.json                what the seed came to; its checkpoints go then
    RUN/results.json                      the whole (`spanmask.probes.results`)

Of each seed, grid point, epoch and thresholds are chosen on a share of the training texts; what is chosen is then scored on the
evaluation files, once. Of the trainings of a seed that are done, only the best one's best checkpoint stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from spanmask.config import fingerprint
from spanmask.errors import ConfigError
from spanmask.folders import retract_folder
from spanmask.model.finetuned_folder import export_finetuned
from spanmask.probes.batching import GroupPacker, Packer, Packing
from spanmask.probes.card import finetuned_card
from spanmask.probes.config import FinetuneConfig, GridPoint
from spanmask.probes.examples import Examples
from spanmask.probes.record import RECORD, ProbeRun, read_probe_run
from spanmask.probes.results import RESULTS, Results, SeedResult, joined, trained_on, write_questions, write_results
from spanmask.probes.starting import Source
from spanmask.probes.tasks import GroupTask, Recipe, Rows, Task
from spanmask.probes.training import Ground, Selected, Training, TrainingPlan, judge
from spanmask.probes.watching import ProbePlan, Watch
from spanmask.probes.writing import as_json
from spanmask.storage import make_folder, publish_bytes, remove_temporaries
from spanmask.train.checkpoint import checkpoints_in, read_checkpoint
from spanmask.train.claiming import claimed_run
from spanmask.train.distributed import World, device_of
from spanmask.train.evaluation import AbandonedError
from spanmask.train.record import read_record
from spanmask.train.run import threads
from spanmask.train.updating import precision_of
from spanmask.vocab import Vocabulary

_OUTCOME, _RESULT = "outcome.json", "result.json"
_T = TypeVar("_T")
#: What examples are called by the option of a task that says how long they are.
_WIDTHS = {"window": "windows", "segment": "segments", "max_tokens": "examples"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run's end. results: None where it was asked to stop before, and goes on when it is resumed."""

    results: Results | None


def fine_tune(
    source: Source,
    prepare: Callable[[Vocabulary], Task],
    out: str | Path,
    config: FinetuneConfig,
    *,
    resume: bool = False,
    watch: Watch | None = None,
) -> Finished:
    """Fine-tune a model on a task, for each seed and point of the grid, and score what is chosen.

    Parameters
    ----------
    source
        The model to begin with.
    prepare
        Reads the task's files for a model's vocabulary.
    out
        The run's folder: new, or one to go on with.
    config
        Options.
    resume
        Go on where the run in the folder was ended.
    watch
        Told what happens, and asked whether to go on.

    Raises
    ------
    ConfigError
        Options do not fit, the model is none, or the folder holds a run and is not to be resumed, or the reverse.
    CorpusError
        A file of the task is not what it should be.
    MismatchError
        Of a run that goes on, something that decides figures is not what it was, or another process writes it.
    SpanmaskError
        A loss or gradient was not finite.
    StorageError
        The file system refused; earlier checkpoints are whole.
    """
    if source.frozen != config.frozen:
        raise ConfigError(f"frozen is {config.frozen}, and of the model that is given {source.frozen}: give both alike")
    out, watch = Path(out), watch or Watch()
    device = device_of(config.device)
    mine = [out / RESULTS, *out.glob("seed-*")]
    behind = [*mine, *out.glob("seed-*/*"), *out.glob("seed-*/*/checkpoints")]
    with threads(config.threads), claimed_run(out / RECORD, mine, behind, resume=resume):
        loaded = source.begin()
        task = prepare(loaded.vocabulary)
        run = ProbeRun(
            task=task.name,
            metric=task.metric,
            model=source.named,
            train=task.train_files,
            eval=task.eval_files,
            protocol=task.protocol,
            config=config,
        )
        if resume:
            read_probe_run(out).require_same(run, out)
        return _Run(out, run, source, task, World(device=device), watch).go()


class _Run:
    """A run under way."""

    def __init__(self, out: Path, run: ProbeRun, source: Source, task: Task, world: World, watch: Watch) -> None:
        self._out, self._run, self._source, self._task, self._world, self._watch = out, run, source, task, world, watch
        self._config = run.config
        self._require_room()
        self._require_examples()
        self._ground = Ground(
            task=task,
            world=world,
            watch=watch,
            dtype=precision_of(self._config.dtype, world.device),
            training=self._packing(task.training, training=True),
            selection=self._packing(task.selection.examples),
        )
        self._evaluations = [(held, self._packing(held.examples)) for held in task.evaluations]

    def _require_room(self) -> None:
        width, there = self._task.width, self._source.positions
        if width > there:
            option, noun = next(
                (pair for pair in _WIDTHS.items() if pair[0] in self._task.protocol), ("window", "examples")
            )
            raise ConfigError(
                f"{noun} of {width} tokens, and the model has {there} positions: give shorter ones ({option})",
                options=(option,),
            )

    def _require_examples(self) -> None:
        training, selection = len(self._task.training), len(self._task.selection.examples)
        if not training or not selection:
            raise ConfigError(
                f"of the training files {training:,} examples are trained on, and {selection:,} choose: give more texts, "
                f"or another selection than {self._config.selection:g}",
                options=("selection",),
            )

    def _packing(self, examples: Examples, *, training: bool = False) -> Packing:
        task, pad = self._task, self._source.vocabulary.special.pad
        if task.rows is Rows.GROUP:
            most = cast(GroupTask, task).most_examples if training else None
            return GroupPacker(examples, width=task.width, pad_id=pad, most=most)
        return Packer(examples, width=task.width, pad_id=pad, bins=self._config.bins)

    def go(self) -> Finished:
        """Train, choose, score."""
        self._watch.plan(self._plan())
        make_folder(self._out)
        for folder in (self._out, *(path for path in self._out.glob("seed-*/**") if path.is_dir())):
            remove_temporaries(folder)
        record = json.dumps(self._run.to_json(), indent=2, sort_keys=True).encode()
        publish_bytes(self._out / RECORD, record)
        self._watch.ready()
        results = []
        try:
            for seed in self._config.seed_numbers:
                result = self._seed(seed)
                if result is None:
                    return Finished(results=None)
                results.append(result)
        except AbandonedError:
            return Finished(results=None)
        whole = self._results(results)
        write_results(self._out, whole)
        return Finished(results=whole)

    def _results(self, seeds: list[SeedResult]) -> Results:
        run = self._run
        try:
            return Results(
                task=run.task,
                model=run.model,
                train=run.train,
                eval=run.eval,
                metric=run.metric,
                protocol={**run.protocol, "fine_tuning": run.config.deciding},
                seeds=tuple(seeds),
            )
        except ValueError as error:
            raise ConfigError(
                f"{self._out}: its seeds' {_RESULT} do not belong together ({error}); remove those that are another run's"
            ) from None

    def _plan(self) -> ProbePlan:
        task, config, run = self._task, self._config, self._run
        model = self._source.model(task, seed=config.seed_numbers[0])
        plans = [self._training(seed, point) for seed in config.seed_numbers for point in config.grid]
        return ProbePlan(
            task=task.name,
            metric=task.metric,
            model=self._source.named.name,
            device=str(self._world.device),
            precision=str(self._ground.dtype).removeprefix("torch."),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            initialised=self._source.initialised,
            examples=len(self._ground.training),
            tokens=len(task.training.input_ids.values),
            selection=len(self._ground.selection),
            evaluation=sum(len(packing) for _, packing in self._evaluations),
            trained_on=trained_on(run.train, run.eval, run.protocol),
            trainings=len(plans),
            step=sum(self._done(plan) for plan in plans),
            steps=plans[-1].overall,
        )

    def _done(self, plan: TrainingPlan) -> int:
        """Return how many updates of a training were made."""
        if (plan.folder.parent / _RESULT).exists() or (plan.folder / _OUTCOME).exists():
            return plan.config.steps
        return max(checkpoints_in(plan.folder / "checkpoints"), default=0)

    def _training(self, seed: int, point: GridPoint) -> TrainingPlan:
        config, examples = self._config, len(self._ground.training)
        sizes = [config.updates(one, examples) for one in config.grid]
        whole = config.seed_numbers.index(seed) * sum(sizes)
        return TrainingPlan(
            folder=self._out / f"seed-{seed}" / point.name,
            identity=fingerprint({"run": self._run.digest, "seed": seed, "point": list(point)}),
            config=config.training(point, seed, examples),
            evaluations=config.epochs * config.evals_per_epoch,
            before=whole + sum(sizes[: config.grid.index(point)]),
            overall=len(config.seed_numbers) * sum(sizes),
            head_lr=point.head_lr,
        )

    def _seed(self, seed: int) -> SeedResult | None:
        """Return what a seed came to; None where the watch wanted to stop."""
        folder = self._out / f"seed-{seed}"
        if (folder / _RESULT).exists():
            return _read_result(folder / _RESULT)
        outcomes: dict[GridPoint, Selected] = {}
        for point in self._config.grid:
            found = self._outcome(seed, point)
            if found is None:
                return None
            outcomes[point] = found
            best = self._best(outcomes)
            for other in outcomes:
                _trim(folder / other.name, None if other != best else outcomes[best].step)
        best = self._best(outcomes)
        result = self._score(seed, best, outcomes[best])
        publish_bytes(folder / _RESULT, as_json(asdict(result)))
        _trim(folder / best.name, None)
        self._watch.scored(result)
        return result

    def _best(self, outcomes: dict[GridPoint, Selected]) -> GridPoint:
        """Return the point whose best evaluation found most; of equals the first."""
        return max(outcomes, key=lambda point: outcomes[point].figures[self._task.metric])

    def _outcome(self, seed: int, point: GridPoint) -> Selected | None:
        """Return the best evaluation of a training, which is made if it is not yet done."""
        plan = self._training(seed, point)
        path, grid = plan.folder / _OUTCOME, self._config.grid
        if path.exists():
            return _read_outcome(path, self._task.metric)
        number = self._config.seed_numbers.index(seed) * len(grid) + grid.index(point) + 1
        self._watch.training(f"seed-{seed}/{point.name}", number, len(grid) * len(self._config.seed_numbers))
        model = self._source.model(self._task, seed=seed).to(self._world.device)
        found = Training(plan, self._ground, model).run()
        if found is not None:
            publish_bytes(path, as_json(asdict(found)))
        return found

    def _score(self, seed: int, point: GridPoint, chosen: Selected) -> SeedResult:
        """Score what was chosen on the evaluation files; write predictions and the model."""
        plan = self._training(seed, point)
        model = self._source.model(self._task, seed=seed)
        best = checkpoints_in(plan.folder / "checkpoints").get(chosen.step)
        if best is None:
            raise ConfigError(
                f"{plan.folder}: its best checkpoint, of step {chosen.step}, is gone; remove the folder to train anew"
            )
        model.load_state_dict(read_checkpoint(best, optimizer=False).model)
        model.to(self._world.device)
        judged = {}
        for held, packing in self._evaluations:
            self._watch.scoring(held.name)
            judged[held.name] = judge(model, self._ground, held, packing, chosen.settings)
        folder = self._out / f"seed-{seed}"
        for name, one in judged.items():
            make_folder(folder / name)
            for file, data in one.files.items():
                publish_bytes(folder / name / file, data)
        told = [one.questions for one in judged.values() if one.questions is not None]
        if told:
            write_questions(self._out, seed, joined(told))
        grid = {**point.given, "epoch": chosen.epoch, "step": chosen.step}
        result = SeedResult(
            seed=seed,
            chosen={**grid, **chosen.settings, "selection": chosen.figures[self._task.metric]},
            scores={name: dict(one.figures) for name, one in judged.items() if one.figures},
        )
        card = finetuned_card(self._run, result)
        task = self._task
        recipes = {task.name: dict(task.recipe)} if isinstance(task, Recipe) else {}
        export_finetuned(model, folder / "model", self._source.vocabulary, recipes=recipes, card=card, overwrite=True)
        return result


def _trim(training: Path, step: int | None) -> None:
    """Remove the checkpoints of a training that is done, but for one of a step."""
    for found, folder in checkpoints_in(training / "checkpoints").items():
        if found != step:
            retract_folder(folder)


def _read_outcome(path: Path, metric: str) -> Selected:
    def build(content: dict[str, Any]) -> Selected:
        found = Selected(**content)
        found.figures[metric]
        return found

    return _read(path, build)


def _read_result(path: Path) -> SeedResult:
    return _read(path, lambda content: SeedResult(**content))


def _read(path: Path, build: Callable[[dict[str, Any]], _T]) -> _T:
    return read_record(path, build, by="spanmask probe", advice="remove its folder to train anew")
