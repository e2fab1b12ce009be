"""`spanmask bench preshard`: its files, its stages, its peers, whole runs, and compiling."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from figures import THOROUGH
from spanmask_bench import command_runs, compiling, corpora, presharding, stages, texts
from spanmask_bench.baselines import collator_pipeline
from spanmask_cli.bench import command

import spanmask
from spanmask.config import VocabularyConfig
from spanmask.vocab import load_vocabulary

CONFIG = spanmask.PreshardConfig.of(seed=3)
LONG = 10**9


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The shipped stories in all forms; the peers' slice is smaller."""
    folder = tmp_path_factory.mktemp("corpora")
    described = corpora.prepare(paths=[], folder=str(folder), megabytes=0.3, peer_megabytes=0.1)
    return folder, described


def test_all_forms_hold_the_same_documents(files):
    folder, described = files
    wanted = texts.read([], 300_000)
    assert described["all"] == wanted.described
    for name in presharding.FORMS.values():
        assert texts.read([str(folder / name)], LONG).documents == wanted.documents
    assert sorted(texts.read([str(folder / "parts")], LONG).documents) == sorted(wanted.documents)
    for name in presharding.PEER_FORMS.values():
        assert texts.read([str(folder / name)], LONG).documents == wanted.documents[: described["peer"]["documents"]]
    assert described["peer"]["bytes"] < described["all"]["bytes"]


@pytest.mark.parametrize("form", presharding.FORMS.values())
def test_the_stages_write_the_shards_of_a_whole_run(files, tmp_path, form):
    (tmp_path / "staged" / "train").mkdir(parents=True)
    spanmask.preshard(files[0] / form, tmp_path / "whole", CONFIG, jobs=1)
    spent = stages.StagedRun(files[0] / form, tmp_path / "staged", CONFIG).run()
    tables = []
    for name in ("staged", "whole"):
        paths = sorted((tmp_path / name / "train").iterdir())
        tables.append(pa.concat_tables([pa.ipc.open_file(path).read_all() for path in paths]))
    assert tables[0].num_rows > 100
    assert tables[0].equals(tables[1])
    assert list(spent) == list(stages.STAGES)
    assert all(seconds > 0 for stage, seconds in spent.items() if stage != "decompress")


def test_stages_and_what_is_left_make_up_a_whole_run():
    taken = {
        name: {"warm_up_seconds": 0.0, "seconds": [4.0]} for name in ("spanmask, .jsonl.zst", "spanmask, plain text")
    }
    taken["spanmask, BPE, .jsonl.zst"] = {"warm_up_seconds": 0.0, "seconds": [5.0]}
    taken |= {
        f"{peer}, {form}": {"warm_up_seconds": 0.0, "seconds": [8.0]}
        for peer in presharding.PEERS
        for form in presharding.FORMS
    }
    sizes = {name: 100 if name.startswith("peer") else 1000 for name in taken}
    found = presharding._figures(taken, sizes, [{"read": 1.0, "mask": 0.5}])
    assert found["stages"]["rest"]["seconds"] == [2.5]
    assert found["ratios"][".jsonl.zst: spanmask / peer"]["median"] == 20.0, "rates, not seconds, are compared"
    assert found["ratios"][".jsonl.zst: spanmask, BPE / spanmask"]["median"] == 0.8


# --- Peers


def _pipeline(padded, batch=1):
    for name in collator_pipeline.PACKAGES:
        pytest.importorskip(name, reason="belongs to the extra bench")
    return collator_pipeline.CollatorPipeline(load_vocabulary(VocabularyConfig()), padded=padded, batch=batch)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("form", presharding.PEER_FORMS.values())
def test_a_peer_writes_every_token_and_masks_whole_words(files, tmp_path, padded, form):
    pipeline = _pipeline(padded, batch=3)
    pipeline.run(files[0] / form, tmp_path / "peer.arrow")
    rows = pa.ipc.open_file(tmp_path / "peer.arrow").read_all()
    ids, labels = (
        np.stack(rows.column(name).combine_chunks().to_numpy(zero_copy_only=False)) for name in ("input_ids", "labels")
    )
    vocabulary = load_vocabulary(VocabularyConfig())
    originals = np.where(labels == -100, ids, labels)
    documents = texts.read([str(files[0] / form)], LONG).documents
    wanted = spanmask.Tokenizer(vocabulary).encode(documents)
    roles = [vocabulary.ids[f"[{role}]"] for role in ("CLS", "SEP", "PAD")]
    assert (originals[:, 0] == roles[0]).all()
    assert ((originals == roles[1]).sum(axis=1) == 1).all()
    assert originals[~np.isin(originals, roles)].tolist() == wanted.token_ids.tolist()
    assert pipeline.tokens == len(wanted.token_ids)
    sizes = (originals != roles[2]).sum(axis=1)
    counts = np.diff(wanted.document_offsets)
    assert sizes.tolist() == [min(510, count - at) + 2 for count in counts.tolist() for at in range(0, count, 510)]
    masked = labels != -100
    assert 0.12 < masked[:, 1:-1].mean() < 0.2
    assert (ids[masked] == vocabulary.ids["[MASK]"]).all()
    goes_on = ~vocabulary.word_start_table[originals] & ~np.isin(originals, roles)
    assert (masked[:, 1:] == masked[:, :-1])[goes_on[:, 1:] & (originals[:, :-1] != roles[0])].all()


@pytest.mark.filterwarnings("default")
def test_a_peer_takes_documents_in_several_batches_and_loses_none(tmp_path, monkeypatch):
    monkeypatch.setattr(collator_pipeline, "DOCUMENTS", 2)
    (tmp_path / "five.txt").write_text("\n\n".join(f"Story number {number} ." for number in range(5)))
    pipeline = _pipeline(padded=False)
    pipeline.run(tmp_path / "five.txt", tmp_path / "peer.arrow")
    assert pa.ipc.open_file(tmp_path / "peer.arrow").read_all().num_rows == 5
    assert pipeline.tokens == 20
    assert list(pipeline.spent) == list(collator_pipeline.STEPS)


@pytest.mark.filterwarnings("default")
def test_the_collators_fastest_batch_is_chosen(files, tmp_path, monkeypatch):
    _pipeline(padded=True)
    taken = iter([4.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(collator_pipeline, "seconds", lambda _: next(taken))
    pipeline, tried = collator_pipeline.fastest(files[0] / "peer.txt", tmp_path / "peer.arrow", padded=True)
    assert pipeline.batch == collator_pipeline.BATCHES[1]
    assert list(tried.values()) == [4.0, 1.0, 2.0, 3.0]


# --- Whole runs


@pytest.mark.slow
def test_a_run_that_fails_is_reported(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="exit code 2"):
        command_runs.CommandRun([str(tmp_path / "missing.txt")], tmp_path / "out").run()
    assert "missing.txt" in capfd.readouterr().err


def test_scaling_is_by_whole_runs_and_by_what_they_take_beyond_the_start():
    taken = {"one file, 1 job": 9.0, "one file, 2 jobs": 6.0, "several files, 1 job": 8.0, "several files, 2 jobs": 8.0}
    taken |= {"start, 1 job": 1.0, "start, 2 jobs": 2.0}
    compiled = {"cold": {"everything": 44.0}, "warm": {"preshard": 1.0}}
    runs = {name: {"seconds": [seconds, seconds]} for name, seconds in taken.items()}
    found = presharding._verdicts({"commands": runs, "ratios": {}, "compile_seconds": compiled})
    assert found["ratios"]["one file: 2 jobs / 1 job"]["median"] == 1.5
    assert found["ratios"]["one file, beyond the start: 2 jobs / 1 job"]["median"] == 2.0
    assert [
        found["goals"][f"{name}, beyond the start: 2 jobs / 1 job"]["reached"] for name in ("one file", "several files")
    ] == [
        True,
        False,
    ]
    assert found["limits"]["compile everything"]["kept"]
    assert not found["limits"]["load for a preshard"]["kept"]


@pytest.mark.slow
def test_a_run_answers_everything(tmp_path, monkeypatch):
    _pipeline(padded=True)
    compiled = {state: {"import": 0.5, "preshard": 0.25, "everything": 0.75} for state in ("cold", "warm")}
    monkeypatch.setattr(compiling, "with_caches", lambda function: compiled)
    (tmp_path / "prose.txt").write_text("\n\n".join(texts.read([], 100_000).documents), "utf-8")
    arguments = [
        "preshard",
        str(tmp_path / "prose.txt"),
        "--rounds",
        "1",
        "--megabytes",
        "0.1",
        "--peer-megabytes",
        "0.05",
    ]
    done = CliRunner().invoke(command, [*arguments, "--json", str(tmp_path / "out.json")], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert done.stdout == presharding.table(result)
    assert set(result["goals"]) == set(presharding.GOALS)
    assert set(result["stages"]) == {*stages.STAGES, "rest"}
    for found in result["contestants"].values():
        assert len(found["seconds"]) == 1
    for found in result["commands"].values():
        assert found["processor_seconds"][0] > 0.1
        assert found["peak_bytes"][0] > 50_000_000
    assert set(result["peers"]) == set(presharding.PEERS)
    assert set(collator_pipeline.PACKAGES) <= set(result["versions"])


@pytest.mark.slow
@pytest.mark.parametrize("function", ["first_call", *["everything"] * THOROUGH])
def test_compiling_takes_longer_than_loading(function):
    """Of everything in a long run alone: it is a minute of compiling."""
    taken = compiling.with_caches(function)
    assert set(taken) == {"cold", "warm"}
    assert taken["cold"][function] > 2 * taken["warm"][function] > 0
