"""Classification of a user's texts through the engine: figures are those of the predictions that are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes.glue_files import some_texts
from probes.ordering import SMALL, small_model, vocabulary
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError
from spanmask.model import load_finetuned
from spanmask.model.finetuned_folder import export_finetuned
from spanmask.probes.batching import Packer
from spanmask.probes.classify import Classify, ClassifyConfig
from spanmask.probes.classify.figures import mean_and_deviation
from spanmask.probes.config import FinetuneConfig
from spanmask.probes.finetune import fine_tune
from spanmask.probes.results import read_results
from spanmask.probes.scores.glue import pearson, spearman
from spanmask.probes.starting import Source

SETTING: dict[str, Any] = {**SMALL, "lr": (1e-3,), "seeds": "1", "epochs": 1, "selection": 0.25}
LABELS = ("short", "middling", "long")


def label_of(text: str) -> str:
    return LABELS[min(len(text.split()) // 5, 2)]


def tsv(path: Path, texts: list[tuple[str, str]], *, pairs: bool = False) -> Path:
    rows = [("text", "text_b", "label"), *((a, b, label_of(a)) for a, b in texts)]
    kept = (0, 1, 2) if pairs else (0, 2)
    path.write_text("".join("\t".join(row[place] for place in kept) + "\n" for row in rows), "utf-8", newline="\n")
    return path


def jsonl(path: Path, texts: list[tuple[str, str]], **changes: Any) -> Path:
    records = [{"text": a, "text_b": b, "label": label_of(a), **changes} for a, b in texts]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def task_of(train: list[Path], evaluate: list[Path], on_error: OnError = OnError.FAIL, **options: Any) -> Classify:
    config = ClassifyConfig(max_tokens=24, **options)
    return Classify(vocabulary(), train, evaluate, config, selection=0.25, on_error=on_error)


def run_of(tmp_path: Path, train: list[Path], evaluate: list[Path], **options: Any) -> Path:
    model, out = small_model(tmp_path / "model"), tmp_path / "run"
    fine_tune(Source(model), lambda _: task_of(train, evaluate, **options), out, FinetuneConfig.of(**SETTING))
    return out


def columns(path: Path) -> dict[str, list[str]]:
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def test_figures_of_labels_are_those_of_the_predictions_that_are_written(tmp_path: Path) -> None:
    train = [tsv(tmp_path / "a.tsv", some_texts(0, 30), pairs=True), jsonl(tmp_path / "b.jsonl", some_texts(30, 20))]
    texts = some_texts(100, 15)
    out = run_of(tmp_path, train, [jsonl(tmp_path / "held-out.jsonl", texts)])
    results = read_results(out)
    figures = results.seeds[0].scores["held-out"]
    folder = out / "seed-1" / "held-out"
    said, gold = columns(folder / "predictions.tsv"), [label_of(first) for first, _ in texts]
    assert said["index"] == [str(number) for number in range(15)]
    assert all(1 / 3 <= float(share) <= 1 for share in said["probability"])
    pairs = list(zip(gold, said["prediction"], strict=True))
    assert figures["accuracy"] == pytest.approx(sum(one == other for one, other in pairs) / 15)
    told = columns(folder / "confusion.tsv")
    order = sorted(LABELS)
    assert told["label"] == order
    assert {(a, b): int(told[b][order.index(a)]) for a in order for b in order} == {
        (a, b): pairs.count((a, b)) for a in order for b in order
    }
    f1 = []
    for label in {label for pair in pairs for label in pair}:
        hits = pairs.count((label, label))
        f1.append(2 * hits / (gold.count(label) + said["prediction"].count(label)))
    assert figures["macro_f1"] == pytest.approx(sum(f1) / len(f1))
    assert results.metric == "macro_f1"
    assert results.protocol["labels"] == order
    assert load_finetuned(out / "seed-1" / "model").head.labels == tuple(order)
    floor = results.protocol["floor"]
    known = [label_of(first) for first, _ in some_texts(0, 50)]
    most = max(order, key=known.count)
    assert floor["by"] == f"the most frequent label, {most!r}"
    assert floor["figures"]["held-out"]["accuracy"] == pytest.approx(gold.count(most) / 15)


def test_figures_of_numbers_are_those_of_the_predictions_that_are_written(tmp_path: Path) -> None:
    train, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    for path, texts in ((train, some_texts(0, 40)), (dev, some_texts(100, 12))):
        path.write_text("sentence\tage\n" + "".join(f"{a}\t{len(a) / 10}\n" for a, _ in texts))
    out = run_of(tmp_path, [train], [dev], target="numbers", label_field="age")
    results = read_results(out)
    figures, said = results.seeds[0].scores["dev"], columns(out / "seed-1" / "dev" / "predictions.tsv")["prediction"]
    gold = [f"{len(a) / 10}" for a, _ in some_texts(100, 12)]
    assert figures["pearson"] == pearson(gold, said)
    assert figures["spearman"] == spearman(gold, said)
    assert figures["mean"] == (figures["pearson"] + figures["spearman"]) / 2
    squares = [(float(one) - float(other)) ** 2 for one, other in zip(gold, said, strict=True)]
    assert figures["rmse"] == pytest.approx((sum(squares) / 12) ** 0.5)
    assert results.metric == "mean"
    assert figures["rmse"] < 2 * results.protocol["spread"]["deviation"]
    assert results.protocol["floor"] == {}
    assert not (out / "seed-1" / "dev" / "confusion.tsv").exists()


def test_numbers_of_any_size_are_learnt_alike_and_told_as_they_are_by_transformers_too(tmp_path: Path) -> None:
    texts = [text for text, _ in some_texts(0, 40)]
    source = Source(small_model(tmp_path / "model"), dropout=0.0)
    source.begin()
    told = []
    for scale, shift in ((1, 0), (25, 500)):
        path = tmp_path / f"{scale}.tsv"
        path.write_text("text\tlabel\n" + "".join(f"{text}\t{scale * len(text) + shift}\n" for text in texts))
        task = task_of([path], [path], target="numbers")
        model: Any = source.model(task, seed=1)
        batch = next(iter(Packer(task.training, width=24, pad_id=0, bins=9).batches(np.arange(len(task.training)))))
        scores = model(batch.packed, batch.firsts)
        loss = task.loss(scores, batch)
        loss.backward()
        told.append((scores.detach(), loss.detach(), model.head.dense.weight.grad))
    (plain, *learnt), (large, *as_much) = told
    assert_close(large, 25 * plain + 500)
    assert_close(as_much, learnt, rtol=1e-4, atol=1e-4)
    lengths = np.array([len(text) for text in texts])
    assert abs(plain.mean().item() - lengths.mean()) < lengths.std()
    export_finetuned(model, tmp_path / "tuned", source.vocabulary)
    ours = load_finetuned(tmp_path / "tuned").eval()
    assert_close(ours(batch.packed, batch.firsts).detach(), large, rtol=1e-5, atol=1e-5)
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "tuned").eval()
    ids = task.training.input_ids[int(batch.which[0])].astype(np.int64)
    with torch.no_grad():
        assert_close(theirs(input_ids=torch.from_numpy(ids)[None]).logits[0], large[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number", ["0.1", "1e15"])
def test_numbers_that_are_all_alike_have_a_deviation_to_divide_by(number: str) -> None:
    assert mean_and_deviation([number] * 3) == (pytest.approx(float(number)), 1.0)


def test_a_label_that_training_has_not_stops_a_task_or_is_left_out_and_told(tmp_path: Path) -> None:
    train = tsv(tmp_path / "train.tsv", some_texts(0, 40))
    dev = tsv(tmp_path / "dev.tsv", some_texts(100, 9))
    with dev.open("a") as file:
        file.write("one more\tendless\n")
    with pytest.raises(CorpusError, match=r"dev\.tsv:11: the label is 'endless', which no training row has"):
        task_of([train], [dev])
    task = task_of([train], [dev], OnError.SKIP)
    assert task.protocol["left_out"] == {"dev.tsv": {"label_not_in_training": 1}}
    assert len(task.evaluations[0].examples) == 9


def test_what_is_left_out_of_files_of_one_name_is_told_of_each(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    train = [tsv(tmp_path / folder / "texts.tsv", some_texts(30 * number, 30)) for number, folder in enumerate("ab")]
    dev = tsv(tmp_path / "c" / "dev.tsv", some_texts(100, 9))
    for path, broken in zip([*train, dev], ("short\n", "\tshort\n\tshort\n", "one\n"), strict=True):
        with path.open("a") as file:
            file.write(broken)
    assert task_of(train, [dev], OnError.SKIP).protocol["left_out"] == {
        "texts.tsv (file 1)": {"columns": 1},
        "texts.tsv (file 2)": {"empty_text": 2},
        "dev.tsv": {"columns": 1},
    }
    whole = tsv(tmp_path / "c" / "texts.tsv", some_texts(60, 30))
    assert task_of([whole, train[1]], [dev], OnError.SKIP).protocol["left_out"] == {
        "texts.tsv (file 2)": {"empty_text": 2},
        "dev.tsv": {"columns": 1},
    }


def test_tasks_that_cannot_be_are_refused(tmp_path: Path) -> None:
    train, dev = tsv(tmp_path / "train.tsv", some_texts(0, 40)), tsv(tmp_path / "dev.tsv", some_texts(100, 9))
    (tmp_path / "other").mkdir()
    again = tsv(tmp_path / "other" / "dev.tsv", some_texts(100, 9))
    with pytest.raises(ConfigError, match="named 'dev'"):
        task_of([train], [dev, again])
    other = tmp_path / "columns.tsv"
    other.write_text("sentence\tlabel\na\tb\n")
    with pytest.raises(ConfigError, match=r"columns\.tsv: the first line has .* with 'text'"):
        task_of([train, other], [dev])
    for rows, told in (([("same", "a")] * 9, "1 labels, 'a' among them"), ([], "1,001 labels, '0' among them")):
        held = rows or [(f"text {number}", f"{number}") for number in range(1001)]
        other.write_text("text\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in held))
        with pytest.raises(ConfigError, match=f"{told}, expected 2 to 1,000; give another --label-field"):
            task_of([other], [dev])
