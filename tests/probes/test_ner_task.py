"""Named entities through the engine: from columns to figures that the scorer gives for the file it writes, and transformers' numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes.ordering import SMALL, small_model, vocabulary
from probes.tagged import columns, tagged, write_columns
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError, MismatchError
from spanmask.model import TokenClassHead, load_finetuned
from spanmask.model.finetuned_folder import export_finetuned
from spanmask.probes.batching import Packer
from spanmask.probes.config import FinetuneConfig
from spanmask.probes.finetune import Finished, fine_tune
from spanmask.probes.ner import NamedEntities, NerConfig
from spanmask.probes.results import read_results
from spanmask.probes.scores import ner
from spanmask.probes.starting import Source
from spanmask.probes.watching import Watch
from spanmask.train.watching import Progress

NER_CONFIG = NerConfig(window=24)
SETTING: dict[str, Any] = {**SMALL, "lr": (3e-2,), "seeds": "1", "selection": 0.3, "dropout": 0.0}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, files to train on and to score; odd has a type of its own, a word without a piece, and a sentence of several windows."""
    folder = tmp_path_factory.mktemp("ner")
    small_model(folder / "model")
    write_columns(folder / "train.conll", 0, 48)
    write_columns(folder / "dev.conll", 100, 8)
    odd = [[*tagged(120, 1)[0], ("Poe", "B-POET"), ("\u200b", "B-THING"), ("E.", "I-THING")]]
    long = [pair for sentence in tagged(124, 3) for pair in sentence]
    (folder / "odd.conll").write_text(columns([*tagged(121, 3), long, *odd]), "utf-8")
    return folder


def task_of(folder: Path, *evaluate: str, **options: Any) -> NamedEntities:
    files = [folder / name for name in evaluate]
    return NamedEntities(vocabulary(), [folder / "train.conll"], files, NER_CONFIG, **{"selection": 0.3, **options})


def run_of(folder: Path, out: Path, *, watch: Watch | None = None, resume: bool = False, **options: Any) -> Finished:
    return fine_tune(
        Source(folder / "model"),
        lambda _: task_of(folder, "dev.conll", "odd.conll"),
        out,
        FinetuneConfig.of(**{**SETTING, **options}),
        watch=watch,
        resume=resume,
    )


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    run_of(folder, folder / "run", epochs=5)
    return folder / "run"


def test_a_run_scores_as_the_scorer_scores_its_predictions(folder: Path, run: Path) -> None:
    (seed,) = read_results(run).seeds
    for name in ("dev", "odd"):
        predictions = run / "seed-1" / name / "predictions.conll"
        official = ner.score(folder / f"{name}.conll", predictions)
        figures = dict(seed.scores[name])
        assert {figure: figures.pop(figure) for figure in ("precision", "recall", "f1")} == {
            figure: official[figure] for figure in ("precision", "recall", "f1")
        }
        assert figures == {f"f1_{kind}": own["f1"] for kind, own in official["types"].items() if own["support"]}
    assert set(seed.scores["odd"]) - set(seed.scores["dev"]) == {"f1_POET"}
    assert seed.scores["dev"]["f1"] > 0.3
    assert seed.scores["odd"]["f1_POET"] == 0
    lines = (run / "seed-1" / "odd" / "predictions.conll").read_text("utf-8").split("\n\n")[-1].splitlines()
    assert [line.split(" ")[:2] for line in lines[-3:]] == [["Poe", "B-POET"], ["\u200b", "B-THING"], ["E.", "I-THING"]]
    assert lines[-2].endswith(" O")


def test_what_transformers_loads_tags_as_the_run_did(folder: Path, run: Path) -> None:
    """Of sentences that are one window: of each word the label that scores most at its first piece."""
    model = AutoModelForTokenClassification.from_pretrained(run / "seed-1" / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "seed-1" / "model")
    found = []
    for block in (run / "seed-1" / "dev" / "predictions.conll").read_text("utf-8").split("\n\n"):
        words, _, tags = zip(*(line.split(" ") for line in block.splitlines()), strict=True)
        encoded = tokenizer(list(words), is_split_into_words=True, return_tensors="pt")
        if encoded["input_ids"].shape[1] > NER_CONFIG.window:
            continue
        with torch.no_grad():
            best = model(**encoded).logits[0].argmax(1).tolist()
        numbers = encoded.word_ids()
        firsts = [numbers.index(place) for place in range(len(words))]
        found.append([model.config.id2label[best[at]] for at in firsts] == list(tags))
    assert len(found) > 5
    assert all(found)
    card = (run / "seed-1" / "model" / "README.md").read_text("utf-8")
    assert "pipeline_tag: token-classification" in card
    assert "AutoModelForTokenClassification" in card
    told = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
    assert {one["entity_group"] for one in told("the raven and the bell and my heart")} <= {"THING", "WHO"}


def test_losses_and_logits_of_packed_windows_are_transformers_of_each_alone_and_of_all(folder: Path) -> None:
    """In float64: logits of each window; the loss of one, and of the whole of training as one padded batch."""
    task = task_of(folder)
    source = Source(folder / "model", dropout=0.0)
    source.begin()
    model = source.model(task, seed=1).eval()
    assert isinstance(model.head, TokenClassHead)
    assert model.head.labels == ("O", "B-THING", "I-THING", "B-WHO", "I-WHO")
    export_finetuned(model, folder / "untrained", source.vocabulary, overwrite=True)
    assert isinstance(load_finetuned(folder / "untrained").head, TokenClassHead)
    theirs: Any = AutoModelForTokenClassification.from_pretrained(folder / "untrained").double().eval()
    model.double()
    examples = task.training
    words = (examples.targets["tags"] >= 0).sum()
    total, rows, labels = 0.0, [], []
    for batch in Packer(examples, width=2 * NER_CONFIG.window, pad_id=0, bins=3).batches(np.arange(len(examples))):
        with torch.no_grad():
            scores = model(batch.packed, batch.firsts)
            total += float(task.loss(scores, batch))
        for place, number in enumerate(batch.which.tolist()):
            ids = torch.from_numpy(examples.input_ids[number].astype(np.int64))[None]
            rows.append(ids[0])
            labels.append(torch.from_numpy(examples.targets["tags"][number][: ids.shape[1]].astype(np.int64)))
            with torch.no_grad():
                alone = theirs(input_ids=ids, labels=labels[-1][None])
                (own,) = Packer(examples, width=NER_CONFIG.window, pad_id=0, bins=1).batches(np.array([number]))
                ours = task.loss(model(own.packed, own.firsts), own)
            assert (alone.logits[0] - scores[batch.owners == place]).abs().max() < 1e-8
            # All words weigh alike: a window of more words than the mean weighs more than theirs, in proportion.
            weight = int((labels[-1] >= 0).sum()) / (words / len(examples))
            assert abs(float(ours) - weight * float(alone.loss)) < 1e-8
    assert len(rows) == len(examples) > 16
    ids, held = (torch.nn.utils.rnn.pad_sequence(part, True, fill) for part, fill in ((rows, 0), (labels, -100)))
    with torch.no_grad():
        whole = theirs(input_ids=ids, attention_mask=(ids > 0).long(), labels=held)
    assert abs(total / len(examples) - float(whole.loss)) < 1e-8


def test_what_chooses_is_not_trained_on_and_is_told_apart_by_its_words(folder: Path) -> None:
    task = task_of(folder)
    trained, choosing = (
        {tuple(examples.input_ids[n].tolist()) for n in range(len(examples))}
        for examples in (task.training, task.selection.examples)
    )
    assert trained
    assert choosing
    assert not trained & choosing
    more = task_of(folder, selection=0.6).selection.examples
    assert choosing < {tuple(more.input_ids[n].tolist()) for n in range(len(more))}


def test_what_is_unknown_dropped_cut_or_odd_is_counted_and_told(folder: Path, tmp_path: Path) -> None:
    held = tagged(0, 30)
    held[0] = [(word, tag.replace("B-", "I-")) for word, tag in held[0]] + [("x", "O"), ("y", "I-THING")]
    (tmp_path / "train.conll").write_text(columns(held), "utf-8")
    (tmp_path / "odd.conll").write_bytes((folder / "odd.conll").read_bytes())
    task = task_of(tmp_path, "odd.conll")
    notes = list(task.notes)
    assert any("30 sentences, tags iob2, 2 tags otherwise than" in note for note in notes), notes
    assert "odd: 1 word of which the tokenizer makes nothing, tagged O and not trained on" in notes
    assert "odd: spans of types that training has not, which count as not found: POET 1" in notes
    assert "odd: 1 sentence longer than a window, cut into several" in notes
    assert 0 < task.protocol["floor"]["figures"]["odd"]["f1"] < 1


def test_the_floor_is_reckoned_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(folder, "dev.conll")
    protocol = task.protocol
    monkeypatch.setattr("spanmask.probes.ner.task.most_frequent_tags", None)
    assert task.protocol == protocol


def test_faulty_sentences_stop_a_task_or_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text(columns(tagged(0, 20)) + "\nodd ODD\n\nodd\n", "utf-8")
    with pytest.raises(CorpusError, match="the tag 'ODD'"):
        task_of(tmp_path)
    task = task_of(tmp_path, on_error=OnError.SKIP)
    assert task.left_out == {f"{path}": {"tag": 1, "columns": 1}}
    assert task.protocol["left_out"] == {"train.conll": {"tag": 1, "columns": 1}}


def test_scores_that_are_not_finite_tell_no_tag(folder: Path) -> None:
    task = task_of(folder)
    wrong = np.zeros((len(task.selection.examples.input_ids.values), len(task.labels)), np.float32)
    assert task.selection.judge(wrong, None).figures["f1"] == 0
    wrong[3, 1] = np.nan
    with pytest.raises(ConfigError, match="not all finite, so nothing can be told; fine-tune with a lower lr"):
        task.selection.judge(wrong, None)


def test_tasks_that_cannot_be_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("a O\n\nb O\n", "utf-8")
    with pytest.raises(ConfigError, match="no span in it, all tags are O"):
        task_of(tmp_path)
    write_columns(tmp_path / "train.conll", 0, 20)
    (tmp_path / "dev.conll").write_text("a O\n", "utf-8")
    with pytest.raises(ConfigError, match="dev: no span to be found"):
        task_of(tmp_path, "dev.conll")
    (tmp_path / "dev.conll").write_text("\u200b B-WHO\n", "utf-8")
    with pytest.raises(ConfigError, match="dev: no word of which the tokenizer makes a piece"):
        task_of(tmp_path, "dev.conll")
    with pytest.raises(ConfigError, match="0 choose"):
        task_of(folder, selection=1e-9)


def test_sentences_are_counted_and_not_their_windows(tmp_path: Path) -> None:
    long = [pair for sentence in tagged(0, 6) for pair in sentence]
    (tmp_path / "train.conll").write_text(columns([long, *tagged(6, 5)]), "utf-8")
    with pytest.raises(ConfigError, match="of 6 training sentences 0 choose and 6 are trained on; give more"):
        task_of(tmp_path, selection=1e-9)


@pytest.mark.parametrize(("selection", "told"), [(0.3, "choose"), (0.51, "are trained on")])
def test_a_side_without_spans_is_refused_since_all_would_score_0(tmp_path: Path, selection: float, told: str) -> None:
    """The one sentence with a span has a hash of 0.506."""
    bare = [[(f"night{number}", "O")] for number in range(12)]
    (tmp_path / "train.conll").write_text(columns([*bare, [("he", "B-WHO")]]), "utf-8")
    with pytest.raises(
        ConfigError, match=rf"of 13 training sentences \d+ choose .*, and those that {told} have no span"
    ):
        task_of(tmp_path, selection=selection)


class StopAfter(Watch):
    """Asks for the end once some updates were made."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._last, self._over = step, False

    def step(self, progress: Progress) -> None:
        self._over = progress.step >= self._last

    def stopping(self) -> bool:
        return self._over


def test_a_run_that_was_stopped_ends_as_the_one_that_went_through(folder: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for stop in (1, 4):
        assert run_of(folder, out, epochs=5, watch=StopAfter(stop), resume=stop > 1).results is None
    assert run_of(folder, out, epochs=5, resume=True).results == read_results(run)
    for name in ("dev/predictions.conll", "odd/predictions.conll", "model/model.safetensors"):
        assert (out / "seed-1" / name).read_bytes() == (run / "seed-1" / name).read_bytes()

    def other(_: Any) -> NamedEntities:
        files = [folder / "dev.conll", folder / "odd.conll"]
        return NamedEntities(
            vocabulary(), [folder / "train.conll"], files, replace(NER_CONFIG, window=20), selection=0.3
        )

    with pytest.raises(MismatchError, match="window"):
        fine_tune(Source(folder / "model"), other, out, FinetuneConfig.of(**{**SETTING, "epochs": 5}), resume=True)
