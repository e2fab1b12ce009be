"""Models of transformers that were trained here, as folders: what transformers saves, loaded by it whole, filled in, and gone on from."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from model.backbones import ARCHITECTURES
from safetensors.torch import load_file, save_file
from spanmask_cli.infill import command as infill_command
from train.conftest import invoke
from train.test_train_backbone import options_of, saved
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertTokenizer

import spanmask
from spanmask import Tokenizer
from spanmask.errors import ConfigError
from spanmask.loading import ShardLoader
from spanmask.model import (
    BackboneForPreTraining,
    SboTensors,
    export_backbone,
    load_backbone,
    load_model,
    read_tokenizer,
)
from spanmask.probes.sources import load_encoder
from spanmask.train import TrainConfig, load_run, train
from spanmask.train.starting import begin_model

LOADING = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


def begun(shards: Path, folder: Path, **changes: Any) -> BackboneForPreTraining:
    model = begin_model(TrainConfig.of(**options_of(folder, **changes)), [spanmask.open(shards)]).model
    assert isinstance(model, BackboneForPreTraining)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    return model.eval()


def each_architecture() -> Iterator[Any]:
    for name in ARCHITECTURES:
        yield pytest.param(name, marks=() if name in ("modernbert", "electra") else pytest.mark.slow)


@pytest.mark.parametrize("name", list(each_architecture()))
def test_an_export_is_what_transformers_saves_and_it_loads_it_whole_with_equal_scores(
    shards: Path, tmp_path: Path, name: str
) -> None:
    model, vocabulary = begun(shards, saved(tmp_path / "config", name)), spanmask.open(shards).manifest.vocabulary
    export_backbone(model, tmp_path / "ours", vocabulary, card="a card")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs, report = AutoModelForMaskedLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[part] for part in LOADING)
    theirs.save_pretrained(tmp_path / "theirs")
    stored, again = (load_file(tmp_path / folder / "model.safetensors") for folder in ("ours", "theirs"))
    assert stored.keys() == again.keys()
    assert all(torch.equal(stored[key], again[key]) for key in stored)
    contents = [json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("ours", "theirs")]
    assert contents[0] == contents[1]
    assert {path.name for path in (tmp_path / "ours").iterdir()} == {
        "README.md", "config.json", "model.safetensors", "sbo_head.safetensors",
        "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    }  # fmt: skip
    row = spanmask.open(shards)[0].input_ids
    ids = torch.from_numpy(row.astype("int64"))[None]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ours")
    text = "The Raven [MASK] upon a bust, naïvely; un\u00adtold 漢字!"
    assert tokenizer.encode(text) == BertTokenizer.from_pretrained(tmp_path / "ours").encode(text)
    assert tokenizer.encode(text)[1:-1] == Tokenizer(vocabulary).encode([text], specials="parse").token_ids.tolist()
    assert tokenizer.mask_token_id == vocabulary.special.mask
    assert read_tokenizer(tmp_path / "ours").sha256 == vocabulary.sha256
    batch = next(iter(ShardLoader(shards, batch_size=2, layout="bucketed", sbo=True)))
    boundaries = SboTensors.taken_from(batch)
    with torch.no_grad():
        logits = theirs.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        mine = model.score(_whole(ids)).mlm
        hidden = theirs(**batch, output_hidden_states=True).hidden_states[-1]
        loaded = load_backbone(tmp_path / "ours").eval()
        heads = [one.sbo.score(hidden, theirs.get_input_embeddings().weight, boundaries) for one in (model, loaded)]  # type: ignore[union-attr]
    torch.testing.assert_close(mine, logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(*heads)
    assert all(torch.equal(one, loaded.state_dict()[key]) for key, one in model.state_dict().items())


def _whole(ids: torch.Tensor) -> Any:
    from spanmask.model import padded_tensors

    batch = padded_tensors(ids, torch.ones_like(ids))
    return batch._replace(mlm_positions=torch.arange(ids.shape[1]), mlm_labels=ids[0])


def test_a_run_is_exported_filled_in_and_gone_on_from_with_both_heads(shards: Path, tmp_path: Path) -> None:
    folder, model = saved(tmp_path / "config", "modernbert"), tmp_path / "model"
    train(shards, tmp_path / "run", TrainConfig.of(**options_of(folder, steps=2, save_every=0)))
    loaded = load_run(tmp_path / "run")
    loaded.export(model)
    card = (model / "README.md").read_text()
    assert "tags: [modernbert, spanbert, spanmask]" in card
    assert "A `modernbert` trained on masked spans" in card
    assert "dropout" not in card
    told = [
        CliRunner().invoke(infill_command, [str(one), "the [MASK] [MASK] old", "--json"])
        for one in (model, tmp_path / "run")
    ]
    assert [one.exit_code for one in told] == [0, 0], told[0].output
    assert json.loads(told[0].stdout) == json.loads(told[1].stdout)
    assert json.loads(told[0].stdout)[0]["spans"][0]["both"] is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = begin_model(TrainConfig.of(**options_of(model)), [spanmask.open(shards)])
    assert again.new_heads == ()
    assert all(torch.equal(one, again.model.state_dict()[key]) for key, one in loaded.model.state_dict().items())


def test_an_occupied_folder_is_not_written_over(shards: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "config", "electra")
    vocabulary = spanmask.open(shards).manifest.vocabulary
    with pytest.raises(ConfigError, match=r"it holds config\.json already"):
        export_backbone(begun(shards, folder), folder, vocabulary)
    export_backbone(begun(shards, folder), folder, vocabulary, overwrite=True)
    assert isinstance(load_model(folder), BackboneForPreTraining)


def test_what_a_folder_lacks_is_told(shards: Path, tmp_path: Path) -> None:
    folder, vocabulary = tmp_path / "model", spanmask.open(shards).manifest.vocabulary
    with pytest.raises(
        ConfigError, match=r"no model.safetensors there; give a folder that holds a model with its weights"
    ):
        load_model(saved(tmp_path / "config", "electra"))
    export_backbone(begun(shards, tmp_path / "config"), folder, vocabulary)
    head = load_file(folder / "sbo_head.safetensors")
    lost = next(iter(head))
    save_file({name: one for name, one in head.items() if name != lost}, folder / "sbo_head.safetensors")
    with pytest.raises(ConfigError, match=f"sbo_head.safetensors: .*{lost}"):
        load_model(folder)
    save_file(head | {lost: head[lost][..., :-1].contiguous()}, folder / "sbo_head.safetensors")
    with pytest.raises(ConfigError, match="has shape"):
        load_model(folder)
    (folder / "sbo_head.safetensors").unlink()
    assert load_model(folder).sbo is None
    stored = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in stored.items() if name.startswith("electra.")}, folder / "model.safetensors")
    with pytest.raises(ConfigError, match="it lacks the MLM head; train it first"):
        load_model(folder)


def test_a_run_of_a_backbone_is_not_fine_tuned_here_and_a_line_says_what_to_do(shards: Path, tmp_path: Path) -> None:
    told = invoke(
        shards, "--out", tmp_path / "run", "--backbone", saved(tmp_path / "config", "electra"),
        "--preset", "cpu", "--steps", 1, "--batch-size", 2, "--device", "cpu",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    with pytest.raises(ConfigError, match="only BERTs are fine-tuned here: export it"):
        load_encoder(tmp_path / "run")
