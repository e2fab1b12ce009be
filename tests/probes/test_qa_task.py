"""Question answering through the engine: from files to figures that the official programs give for the files it writes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes.ordering import SMALL, small_model, vocabulary
from transformers import AutoModelForQuestionAnswering

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError, MismatchError
from spanmask.model.finetuned_folder import export_finetuned
from spanmask.probes.batching import Packer
from spanmask.probes.config import FinetuneConfig
from spanmask.probes.finetune import fine_tune
from spanmask.probes.qa.config import QaConfig
from spanmask.probes.qa.task import QuestionAnswering
from spanmask.probes.results import read_questions, read_results
from spanmask.probes.scores import mrqa as mrqa_scores
from spanmask.probes.scores import squad as squad_scores
from spanmask.probes.scores import squad2 as squad2_scores
from spanmask.probes.starting import Source

QA_CONFIG = QaConfig(window=40, max_question=8, stride=12, n_best=5)
SETTING: dict[str, Any] = {**SMALL, "lr": (1e-3,), "seeds": "1"}
#: What is asked for, and what else passages are made of.
NAMES = ("raven", "cat", "bell", "pit", "purloined", "usher")
WORDS = ("house", "night", "heart", "man", "eye", "door", "death", "hand", "time", "soul", "head", "voice")


def paragraphs(count: int, seed: int, *, impossible: bool = False) -> list[tuple[str, list[dict[str, Any]]]]:
    """Passages with one of NAMES, asked for with the word before it; every third question, if wanted, is on what is not there."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randint(8, 40))]
        place = rng.randrange(len(words) - 1)
        words[place : place + 1] = ["the", rng.choice(NAMES)]
        context = " ".join(words)
        text = " ".join(words[place : place + 2])
        answer = {"text": text, "answer_start": context.index(text)}
        asked = {"id": f"{seed}-{number}", "question": "who was it?", "answers": [answer]}
        none = {"id": f"{seed}-{number}n", "question": "when was it?", "answers": [], "is_impossible": True}
        found.append((context, [asked, none] if impossible and number % 3 == 0 else [asked]))
    return found


def task_of(train: list[Path], evaluate: list[Path], **options: Any) -> QuestionAnswering:
    return QuestionAnswering(vocabulary(), train, evaluate, QA_CONFIG, **{"selection": 0.3, **options})


def run_of(tmp_path: Path, train: list[Path], evaluate: list[Path], **options: Any) -> Path:
    out = tmp_path / "run"
    fine_tune(
        Source(small_model(tmp_path / "model")),
        lambda _: task_of(train, evaluate),
        out,
        FinetuneConfig.of(**{**SETTING, "selection": 0.3, **options}),
    )
    return out


def test_a_run_scores_as_the_official_programs_score_its_files(
    squad: Callable[..., Path], mrqa: Callable[..., Path], tmp_path: Path
) -> None:
    train = squad(*paragraphs(30, 1, impossible=True), name="train.json")
    plain, two = (
        squad(*paragraphs(6, 2), name="dev-1.json"),
        squad(*paragraphs(9, 3, impossible=True), name="dev-2.json"),
    )
    spans = [
        (
            context,
            [
                {
                    "qid": one["id"],
                    "question": one["question"],
                    "answers": [answer["text"]],
                    "detected_answers": [
                        {
                            "text": answer["text"],
                            "char_spans": [[answer["answer_start"], answer["answer_start"] + len(answer["text"]) - 1]],
                        }
                    ],
                }
                for one in asked
                for answer in one["answers"]
            ],
        )
        for context, asked in paragraphs(5, 4)
    ]
    third = mrqa(*spans, name="dev-3.jsonl.gz")
    out = run_of(tmp_path, [train], [plain, two, third])
    found = read_results(out)
    (seed,) = found.seeds
    assert [one.name for one in found.eval] == ["dev-1", "dev-2", "dev-3"]
    assert "null_threshold" in seed.chosen
    folder = out / "seed-1"
    assert seed.scores["dev-1"] == squad_scores.score(plain, folder / "dev-1" / "predictions.json")
    assert seed.scores["dev-3"] == mrqa_scores.score(third, folder / "dev-3" / "predictions.json")
    official = squad2_scores.score(two, folder / "dev-2" / "predictions.json")
    oracle = {name for name in seed.scores["dev-2"] if name.startswith("oracle_")}
    assert oracle == {"oracle_best_exact", "oracle_best_f1"}
    assert {name: value for name, value in seed.scores["dev-2"].items() if name not in oracle} == official
    assert seed.scores["dev-2"]["oracle_best_f1"] >= official["f1"]
    odds = json.loads((folder / "dev-2" / "null_odds.json").read_bytes())
    answered = json.loads((folder / "dev-2" / "predictions.json").read_bytes())
    assert {name for name, text in answered.items() if not text} == {
        name for name, value in odds.items() if value > seed.chosen["null_threshold"]
    }
    asked = read_questions(out, 1)
    of_two = np.array([name == "dev-2" for name in asked.eval])
    assert 100 * asked.f1[of_two].mean() == pytest.approx(official["f1"])
    assert asked.paragraphs[of_two].tolist() == [0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8]


def test_what_chooses_is_not_trained_on_and_is_told_apart_by_its_passage(squad: Callable[..., Path]) -> None:
    one, other = squad(*paragraphs(40, 1), name="a.json"), squad(*paragraphs(40, 2), name="b.json")
    both = task_of([one, other], [one])
    chosen = {tuple(both.selection.examples.input_ids[n].tolist()) for n in range(len(both.selection.examples))}
    trained = {tuple(both.training.input_ids[n].tolist()) for n in range(len(both.training))}
    assert chosen
    assert not chosen & trained
    alone = task_of([one], [one])
    held = {tuple(alone.selection.examples.input_ids[n].tolist()) for n in range(len(alone.selection.examples))}
    assert held < chosen
    assert len(both.training) + len(both.selection.examples) == len(
        task_of([one, other], [one], selection=0.6).training
    ) + len(task_of([one, other], [one], selection=0.6).selection.examples)


def test_data_errors_stop_a_task_or_are_left_out_and_told(squad: Callable[..., Path]) -> None:
    (context, (asked,)), *others = paragraphs(20, 1)
    wrong = replace_start(asked)
    path = squad((context, [asked, wrong]), *others)
    with pytest.raises(CorpusError, match="answer_not_at_its_offset"):
        task_of([path], [path])
    task = task_of([path], [path], on_error=OnError.SKIP)
    assert list(task.left_out.values()) == [{"answer_not_at_its_offset": 1}]
    assert task.protocol["left_out"] == {path.name: {"answer_not_at_its_offset": 1}}


def replace_start(question: dict[str, Any]) -> dict[str, Any]:
    (answer,) = question["answers"]
    return {**question, "id": "wrong", "answers": [{**answer, "answer_start": answer["answer_start"] + 1}]}


def test_tasks_that_cannot_be_are_refused(squad: Callable[..., Path], tmp_path: Path) -> None:
    path = squad(*paragraphs(10, 1))
    (tmp_path / "other").mkdir()
    again = squad(*paragraphs(10, 1), name="other/squad.json")
    with pytest.raises(ConfigError, match="named 'squad'"):
        task_of([path], [path, again])
    with pytest.raises(ConfigError, match="named 'model'"):
        task_of([path], [squad(*paragraphs(10, 1), name="model.json")])
    with pytest.raises(ConfigError, match="0 choose"):
        task_of([path], [path], selection=1e-9)


@pytest.mark.slow
def test_losses_and_logits_of_packed_windows_are_transformers_of_each_alone_or_padded(
    squad: Callable[..., Path], tmp_path: Path
) -> None:
    """In float64. transformers' softmax is over its padding too, so that losses are compared of windows that have none."""
    task = task_of([squad(*paragraphs(12, 1, impossible=True))], [])
    source = Source(small_model(tmp_path / "model", max_positions=2 * QA_CONFIG.window), dropout=0.0)
    source.begin()
    model = source.model(task, seed=1).eval()
    export_finetuned(model, tmp_path / "tuned", source.vocabulary)
    theirs: Any = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "tuned").double().eval()
    model.double()
    examples = task.training
    packer = Packer(examples, width=2 * QA_CONFIG.window, pad_id=0, bins=3)
    total, compared = 0.0, 0
    for batch in packer.batches(np.arange(len(examples))):
        with torch.no_grad():
            scores = model(batch.packed, batch.firsts)
            total += float(task.loss(scores, batch))
        for place, number in enumerate(batch.which.tolist()):
            ids = torch.from_numpy(examples.input_ids[number].astype(np.int64))[None]
            types = (torch.arange(ids.shape[1]) >= int(examples.second_starts[number])).long()[None]
            ends = {name: torch.tensor([int(examples.targets[f"{name}s"][number])]) for name in ("start", "end")}
            positions = {f"{name}_positions": value for name, value in ends.items()}
            with torch.no_grad():
                alone = theirs(input_ids=ids, token_type_ids=types, **positions)
                filled = [torch.nn.functional.pad(given, (0, 7)) for given in (ids, types, torch.ones_like(ids))]
                padded = theirs(**dict(zip(("input_ids", "token_type_ids", "attention_mask"), filled, strict=True)))
            total -= float(alone.loss)
            ours = scores[batch.owners == place]
            for found in (alone, padded):
                pair = torch.stack([found.start_logits[0, : ids.shape[1]], found.end_logits[0, : ids.shape[1]]], 1)
                assert (pair - ours).abs().max() < 1e-8
            compared += 1
    assert compared == len(examples) > 12
    assert abs(total) < 1e-8


def test_a_run_goes_on_with_the_same_windows_alone(squad: Callable[..., Path], tmp_path: Path) -> None:
    path = squad(*paragraphs(20, 1))
    out = run_of(tmp_path, [path], [path])
    config = FinetuneConfig.of(**{**SETTING, "selection": 0.3})

    def other(_: Any) -> QuestionAnswering:
        return QuestionAnswering(vocabulary(), [path], [path], replace(QA_CONFIG, stride=13), selection=0.3)

    with pytest.raises(MismatchError, match="stride"):
        fine_tune(Source(tmp_path / "model"), other, out, config, resume=True)


@pytest.mark.slow
def test_a_small_model_learns_to_find_what_is_asked_for(
    squad: Callable[..., Path], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    train, dev = squad(*paragraphs(400, 1), name="train.json"), squad(*paragraphs(60, 2), name="dev.json")
    out = run_of(tmp_path, [train], [dev], epochs=3, lr=(3e-3,), selection=0.1, dropout=0.0)
    (seed,) = read_results(out).seeds
    tell(f"F1 of a random encoder of 2 layers on questions of one rule: {seed.scores['dev']['f1']:.1f}")
    assert seed.scores["dev"]["f1"] > 80
