"""A grid from text to page: killed, gone on with, shared, and refused where its parts do not belong together."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from commands import COMMAND, begin, strike
from probes.task_files import write_task_files
from reproduction.conftest import PLAN, told_by

from spanmask.errors import ConfigError, MismatchError
from spanmask.folders import claimed
from spanmask.probes.intervals import over_seeds
from spanmask.probes.results import read_results
from spanmask.reproduction import Watch, read_plan, reproduce, scheduling
from spanmask.reproduction.lock import GridLock
from spanmask.reproduction.probing import ask, probe_plan
from spanmask.reproduction.watching import AskedCell, TunedCell
from spanmask.reproduction.written import Written
from spanmask.shard.reader import open_shards
from spanmask.train.record import read_run


@pytest.fixture(scope="module")
def whole(plan: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid that nothing interrupted."""
    out = tmp_path_factory.mktemp("grid") / "whole"
    assert not reproduce(read_plan(str(plan)), [str(texts)], out, jobs=1).failed
    return out


@pytest.mark.slow
def test_figures_are_those_of_the_cells_own_runs(whole: Path) -> None:
    told = told_by(whole)
    assert told["undone"] == []
    for outcome, figure in (("boundaries/masked/saved", "saved"), ("boundaries/visible/first_bits", "first_bits")):
        for arm, by_seed in told["values"][outcome].items():
            for seed, value in by_seed.items():
                results = read_results(whole / arm / f"seed-{seed}" / "boundaries" / "run")
                assert results.seeds[0].scores[outcome.split("/")[1]][figure] == value
    [saved] = [
        one for one in told["differences"] if (one["outcome"], one["arm"]) == ("boundaries/masked/saved", "span")
    ]
    values = told["values"]["boundaries/masked/saved"]
    apart = [values["span"][seed] - values["token"][seed] for seed in ("1", "2")]
    assert saved["differences"] == apart
    assert saved["over_seeds"] == list(over_seeds(apart) or ())
    assert saved["verdict"] == "not enough seeds to say (2 of 6)"
    assert "One segment, span boundary objective" in (whole / "report.html").read_text("utf-8")
    for name in ("training", "held-out", "boundaries"):
        assert json.loads((whole / "span/seed-2" / name / "cell.json").read_text())["devices"] == ["cpu, fp32"]


@pytest.mark.slow
def test_arms_of_a_seed_begin_alike_and_read_the_same_tokens(whole: Path) -> None:
    lock = GridLock.read(whole)
    assert lock is not None
    schedule = lock.schedule
    assert schedule is not None
    assert schedule.same_start["again"] == schedule.same_start["again"][::-1]
    assert all(same == both > 10 for same, both in schedule.same_start.values())
    lines = {
        (arm, seed): json.loads((whole / arm / f"seed-{seed}" / "training/run/metrics.jsonl").read_text().splitlines()[-1])
        for arm in ("token", "span", "again")
        for seed in (1, 2)
    }  # fmt: skip
    for seed in (1, 2):
        assert len({lines[arm, seed]["tokens"] for arm in ("token", "span", "again")}) == 1
    assert lines["token", 1]["tokens"] != lines["token", 2]["tokens"]
    # Of A and A′ the data are one dataset, and the masks are not.
    assert lines["token", 1]["mlm_loss"] != lines["again", 1]["mlm_loss"]
    one, other = (read_run(whole / arm / "seed-1/training/run") for arm in ("token", "again"))
    assert (one.datasets, one.config.changed(mask_epoch=1 << 15)) == (other.datasets, other.config)
    held_out = [open_shards(whole / "shards" / arm / "dataset", "validation") for arm in ("token", "span")]
    assert [row.original().tolist() for row in held_out[0]] == [row.original().tolist() for row in held_out[1]]


@pytest.mark.slow
@pytest.mark.faults
def test_a_grid_that_is_killed_twice_comes_to_the_same_figures(
    whole: Path, plan: Path, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    for pattern in ("token/seed-1/training/run/metrics.jsonl", "span/seed-1/boundaries/run/probe.json"):
        strike(begin("reproduce", plan, texts, "--out", out, "--jobs", 1), out, pattern)
    done = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-1/*/cell.json")}
    assert done
    # Its texts it knows by now.
    ended = subprocess.run([*COMMAND, "reproduce", plan, "--out", out], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "span minus token: not enough seeds to say (2 of 6): held-out/token/mlm_loss" in ended.stdout
    assert told_by(out) == told_by(whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.slow
def test_a_cell_that_another_process_does_is_left_to_it(plan: Path, texts: Path, tmp_path: Path) -> None:
    class Look(Watch):
        def __init__(self) -> None:
            self.begun: list[str] = []
            self.waited: list[str] = []

        def cell(self, name: str, number: int) -> None:
            self.begun.append(name)

        def waiting(self, names: list[str]) -> None:
            self.waited = list(names)

        def stopping(self) -> bool:
            return bool(self.waited)

    read = read_plan(str(plan))
    with claimed(tmp_path / "shards" / "token", tmp_path / ".spanmask" / "shards~token"):
        look = Look()
        finished = reproduce(read, [str(texts)], tmp_path, only=["shards/*"], jobs=1, watch=look)
    assert look.begun == ["vocabulary", "shards/span"]
    assert (finished.stopped, look.waited) == (True, ["shards/token"])
    assert "shards/token" in finished.report.undone
    again = Look()
    assert not reproduce(read, [], tmp_path, only=["shards/*"], jobs=1, watch=again).failed
    assert again.begun == ["shards/token"]


@pytest.mark.slow
def test_a_budget_is_turned_into_tokens_once(
    plan: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "_TIMED", 0.3)
    slow = ["arm.slow.like=span", "arm.slow.against=token", "arm.slow.equal=seconds", "arm.slow.train.layers=6"]
    read, measured = read_plan(str(plan), slow), list[dict[str, float]]()
    for _ in range(2):
        assert not reproduce(read, [str(texts)], tmp_path, budget=0.5, only=["tokens"], jobs=1).failed
        lock = GridLock.read(tmp_path)
        assert lock is not None
        found = lock.schedule
        assert found is not None
        assert (found.budget, set(found.seconds)) == (0.5, {"token", "span", "again", "slow"})
        # Two seeds; what is trained for equal seconds takes what the arm does that it is held against.
        taken = 2 * found.tokens * (2 * found.seconds["token"] + found.seconds["span"] + found.seconds["again"])
        assert taken == pytest.approx(30, rel=1e-3)
        assert found.updates["slow"] * found.update_tokens["slow"] * found.seconds["slow"] == pytest.approx(
            found.tokens * found.seconds["token"], rel=0.05
        )
        assert found.updates["token"] == found.updates["again"] == round(found.tokens / found.update_tokens["token"])
        measured.append(dict(found.seconds))
    # What it would be now decides nothing any more.
    assert measured[0] == measured[1]
    assert not (tmp_path / "tokens" / "token").exists()
    few = reproduce(
        read_plan(str(plan), ["tokens=300"]), [str(texts)], tmp_path / "few", only=["tokens"], jobs=1
    ).failed
    assert re.match(r"300 tokens are [1-9] updates of arm token, of about \d\d+ tokens: give 10", str(few["tokens"]))


#: Of each kind of probe, what a plan says of one of the files that `write_task_files` writes, and an outcome of it.
ASKED: dict[str, tuple[dict[str, object], str, str]] = {
    "qa": ({"window": 32, "stride": 8, "max_question": 8}, "QUESTIONS.json HELD-OUT.json", "f1"),
    "coref": ({"segment": 32, "epochs": 1, "frozen": True, "fold": "1/4"}, "conll conll", "conll_f1"),
    "classify": ({"max_tokens": 32}, "train.tsv test.tsv", "accuracy"),
    "ner": ({"window": 32}, "TRAIN.conll TEST.conll", "f1"),
    "relation": ({"window": 32, "marks": "words"}, "PAIRS.json HELD-OUT-PAIRS.json", "f1"),
    "glue": ({"task": "rte", "max_tokens": 32}, "glue", "accuracy"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ASKED)
def test_every_kind_of_probe_can_be_asked_of_a_grids_model(kind: str, whole: Path, tmp_path: Path) -> None:
    write_task_files(tmp_path)
    with tarfile.open(tmp_path / "litbank_coref_conll.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    options, names, figure = ASKED[kind]
    files = [str(tmp_path / name) for name in names.split()]
    named = {"data": files[0]} if kind == "glue" else {"train": files[:1], "eval": files[1:]}
    table = {"kind": kind, "epochs": 1, "selection": 0.3, "device": "cpu", "threads": 1, **options, **named}
    probe = probe_plan("asked", table, Written("plan", ""))
    assert probe.has_files
    assert all(Path(path).exists() for path in probe.evaluated)
    assert len(probe.evaluated) == (2 if kind == "glue" else 1)
    watch = TunedCell(Watch()), AskedCell(Watch())
    model, dataset = whole / "token/seed-2/training/run", whole / "shards/span/dataset"
    results = ask(probe, model, tmp_path / "run", 2, dataset=dataset, watch=watch)
    assert results is not None
    assert [one.seed for one in results.seeds] == [2]
    assert any(figure in figures for figures in results.seeds[0].scores.values()), results.seeds[0].scores
    again = ask(probe, model, tmp_path / "run", 2, dataset=dataset, watch=watch)
    assert again == results


def test_a_grid_goes_on_with_its_own_plan_and_budget_alone(plan: Path, texts: Path, tmp_path: Path) -> None:
    class Stop(Watch):
        def stopping(self) -> bool:
            return True

    def begin_with(*changes: str, budget: float | None = None) -> None:
        reproduce(read_plan(str(plan), changes), [str(texts)], tmp_path, budget=budget, watch=Stop())

    begin_with()
    begin_with("train.threads=2", "train.save_every=7")
    with pytest.raises(MismatchError, match="begun with another plan: seeds was 2, is 3; give that one, or another"):
        begin_with("seeds=3")
    with pytest.raises(MismatchError, match=r"train\.hidden was 16, is 32"):
        begin_with("train.hidden=32")
    with pytest.raises(MismatchError, match="budget was None, is 3"):
        begin_with(budget=3)
    assert (tmp_path / "grid.lock").exists()


def test_texts_that_are_not_there_are_missed_before_anything_is_done(plan: Path, texts: Path, tmp_path: Path) -> None:
    changes = [
        'arm.span.texts=["marked.jsonl"]',
        "arm.span.preshard.scheme=annotated",
        "arm.span.preshard.spans_field=names",
    ]
    with pytest.raises(
        ConfigError, match=r"marked.jsonl: no such file .* arm span .* as spanmask annotate writes them"
    ):
        reproduce(read_plan(str(plan), changes), [str(texts)], tmp_path / "one")
    with pytest.raises(ConfigError, match="arm token has no texts: give some behind the plan"):
        reproduce(read_plan(str(plan)), [], tmp_path / "two")
    assert not (tmp_path / "one" / "vocabulary").exists()


@pytest.mark.slow
def test_a_model_of_pairs_is_asked_for_text_without_them(plan: Path, texts: Path, tmp_path: Path) -> None:
    pairs = ["arm.pairs.like=token", "arm.pairs.preshard.segmentation=pairs", "arm.pairs.train.objective=mlm+nsp"]
    read = read_plan(str(plan), [*pairs, 'held_out=["token", "pairs"]', 'primary=["held-out/token/mlm_loss"]'])
    only = ["*/seed-1/held-out"]
    assert not reproduce(read, [str(texts)], tmp_path, only=only, jobs=1).failed
    values = told_by(tmp_path)["values"]
    assert set(values["held-out/token/mlm_loss"]) == {"token", "span", "again", "pairs"}
    assert set(values["held-out/pairs/nsp_loss"]) == {"pairs"}
    assert "held-out/token/nsp_loss" not in values


@pytest.mark.slow
def test_arms_whose_texts_differ_by_more_than_annotations_are_refused(plan: Path, texts: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join(texts.read_text("utf-8").splitlines(keepends=True)[:-9]), "utf-8")
    changes = [f'arm.span.texts=["{fewer}"]']
    failed = reproduce(read_plan(str(plan), changes), [str(texts)], tmp_path / "out", only=["tokens"], jobs=1).failed
    assert "arms token and span have other sequences: " in str(failed["tokens"])
    # A copy by another name does.
    same = tmp_path / "same.jsonl"
    same.write_bytes(texts.read_bytes())
    changes = [f'arm.span.texts=["{same}"]']
    assert not reproduce(read_plan(str(plan), changes), [str(texts)], tmp_path / "copy", only=["tokens"], jobs=1).failed


@pytest.mark.slow
def test_texts_that_share_runs_of_words_with_evaluation_files_are_refused(texts: Path, tmp_path: Path) -> None:
    first, second = (json.loads(line) for line in texts.read_text("utf-8").splitlines()[:2])
    context = f"{first['text']} {second['text']}"
    asked = [{"id": "q", "question": "Who?", "answers": [{"text": context[:9], "answer_start": 0}]}]
    dev = tmp_path / "dev.json"
    dev.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": asked}]}]}), "utf-8")
    probe = f'[probe.squad]\nkind = "qa"\ntrain = ["{dev}"]\neval = ["{dev}"]\n'
    path = tmp_path / "plan.toml"
    path.write_text(PLAN + probe, "utf-8")
    failed = reproduce(read_plan(str(path)), [str(texts)], tmp_path / "one", only=["vocabulary"], jobs=1).failed
    told = str(failed["overlap"])
    assert f"spanmask overlap {dev} {texts} --ids FIELD=overlap.txt" in told
    assert "2 documents of arm token's texts" in told
    assert isinstance(failed["vocabulary"], ConfigError)
    # With one of them left out there is one.
    listed = tmp_path / "overlap.txt"
    listed.write_text(f"{first['id']}\n")
    exclude = f'preshard.exclude=["id={listed}"]'
    failed = reproduce(read_plan(str(path), [exclude]), [str(texts)], tmp_path / "two", only=["overlap"], jobs=1).failed
    assert "1 document of arm token's texts" in str(failed["overlap"])
    listed.write_text(f"{first['id']}\n{second['id']}\n")
    ended = reproduce(read_plan(str(path), [exclude]), [str(texts)], tmp_path / "two", only=["overlap"], jobs=1)
    assert not ended.failed
    assert json.loads((tmp_path / "two" / "overlap" / "cell.json").read_text())["shared"] == [2]


@pytest.mark.slow
def test_a_signal_ends_a_grid_where_it_can_go_on(plan: Path, texts: Path, tmp_path: Path) -> None:
    process = begin("reproduce", plan, texts, "--out", tmp_path / "out", "--jobs", 1, stderr=subprocess.PIPE)
    told = strike(process, tmp_path / "out", "vocabulary", signal.SIGTERM)
    assert process.returncode == 143
    assert "the same command goes on from here" in told
