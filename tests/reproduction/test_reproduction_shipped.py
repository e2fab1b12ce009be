"""The ablations that ship, whole, from text to page, with models and trainings in miniature."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest
from probes.glue_files import write_task
from probes.task_files import write_task_files
from reproduction.conftest import told_by

from spanmask.reproduction import read_plan, reproduce, scheduling

#: One seed of a model of a few thousand parameters, for thirty updates; masks, objectives, arms and outcomes are the plan's.
SMALL = """\
seeds=1
tokens=6000
preshard.max_tokens=32
preshard.holdout=0.3
train.preset="cpu"
train.hidden=16
train.heads=2
train.intermediate=32
train.layers=1
train.max_positions=32
train.batch_size=4
train.window=64
train.eval_sequences=100
train.device="cpu"
train.threads=1
train.compile=false
probe.boundaries.spans=200
probe.boundaries.classes=20
probe.boundaries.epochs=3
""".splitlines()
#: What an arm's copy of the texts marks, by a rule as good as another: names, and nouns behind an article.
MARKS = {"entities": r"\b[A-Z]\w+(?: [A-Z]\w+)*", "noun_chunks": r"\b(?:the|a|an|my|his) \w+"}


def small(probe: str, **values: object) -> list[str]:
    """Changes of a probe, which trains on the CPU, for one epoch, with a third that chooses."""
    values = {"epochs": 1, "selection": 0.3, "device": "cpu", "threads": 1, **values}
    return [f"probe.{probe}.{name}={json.dumps(value)}" for name, value in values.items()]


def probes(folder: Path) -> list[str]:
    """The plans' four probes of files, with files of sentences made here."""
    write_task_files(folder)
    write_task(folder / "glue", "cola")
    with tarfile.open(folder / "litbank_coref_conll.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    questions = {"train": [f"{folder}/QUESTIONS.json"], "eval": [f"{folder}/HELD-OUT.json"]}
    stories = {"train": [f"{folder}/conll"], "eval": [f"{folder}/conll"]}
    return [
        *small("squad", window=32, stride=8, max_question=8, **questions),
        *small("litbank", segment=32, fold="1/4", frozen=True, **stories),
        *small("rte", max_tokens=32, data=f"{folder}/glue"),
        *small("cola", max_tokens=32, data=f"{folder}/glue"),
    ]


def marked(texts: Path, kind: str) -> Path:
    path = texts.with_name(f"{kind}.jsonl")
    documents = map(json.loads, texts.read_text("utf-8").splitlines())
    lines = [
        json.dumps({**one, kind: [[*found.span()] for found in re.finditer(MARKS[kind], one["text"])]})
        for one in documents
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablation-masking", "ablation-objective"])
def test_an_ablation_that_ships_runs_from_text_to_page(
    name: str, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "_TIMED", 0.3)
    changes, given = [*SMALL, *probes(tmp_path)], [str(texts)]
    if name == "ablation-masking":
        given = []
        changes += [
            f'texts=["{marked(texts, "entities")}"]',
            f'arm.phrase.texts=["{marked(texts, "noun_chunks")}"]',
        ]
    plan = read_plan(name, changes)
    finished = reproduce(plan, given, tmp_path / "grid", jobs=1)
    assert not finished.failed
    assert not finished.report.undone
    values = told_by(tmp_path / "grid")["values"]
    arms = {arm.name for arm in plan.arms}
    assert {outcome: set(values[outcome]) for outcome in plan.config.primary} == dict.fromkeys(
        plan.config.primary, arms
    )
    asked = {outcome.split("/")[0] for outcome in values}
    assert asked >= {"held-out", *(probe.name for probe in plan.probes)}
    assert "<html" in (tmp_path / "grid" / "report.html").read_text("utf-8")
