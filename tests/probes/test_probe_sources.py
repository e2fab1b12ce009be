"""What fine-tuning begins from: runs, exports and folders that others wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import VOCABULARY
from trained import stories

from spanmask import PreshardConfig, preshard
from spanmask.errors import ConfigError, MismatchError
from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export
from spanmask.probes.sources import load_encoder
from spanmask.train import TrainConfig, train
from spanmask.train.run_folder import load_run

SHAPE = {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 24, "max_positions": 32}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    (folder / "text.txt").write_text(stories()[:20_000])
    preshard(folder / "text.txt", folder / "shards", PreshardConfig.of(seed=1, max_tokens=32), jobs=1)
    options = {"model": "tiny", "hidden": 16, "heads": 2, "intermediate": 32, "device": "cpu", "batch_size": 2}
    config = TrainConfig.of("fast", **options, steps=2, save_every=1, warmup=1, compile=False, threads=1, seed=1)
    train(folder / "shards", folder / "run", config)
    return folder / "run"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    export(SpanBertForPreTraining(SpanBertConfig(vocab_size=80, **SHAPE)), folder, VOCABULARY)
    return folder


def test_of_a_run_the_latest_checkpoint_or_the_one_of_a_step_is_taken(run: Path) -> None:
    for step in (None, 1):
        loaded, expected = load_encoder(run, step=step, pooler=True), load_run(run, step=step)
        assert loaded.vocabulary.sha256 == expected.vocabulary.sha256
        assert loaded.initialised == ("pooler.dense.weight", "pooler.dense.bias")
        found, wanted = loaded.encoder.state_dict(), expected.model.encoder.state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        # Whatever it was trained with.
        assert (loaded.encoder.config.hidden_dropout, loaded.encoder.config.attention_dropout) == (0.1, 0.1)
    with pytest.raises(ConfigError, match="it has no checkpoint of step 7; it has 1, 2: give one of these"):
        load_encoder(run, step=7)
    with pytest.raises(MismatchError, match=r"its vocabulary hashes to .* and the one given to .*; leave out --vocab"):
        load_encoder(run, vocabulary=VOCABULARY)


def test_an_export_is_an_encoder_with_its_own_tokenizer(exported: Path) -> None:
    loaded = load_encoder(exported, hidden_dropout=0.3)
    assert (loaded.vocabulary.sha256, loaded.initialised, loaded.pooler) == (VOCABULARY.sha256, (), None)
    assert (loaded.encoder.config.hidden_dropout, loaded.encoder.config.attention_dropout) == (0.3, 0.1)
    with pytest.raises(ConfigError, match=r"no run.json there, so it is no run with checkpoints; leave out --step"):
        load_encoder(exported, step=1)


def test_a_folder_without_a_tokenizer_is_refused_unless_one_is_given(exported: Path) -> None:
    (exported / "vocab.txt").unlink()
    with pytest.raises(
        ConfigError, match=r"neither tokenizer.json nor vocab.txt; save .*, or name the one .* \(--vocab\)"
    ):
        load_encoder(exported)
    assert load_encoder(exported, vocabulary=VOCABULARY).vocabulary is VOCABULARY
    (exported / "model.safetensors").unlink()
    with pytest.raises(
        ConfigError, match=r"no model.safetensors or pytorch_model.bin there; give a folder that holds a BERT"
    ):
        load_encoder(exported, vocabulary=VOCABULARY)
    with pytest.raises(ConfigError, match=r"none: no such folder"):
        load_encoder(exported / "none")
