"""Model folders that anyone may have written: what cannot be used is refused, by its name, before anything is built for it."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from figures import figure
from hostile import changed_file, joined_tensors, split_tensors
from safetensors.torch import load_file, save_file
from small import VOCABULARY
from trained import byte_level, changed

from spanmask.errors import ConfigError, SpanmaskError
from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export, import_model, infill, load, read_tokenizer
from spanmask.model.fitting import build
from spanmask.vocab import vocabulary_from_tokenizer

SIZES = {"vocab_size": 80, "hidden": 16, "layers": 2, "heads": 2, "intermediate": 24, "max_positions": 24}
WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    torch.manual_seed(1)
    export(SpanBertForPreTraining(SpanBertConfig.from_json(SIZES)), folder, VOCABULARY)
    return folder


@pytest.fixture(scope="module")
def with_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose vocabulary is a tokenizer.json."""
    folder, vocabulary = tmp_path_factory.mktemp("bpe") / "model", vocabulary_from_tokenizer("t.json", byte_level())
    sizes = SIZES | {"vocab_size": len(vocabulary)}
    export(SpanBertForPreTraining(SpanBertConfig.from_json(sizes)), folder, vocabulary)
    return folder


@pytest.fixture(scope="module")
def pickled(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same model as torch.save writes it, in both layouts."""
    made = []
    for archive in (True, False):
        folder = Path(shutil.copytree(exported, tmp_path_factory.mktemp("pickled") / "model"))
        weights = folder / "model.safetensors"
        torch.save(load_file(weights), folder / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
        weights.unlink()
        made.append(folder)
    return made


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "model"))


@pytest.fixture
def in_parts(model: Path) -> Path:
    """The same model in two files with an index."""
    tensors = load_file(model / "model.safetensors")
    names = sorted(tensors)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for name, part in parts.items():
        save_file({key: tensors[key] for key in part}, model / name, metadata={"format": "pt"})
    (model / "model.safetensors").unlink()
    places = {key: name for name, part in parts.items() for key in part}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return model


def _config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_hidden_layers": 10**9}, "layers is 1000000000: give a whole number from 1 to 4,096"),
        ({"num_hidden_layers": 4096}, "a model of 4,096 layers, and 42 tensors: they belong to another model"),
        ({"hidden_size": 1 << 23}, rf"{WORDS} has shape \(80, 16\), and config.json says \(80, 8388608\)"),
        ({"hidden_size": 1 << 62}, "hidden is 4611686018427387904: give a whole number from 1 to 16,777,216"),
        ({"vocab_size": 1 << 24}, rf"{WORDS} has shape \(80, 16\), and config.json says \(16777216, 16\)"),
        ({"vocab_size": 10**400}, "vocab_size is 1000"),
        ({"max_position_embeddings": 1 << 24}, r"position_embeddings.weight has shape \(24, 16\)"),
        ({"intermediate_size": 1 << 24}, r"intermediate.dense.weight has shape \(24, 16\)"),
        ({"type_vocab_size": 1 << 24}, r"token_type_embeddings.weight has shape \(2, 16\)"),
        ({"hidden_size": None}, "hidden is None: give a whole number"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"hidden_dropout_prob": 1e400}, "hidden_dropout is inf"),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(model: Path, changes: dict[str, Any], told: str) -> None:
    _config(model, **changes)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(ConfigError, match=told) as caught:
        load(model)
    assert str(caught.value).startswith(str(model))
    assert time.perf_counter() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


@pytest.mark.parametrize("sizes", [{"hidden": 1 << 24, "heads": 1}, {"vocab_size": 1 << 24, "hidden": 1 << 20}])
def test_a_model_that_does_not_fit_in_memory_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"weights need [\d,]+ GiB, and this machine has [\d,]+: make it smaller"):
        build(SpanBertConfig.from_json(SIZES | sizes))


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "sbo_head.safetensors", "vocab.txt", "tokenizer_config.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_a_pipe_folder_or_device_in_place_of_a_file_is_refused_and_not_waited_for(
    model: Path, name: str, kind: str
) -> None:
    (model / name).unlink()
    make: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero")
    }  # fmt: skip
    make[kind](model / name)
    with pytest.raises(ConfigError, match=rf"{name}: a folder, pipe or device, expected a file"):
        load(model) and read_tokenizer(model)


def test_files_may_be_links_to_files_as_in_a_cache(model: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for path in list(model.iterdir()):
        path.rename(tmp_path / "blobs" / path.name)
        path.symlink_to(tmp_path / "blobs" / path.name)
    load(model)
    read_tokenizer(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("model.safetensors", WORDS),
        ("model.safetensors", "bert.encoder.layer.1.attention.self.key.bias"),
        ("model.safetensors", "cls.predictions.bias"),
        ("sbo_head.safetensors", "cls.pair_target_predictions.bias"),
    ],
)
def test_weights_that_are_not_finite_are_refused_by_name(model: Path, file: str, name: str, value: float) -> None:
    tensors = load_file(model / file)
    tensors[name].view(-1)[-1] = value
    save_file(tensors, model / file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"holds NaN or an infinity; take a model from before it went wrong"):
        load(model)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused(model: Path, dtype: torch.dtype) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors[WORDS] = tensors[WORDS].to(dtype)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=rf"{WORDS} is of {dtype}, which is no weight; save the model as float32"):
        load(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_floats_of_other_widths_are_weights(model: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(model / "model.safetensors").items()}
    # A buffer of older releases, which is no weight.
    tensors["bert.embeddings.position_ids"] = torch.arange(24)[None]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    found = load(model).encoder.embeddings.words.weight[:80]
    assert torch.equal(found, tensors[WORDS].float())


def _edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        header, body = split_tensors(path.read_bytes())
        change(header)
        path.write_bytes(joined_tensors(header, body))

    return edit


def _moved(header: dict[str, Any]) -> None:
    header[WORDS]["data_offsets"] = [value + 4 for value in header[WORDS]["data_offsets"]]


@pytest.mark.parametrize(
    "edit",
    [
        _edit(_moved),
        _edit(lambda header: header[WORDS].update(shape=[1 << 40, 1 << 40])),
        _edit(lambda header: header[WORDS].update(shape=[-80, -16])),
        _edit(lambda header: header[WORDS].update(shape=[80, 15])),
        _edit(lambda header: header[WORDS].update(dtype="Q4")),
        _edit(lambda header: header.update(x=header[WORDS])),
        _edit(lambda header: header.update({"__metadata__": {"format": 1}})),
        lambda path: path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:]),
        lambda path: path.write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000),
    ],
    ids=["moved", "huge", "negative", "short", "kind", "overlapping", "metadata", "long header", "deep header"],
)  # fmt: skip
def test_broken_or_overlapping_tensors_are_refused(model: Path, edit: Callable[[Path], None]) -> None:
    edit(model / "model.safetensors")
    with pytest.raises(ConfigError, match=r"model.safetensors: not a whole safetensors file \(.*\); copy it again"):
        load(model)


@pytest.mark.parametrize("shape", [[1280], [1, 80, 16], [16, 80], [80, 16, 1]])
def test_tensors_of_another_shape_are_refused_by_both(model: Path, shape: list[int]) -> None:
    _edit(lambda header: header[WORDS].update(shape=shape))(model / "model.safetensors")
    with pytest.raises(
        ConfigError, match=rf"{WORDS} has shape .*, and config.json says \(80, 16\); save the model again"
    ):
        load(model)


@pytest.mark.parametrize("shape", [[4000], [1, 20, 200], [0, 200]])
def test_a_table_of_offsets_that_is_none_is_refused(model: Path, shape: list[int]) -> None:
    tensors = load_file(model / "sbo_head.safetensors")
    tensors["cls.pair_target_predictions.position_embeddings.weight"] = torch.zeros(shape)
    save_file(tensors, model / "sbo_head.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"expected a table|max_span_offset is 0: give"):
        load(model)


@pytest.mark.parametrize(
    "lost", [WORDS, "bert.encoder.layer.1.output.LayerNorm.bias", "bert.encoder.layer.0.attention.self.key.weight"]
)
def test_tensors_that_are_missing_are_named(model: Path, lost: str) -> None:
    tensors = load_file(model / "model.safetensors")
    del tensors[lost]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"it lacks encoder\..* \(1 tensors\); save the model again"):
        import_model(model)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda index: index.pop("weight_map"), "its weight_map does not name a file for each tensor"),
        (lambda index: index.update(weight_map=["one.safetensors"]), "its weight_map does not name a file"),
        (lambda index: index.update(weight_map="one.safetensors"), "its weight_map does not name a file"),
        (lambda index: index["weight_map"].update({WORDS: 7}), "its weight_map does not name a file"),
        (lambda index: index["weight_map"].update({WORDS: ["one.safetensors"]}), "its weight_map does not name a file"),
        (
            lambda index: index["weight_map"].update({WORDS: "three.safetensors"}),
            "'three.safetensors', which is no file",
        ),
        (lambda index: index["weight_map"].update({WORDS: "../../etc/passwd"}), "'../../etc/passwd', which is no file"),
        (lambda index: index["weight_map"].update({WORDS: ""}), "a folder, pipe or device, expected a file"),
        (lambda index: index["weight_map"].update({WORDS: "config.json"}), "config.json: not a whole safetensors file"),
        (lambda index: index.update(weight_map={}), "a model of 2 layers, and 0 tensors"),
    ],
)
def test_an_index_of_the_wrong_shape_is_refused(in_parts: Path, change: Callable[[Any], object], told: str) -> None:
    load(in_parts)
    path = in_parts / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=told):
        load(in_parts)


def test_a_tensor_that_two_files_have_is_refused(in_parts: Path) -> None:
    both = load_file(in_parts / "one.safetensors") | load_file(in_parts / "two.safetensors")
    save_file(both, in_parts / "two.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"two.safetensors: .* is in another of the model's files, too"):
        load(in_parts)


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|a)+$", r"(x+x+)+y", r"(a|aa)+$"])
def test_a_regular_expression_that_explodes_is_one_error_in_bounded_time(
    with_tokenizer: Path, tmp_path: Path, pattern: str
) -> None:
    folder = Path(shutil.copytree(with_tokenizer, tmp_path / "model"))
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    path = folder / "tokenizer.json"
    path.write_text(changed(path.read_text(), lambda content: content.update(pre_tokenizer=split)))
    began = time.perf_counter()
    with pytest.raises(SpanmaskError, match=r"tokenizer.json: .*retry-limit"):
        list(infill(load(folder), read_tokenizer(folder), ["a" * 100 + "! <mask> " + "x" * 100 + "!"]))
    assert time.perf_counter() - began < 10


def _ask(folder: Path) -> str:
    """Go through every door of a model folder; return what came of it."""
    try:
        vocabulary = read_tokenizer(folder)
        model = load(folder)
        mask = vocabulary.entries[vocabulary.special.mask]
        list(infill(model, vocabulary, [f"the {mask} sat"], top=2))
    except SpanmaskError as error:
        return type(error).__name__
    return "used"


def _attack(folders: Sequence[Path], place: Path, seeds: range) -> Counter[str]:
    """Change one to three files of a model folder for each seed; every other error than ours is one of the test."""
    found: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        folder = Path(shutil.copytree(folders[seed % len(folders)], place / str(seed)))
        for path in rng.sample(sorted(folder.iterdir()), rng.choice([1, 1, 1, 2, 3])):
            changed_file(path, rng)
        began = time.perf_counter()
        found[_ask(folder)] += 1
        assert time.perf_counter() - began < 5, f"seed {seed}"
        shutil.rmtree(folder)
    return found


@pytest.mark.faults
@pytest.mark.parametrize("count", [60, pytest.param(figure(500, 2000), marks=pytest.mark.slow, id="slow")])
def test_no_model_folder_breaks_its_readers(
    exported: Path, with_tokenizer: Path, pickled: list[Path], tmp_path: Path, count: int
) -> None:
    found = _attack([exported, with_tokenizer, *pickled], tmp_path, range(count))
    print(f"{count} hostile model folders: {dict(found)}")
    assert found["ConfigError"] > count // 3
    assert found.total() == count
