"""Runs of transformers' models: begun from a configuration or weights, packed or bucketed, resumed bit for bit; or refused, with why."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from model.backbones import config_of as architecture
from safetensors.torch import load_file, save_file
from train.conftest import SMALL, invoke, lines_of, losses_of, weights_of
from train.test_train_resume import CHILD, assert_close, ranks
from transformers import AutoModelForMaskedLM, BertConfig, GPT2Config

import spanmask
from spanmask.errors import ConfigError, MismatchError
from spanmask.loading import ShardLoader
from spanmask.loading.padding import as_bins
from spanmask.model import write_tokenizer
from spanmask.train import TrainConfig, load_run, train
from spanmask.train.starting import begin_model

ENTRIES = 500
#: What a run of SMALL says that a backbone's configuration says instead.
_OURS = ("model", "hidden", "heads", "intermediate", "compile")


def options_of(folder: Path, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in SMALL.items() if name not in _OURS} | {"backbone": str(folder), **changes}


def flags_of(folder: Path, **changes: Any) -> list[str]:
    """The same as it is typed, with an evaluation."""
    options = {name: value for name, value in options_of(folder, **changes).items() if name != "evaluate"}
    return [
        "--eval",
        *(part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))),
    ]


def saved(folder: Path, name: str, **changes: Any) -> Path:
    """A folder with the configuration of an architecture alone, for the datasets' vocabulary and 48 tokens."""
    architecture(name, ENTRIES, max_position_embeddings=64, **changes).save_pretrained(folder)
    return folder


@pytest.fixture
def weighted(shards: Path, tmp_path: Path) -> Path:
    """A folder with an ELECTRA generator, its weights and the datasets' tokenizer."""
    torch.manual_seed(5)
    config = architecture("electra", ENTRIES, max_position_embeddings=64, pad_token_id=0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "model")
    write_tokenizer(tmp_path / "model", spanmask.open(shards).manifest.vocabulary, max_tokens=64)
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "layout"), [pytest.param("modernbert", "packed", marks=pytest.mark.slow), ("deberta", "bucketed")]
)
def test_a_run_that_was_ended_goes_on_bit_for_bit_without_the_folder_it_began_from(
    shards: Path, tmp_path: Path, name: str, layout: str
) -> None:
    folder, options = (
        saved(tmp_path / "model", name),
        {"steps": 3, "save_every": 0, "evaluate": True, "eval_sequences": 8},
    )
    told = invoke(shards, "--out", tmp_path / "whole", *flags_of(folder, **options))
    assert told.exit_code == 0, told.output
    assert f"batches are {layout}" in " ".join(told.stderr.split())
    config = TrainConfig.of(**options_of(folder, **options))
    train(shards, tmp_path / "parts", config, stop_at=2)
    shutil.rmtree(folder)
    train(shards, tmp_path / "parts", config, resume=True)
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "parts", 3) == weights_of(tmp_path / "whole", 3)
    assert lines_of(tmp_path / "parts", "evaluation.jsonl") == lines_of(tmp_path / "whole", "evaluation.jsonl")
    stored = load_file(tmp_path / "whole" / "checkpoints" / "step-00000003" / "model.safetensors")
    assert all(torch.equal(stored[key], one) for key, one in load_run(tmp_path / "whole").model.state_dict().items())


@pytest.mark.slow
def test_two_bucketed_ranks_are_one_with_twice_the_batch(shards: Path, tmp_path: Path) -> None:
    """Only the ranks together know how many targets a step has."""
    script = tmp_path / "child.py"
    script.write_text(CHILD.replace("\ndef kill", "\nimport torch\ntorch.set_num_threads(1)\ndef kill"))
    options = options_of(saved(tmp_path / "model", "deberta"), evaluate=True)
    train(shards, tmp_path / "one", TrainConfig.of(**options))
    ranks(script, shards, tmp_path / "two", json.dumps({**options, "batch_size": 2}), "new", -1)
    assert_close(tmp_path / "one", tmp_path / "two")


def test_the_seed_and_nothing_else_decides_the_weights_of_a_configuration(shards: Path, tmp_path: Path) -> None:
    opened, states = [spanmask.open(shards)], []
    for seed in (1, 1, 2):
        torch.manual_seed(seed + 40)
        config = TrainConfig.of(**options_of(saved(tmp_path / "model", "electra"), seed=seed, max_span_offset=5))
        states.append(begin_model(config, opened).model.state_dict())
    same, other = (
        [name for name in states[0] if torch.equal(states[0][name], states[number][name])] for number in (1, 2)
    )
    assert len(same) == len(states[0]) > len(other)
    assert states[0]["sbo.offsets.weight"].shape == (5, 200)


def test_weights_go_on_as_transformers_has_them_and_only_the_new_head_is_drawn(shards: Path, weighted: Path) -> None:
    config = TrainConfig.of(**options_of(weighted))
    with pytest.warns(UserWarning, match="it lacks the span boundary head: drawn anew"):
        begun = begin_model(config, [spanmask.open(shards)])
    stored = load_file(weighted / "model.safetensors")
    state = begun.model.state_dict()
    assert {name.removeprefix("backbone.") for name in state if not name.startswith("sbo.")} == stored.keys()
    assert all(torch.equal(state[f"backbone.{name}"], tensor) for name, tensor in stored.items())


def test_a_head_that_weights_lack_is_drawn_and_told_and_an_encoder_is_not(shards: Path, weighted: Path) -> None:
    stored, config = load_file(weighted / "model.safetensors"), TrainConfig.of(**options_of(weighted, objective="mlm"))
    headless = {name: tensor for name, tensor in stored.items() if name.startswith("electra.")}
    save_file(headless, weighted / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="it lacks the MLM head: drawn anew"):
        begin_model(config, [spanmask.open(shards)])
    del headless["electra.encoder.layer.1.output.dense.weight"]
    save_file(headless, weighted / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"it lacks electra.encoder.layer.1.output.dense.weight \(1 tensors\)"):
        begin_model(config, [spanmask.open(shards)])
    save_file(
        stored | {"electra.embeddings.LayerNorm.weight": torch.full((8,), torch.nan)}, weighted / "model.safetensors"
    )
    with pytest.raises(ConfigError, match="holds NaN"):
        begin_model(config, [spanmask.open(shards)])


def test_a_tokenizer_of_another_vocabulary_or_padding_is_refused(
    shards: Path, cased_shards: Path, weighted: Path
) -> None:
    config = TrainConfig.of(**options_of(weighted))
    with pytest.raises(MismatchError, match="its vocabulary hashes to"):
        begin_model(config, [spanmask.open(cased_shards)])
    content = json.loads((weighted / "config.json").read_text())
    (weighted / "config.json").write_text(json.dumps(content | {"pad_token_id": 3}))
    with pytest.raises(ConfigError, match="pad_token_id is 3, and its tokenizer's 0"):
        begin_model(config, [spanmask.open(shards)])


CODE = "from pathlib import Path\nPath(__file__).with_name('was-run').touch()\n"


def test_code_in_a_folder_is_never_run(shards: Path, tmp_path: Path) -> None:
    """A known architecture is transformers' own, and a line says so; one that only the code knows is refused."""
    folder = saved(tmp_path / "model", "roberta")
    code = {"auto_map": {"AutoConfig": "code.Config", "AutoModelForMaskedLM": "code.Model"}}
    content = json.loads((folder / "config.json").read_text()) | code
    (folder / "code.py").write_text(CODE)
    (folder / "config.json").write_text(json.dumps(content))
    config = TrainConfig.of(**options_of(folder))
    with pytest.warns(
        UserWarning, match=r"its auto_map names code, which is never run: the model is transformers' own roberta"
    ):
        assert begin_model(config, [spanmask.open(shards)]).backbone.keys() >= {"model_type", "hidden_size"}  # type: ignore[union-attr]
    (folder / "config.json").write_text(json.dumps(content | {"model_type": "of_their_own"}))
    with pytest.raises(
        ConfigError, match=r"'of_their_own', which transformers .* code in a model's folder is never run"
    ):
        begin_model(config, [spanmask.open(shards)])
    assert not (folder / "was-run").exists()


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (GPT2Config(n_embd=16, n_layer=1, n_head=2), {}, "no masked language model for model_type 'gpt2'"),
    (BertConfig(), {"is_decoder": True}, "is_decoder is true"),
    (BertConfig(), {"quantization_config": {"quant_method": "bitsandbytes"}}, "the model is quantized"),
    (BertConfig(vocab_size=400), {}, "vocab_size is 400, and the vocabulary has 500 entries: set it to that"),
    (BertConfig(), {"hidden_size": "wide"}, "transformers cannot build it"),
    (BertConfig(), {"hidden_act": "none such"}, "transformers cannot build it"),
    (BertConfig(), {"num_hidden_layers": 10**9}, "layers is 1000000000: give a whole number"),
    (BertConfig(), {"intermediate_size": 1 << 24, "hidden_size": 1 << 16}, "the model's weights need"),
    (BertConfig(max_position_embeddings=40), {}, "bins have 48 slots, for sequences of up to 48 tokens"),
]


@pytest.mark.parametrize(("config", "changes", "told"), REFUSED, ids=[told[:30] for *_, told in REFUSED])
def test_what_cannot_be_trained_says_why_and_exits_with_2(
    shards: Path, tmp_path: Path, config: Any, changes: dict[str, Any], told: str
) -> None:
    folder = tmp_path / "model"
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    folder.mkdir()
    content = config.to_dict() | (sizes if config.model_type == "bert" else {}) | changes
    (folder / "config.json").write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigError, match=told):
            train(shards, tmp_path / "run", TrainConfig.of(**options_of(folder)))
    assert not (tmp_path / "run" / "run.json").exists()


def test_options_of_our_own_model_are_refused_beside_a_backbone(shards: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", "roberta")
    with pytest.raises(ConfigError, match="hidden, init_from, layers: with backbone, the model is that of"):
        TrainConfig.of(backbone=str(folder), layers=2, hidden=8, init_from="model")
    told = invoke(shards, "--out", tmp_path / "run", "--backbone", folder, "--preset", "cpu", "--hidden-dropout", 0)
    assert "--hidden-dropout: with backbone, these are what" in str(told.exception)
    assert isinstance(told.exception, ConfigError)


@pytest.mark.parametrize(("objective", "instead"), [("mlm+nsp", "mlm"), ("mlm+sbo+nsp", "mlm+sbo")])
def test_what_follows_is_not_trained_with_a_backbone(
    shards: Path, tmp_path: Path, objective: str, instead: str
) -> None:
    told = invoke(
        shards, "--out", tmp_path / "run", *flags_of(saved(tmp_path / "model", "roberta"), objective=objective)
    )
    assert isinstance(told.exception, ConfigError)
    what = f"--objective is {objective}, and with --backbone there is no head for what follows"
    assert str(told.exception) == f"{what}: give {instead}, or a BERT as --init-from instead"
    assert not (tmp_path / "run").exists()


def test_without_transformers_the_extra_is_named(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("spanmask.model.backbone")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"needs transformers, which is not installed: pip install '\.\[backbones\]'"):
        train(shards, tmp_path / "run", TrainConfig.of(**options_of(tmp_path)))


def test_rows_as_bins_have_the_same_tokens_and_targets(shards: Path) -> None:
    loader = ShardLoader(shards, batch_size=7, layout="bucketed", masks="fresh", sbo=True)
    for delivered in loader.stream.batches(spanmask.loading.Position()):
        padded, bins = delivered.batch, as_bins(delivered.batch)  # type: ignore[arg-type]
        width = padded.input_ids.shape[1]
        places = [(row, at) for row in range(7) for at in range(width) if padded.labels[row, at] != -100]  # type: ignore[union-attr]
        assert [(place // width, place % width) for place in bins.mlm_positions.tolist()] == places
        assert bins.mlm_labels.tolist() == [padded.labels[place] for place in places]  # type: ignore[union-attr]
        targets = [
            (row * width + left, row * width + right, at, label)
            for row in range(7)
            for left, right, at, label in zip(
                *(getattr(padded.sbo, part)[row].tolist() for part in _PARTS), strict=True
            )
            if label != -100
        ]
        assert list(zip(*(getattr(bins.sbo, part).tolist() for part in _PARTS), strict=True)) == targets
        lengths = padded.attention_mask.sum(1)  # type: ignore[union-attr]
        for row, length in enumerate(lengths.tolist()):
            assert bins.sequence_index[row].tolist() == [1] * length + [0] * (width - length)
            assert bins.positions[row].tolist() == [*range(length), *range(width - length)]
            assert bins.cu_seqlens[2 * row : 2 * row + 3].tolist() == [
                row * width,
                row * width + length,
                (row + 1) * width,
            ]
        assert delivered.counts.mlm == len(places)
        assert delivered.counts.sbo == len(targets)


_PARTS = ("left", "right", "offsets", "labels")
