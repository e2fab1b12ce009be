"""GLUE through the engine: from official files to figures that the scorer gives for the files it writes, and to what one submits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes.conftest import GLUE, needs_glue
from probes.glue_files import rows, some_labels, some_texts, write_task
from probes.ordering import SMALL, small_model, vocabulary
from transformers import AutoModelForSequenceClassification

from spanmask.config import OnError, VocabularyConfig
from spanmask.errors import ConfigError, CorpusError
from spanmask.model import load_finetuned
from spanmask.model.finetuned_folder import export_finetuned
from spanmask.probes.batching import Packer
from spanmask.probes.config import FinetuneConfig
from spanmask.probes.finetune import fine_tune
from spanmask.probes.glue import Glue, GlueConfig
from spanmask.probes.results import read_results
from spanmask.probes.scores import glue as scores
from spanmask.probes.scores.glue import TASKS
from spanmask.probes.starting import Source
from spanmask.probes.watching import Watch
from spanmask.train.watching import Progress
from spanmask.vocab import load_vocabulary

SHORT = GlueConfig(max_tokens=24)
SETTING: dict[str, Any] = {**SMALL, "lr": (1e-3,), "seeds": "1", "epochs": 1, "selection": 0.25}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


def task_of(data: Path, task: str, config: GlueConfig = SHORT, **options: Any) -> Glue:
    return Glue(vocabulary(), data, task, config, **{"selection": 0.25, **options})


def run_of(model: Path, data: Path, task: str, out: Path, *, resume: bool = False, watch: Watch | None = None) -> Path:
    config = FinetuneConfig.of(**SETTING)
    fine_tune(Source(model), lambda _: task_of(data, task), out, config, resume=resume, watch=watch)
    return out


@pytest.mark.parametrize("task", ["cola", "stsb", "mrpc", "mnli"])
def test_a_run_scores_as_the_scorer_scores_its_files_and_writes_what_one_submits(
    task: str, model: Path, tmp_path: Path
) -> None:
    own, told = write_task(tmp_path, task), TASKS[task]
    out = run_of(model, tmp_path, task, tmp_path / "run")
    found = read_results(out)
    (seed,) = found.seeds
    assert found.task == f"glue-{task}"
    assert [file.name for file in found.eval] == [f"dev{part}" for part in told.parts]
    for name, figures in seed.scores.items():
        official = scores.score(own / f"{name}.tsv", out / "seed-1" / name / "predictions.tsv", task=task)
        means = {"mean": sum(official.values()) / 2} if len(official) == 2 else {}
        assert figures == {**official, **means}
    submitted = {path.name: path.read_text() for path in out.glob("seed-1/test*/*")}
    assert submitted.keys() == {f"{told.folder}{end}.tsv" for end in told.parts.values()}
    for text in submitted.values():
        header, *lines = text.splitlines()
        assert header == "index\tprediction"
        indices, labels = zip(*(line.split("\t") for line in lines), strict=True)
        assert indices == ("0", "1", "2", "3", "4")
        assert all(label in told.labels if told.labels else 0 <= float(label) <= 5 for label in labels)
    head = load_finetuned(out / "seed-1" / "model").head
    assert head.labels == (told.labels or ("number",))


def test_what_the_most_frequent_label_would_score_stands_beside(tmp_path: Path) -> None:
    own = write_task(tmp_path, "sst2")
    texts = some_texts(0, 40)
    (own / "train.tsv").write_text(rows("sst2", texts, ["1"] * 10 + ["0"] * 30))
    (own / "dev.tsv").write_text(rows("sst2", texts[:10], ["0"] * 7 + ["1"] * 3))
    protocol = task_of(tmp_path, "sst2").protocol
    assert protocol["floor"] == {"by": "the most frequent label, '0'", "figures": {"dev": {"accuracy": 0.7}}}
    write_task(tmp_path, "stsb")
    assert task_of(tmp_path, "stsb").protocol["floor"] == {}


def test_a_protocol_is_reckoned_once_and_no_file_read_again_for_it(tmp_path: Path) -> None:
    own = write_task(tmp_path, "sst2", test=3)
    task = task_of(tmp_path, "sst2")
    protocol = task.protocol
    (own / "test.tsv").unlink()
    assert task.protocol is protocol


def test_rows_that_are_not_usable_stop_a_task_or_are_left_out_and_told(tmp_path: Path) -> None:
    own = write_task(tmp_path, "rte")
    with (own / "train.tsv").open("a") as file:
        file.write("40\tone\ttwo\tperhaps\n41\tone\n")
    with pytest.raises(CorpusError, match=r"train\.tsv:42: the label is 'perhaps'"):
        task_of(tmp_path, "rte")
    task = task_of(tmp_path, "rte", on_error=OnError.SKIP)
    assert task.protocol["left_out"] == {"train.tsv": {"label": 1, "columns": 1}}
    assert len(task.training) + len(task.selection.examples) == 40
    with pytest.raises(ConfigError, match="of 40 training rows 0 choose"):
        task_of(tmp_path, "rte", on_error=OnError.SKIP, selection=1e-9)
    fewer = task_of(tmp_path, "rte", GlueConfig(max_tokens=24, examples=20), on_error=OnError.SKIP)
    assert len(fewer.training) + len(fewer.selection.examples) == 20


def test_texts_of_one_label_and_numbers_without_spread_are_scored_all_the_same(tmp_path: Path) -> None:
    """A model that says the same of all has no correlation, which is 0 in a run."""
    write_task(tmp_path, "stsb")
    task = task_of(tmp_path, "stsb")
    same = np.full((len(task.selection.examples), 1), 2.5, np.float32)
    assert task.selection.judge(same, None).figures == {"pearson": 0.0, "spearman": 0.0, "mean": 0.0}
    same[0] = np.nan
    with pytest.raises(ConfigError, match="not all finite"):
        task.selection.judge(same, None)


def test_numbers_beyond_the_scale_are_submitted_at_its_ends(tmp_path: Path) -> None:
    write_task(tmp_path, "stsb", test=3)
    task = task_of(tmp_path, "stsb")
    dev, test = task.evaluations
    said = np.array([[-0.25], [5.5], [1.5]], np.float32)
    assert test.judge(said, {}).files == {"STS-B.tsv": b"index\tprediction\n0\t0\n1\t5\n2\t1.5\n"}
    assert test.judge(said, {}).figures == {}
    told = dev.judge(np.full((12, 1), -0.25, np.float32), {}).files
    assert told["predictions.tsv"].startswith(b"index\tprediction\n0\t-0.25\n")


@pytest.mark.parametrize("task", ["mnli", "stsb"])
def test_losses_and_logits_of_packed_examples_are_transformers_of_each_alone(
    task: str, model: Path, tmp_path: Path
) -> None:
    """In float64, of pairs and with the head for numbers, whose loss is the squared error."""
    write_task(tmp_path, task)
    prepared = task_of(tmp_path, task)
    source = Source(model, dropout=0.0)
    source.begin()
    ours = source.model(prepared, seed=1).eval()
    export_finetuned(ours, tmp_path / "tuned", source.vocabulary)
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "tuned").double().eval()
    ours.double()
    examples = prepared.training
    name = "labels" if prepared.labels else "numbers"
    total, compared = 0.0, 0
    for batch in Packer(examples, width=48, pad_id=0, bins=3).batches(np.arange(len(examples))):
        with torch.no_grad():
            logits = ours(batch.packed, batch.firsts)
            total += float(prepared.loss(logits, batch))
        for place, number in enumerate(batch.which.tolist()):
            ids = torch.from_numpy(examples.input_ids[number].astype(np.int64))[None]
            types = (torch.arange(ids.shape[1]) >= int(examples.second_starts[number])).long()[None]
            wanted = torch.tensor([examples.targets[name][number]])
            labels = wanted if prepared.labels else wanted.double()
            with torch.no_grad():
                alone = theirs(input_ids=ids, token_type_ids=types, labels=labels)
            assert (alone.logits[0] - logits[place]).abs().max() < 1e-8
            total -= float(alone.loss)
            compared += 1
    assert compared == len(examples) > 20
    assert abs(total) < 1e-8


class _Stopping(Watch):
    """Asks for the end after an update."""

    def __init__(self) -> None:
        super().__init__()
        self._over = False

    def step(self, progress: Progress) -> None:
        self._over = True

    def stopping(self) -> bool:
        return self._over


def test_a_run_that_was_stopped_goes_on_to_the_same_figures_and_files(model: Path, tmp_path: Path) -> None:
    write_task(tmp_path, "sst2")
    whole = run_of(model, tmp_path, "sst2", tmp_path / "whole")
    parts = run_of(model, tmp_path, "sst2", tmp_path / "parts", watch=_Stopping())
    assert not (parts / "results.json").exists()
    run_of(model, tmp_path, "sst2", parts, resume=True)
    assert json.loads((parts / "results.json").read_bytes()) == json.loads((whole / "results.json").read_bytes())
    for path in whole.glob("seed-1/*/*.tsv"):
        assert (parts / path.relative_to(whole)).read_bytes() == path.read_bytes()


@pytest.mark.data
@needs_glue
@pytest.mark.parametrize(
    ("task", "figures"),
    [
        ("cola", {"matthews_correlation": 0.0}),
        ("mrpc", {"f1": 2 * 279 / (279 + 408), "accuracy": 279 / 408}),
        ("rte", {"accuracy": 146 / 277}),
        ("wnli", {"accuracy": 40 / 71}),
        ("stsb", None),
    ],
)
def test_official_tasks_become_examples_with_the_floor_that_their_labels_are_counted_to(
    task: str, figures: dict[str, float] | None
) -> None:
    """Floors are counted from dev.tsv: what the most frequent label of train.tsv gets there."""
    prepared = Glue(load_vocabulary(VocabularyConfig(vocab="uncased")), GLUE, task, GlueConfig(), selection=0.05)
    lengths = prepared.training.input_ids.lengths
    assert 3 <= lengths.min() < lengths.max() <= 128
    assert (lengths.max() == 128) == (task == "rte")
    share = len(prepared.selection.examples) / (len(prepared.training) + len(prepared.selection.examples))
    assert abs(share - 0.05) < 0.02
    floor = prepared.protocol["floor"].get("figures", {}).get("dev")
    means = {"mean": sum(figures.values()) / 2} if figures and len(figures) == 2 else {}
    assert floor == (None if figures is None else pytest.approx({**figures, **means}))


@pytest.mark.slow
def test_a_small_model_learns_a_rule_of_labels_and_one_of_numbers(
    model: Path, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Whether the first of two sentences is long: what pairs, pooler, head and loss must carry."""
    for task, figure, least in (("rte", "accuracy", 0.8), ("stsb", "pearson", 0.8)):
        own = write_task(tmp_path, task)
        texts = some_texts(0, 380)
        sizes = [len(first.split()) for first, _ in texts]
        labels = [("entailment" if size > 8 else "not_entailment") for size in sizes]
        told = labels if task == "rte" else [f"{min(size / 3, 5):.3f}" for size in sizes]
        dev = set(range(0, 380, 5))
        for name, kept in (("train", [n for n in range(380) if n not in dev]), ("dev", sorted(dev))):
            chosen = rows(task, [texts[n] for n in kept], [told[n] for n in kept])
            (own / f"{name}.tsv").write_text(chosen)
        config = FinetuneConfig.of(**{**SETTING, "epochs": 16, "lr": (3e-3,), "dropout": 0.0})
        out = tmp_path / f"run-{task}"
        fine_tune(Source(model, dropout=0.0), lambda _, task=task: task_of(tmp_path, task), out, config)  # type: ignore[misc]
        found = read_results(out).mean["dev"][figure]
        floor = read_results(out).protocol["floor"].get("figures", {"dev": {}})["dev"].get(figure, 0.0)
        tell(
            f"{task}: {figure} {found:.3f}, floor {floor:.3f}, of a random encoder on pairs whose first is told to be long or not"
        )
        assert found > least > floor


def test_some_labels_cover_all_of_a_task() -> None:
    """What the tests of this file rest on."""
    for task, told in TASKS.items():
        assert len(set(some_labels(task, some_texts(0, 40)))) >= max(len(told.labels), 2)
