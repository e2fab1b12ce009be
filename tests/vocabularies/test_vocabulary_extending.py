"""A BERT's vocabulary with pieces of a text added: they save the most tokens, each row is the mean of its parts', and nothing old moves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from safetensors.torch import load_file, save_file
from trained import accented_wordpiece, byte_level, saved, stories
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

from spanmask import ConfigError, PreshardConfig, Tokenizer, preshard, verify
from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export, load
from spanmask.train import TrainConfig, train
from spanmask.vocabularies.config import ExtendingConfig, TrainingConfig
from spanmask.vocabularies.extending import ExtendedModel, extend_model
from spanmask.vocabularies.pieces import Run, Words, choose_pieces
from spanmask.vocabularies.training import train_vocabulary

STORIES = stories()
#: Of another part of the stories than the vocabulary is made of, with what no piece may cross.
DOMAIN = STORIES[200_000:230_000] + " thrombocytopenia thrombocytopenias [MASK] 中文" * 40
SIZES: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of transformers' under ``bert``, whose embedding has rows beyond the vocabulary, and the text of another domain."""
    folder = tmp_path_factory.mktemp("extending")
    text = folder / "stories.txt"
    text.write_text(STORIES[:60_000], "utf-8")
    (folder / "domain.txt").write_text(DOMAIN, "utf-8")
    train_vocabulary(text, folder / "bert", TrainingConfig.of(size=500, cased=False))
    torch.manual_seed(1)
    bert = BertForMaskedLM(BertConfig(vocab_size=512, max_position_embeddings=64, **SIZES))
    torch.nn.init.normal_(bert.cls.predictions.bias)
    bert.save_pretrained(folder / "bert")
    return folder


@pytest.fixture(scope="module")
def extended(folder: Path) -> ExtendedModel:
    return extend_model(folder / "domain.txt", folder / "bert", folder / "new", ExtendingConfig(add=60))


def test_transformers_takes_the_folder_with_old_ids_and_scores_as_they_were(
    folder: Path, extended: ExtendedModel
) -> None:
    tokenizers = [AutoTokenizer.from_pretrained(folder / name) for name in ("bert", "new")]
    loaded = [AutoModelForMaskedLM.from_pretrained(folder / name, output_loading_info=True) for name in ("bert", "new")]
    assert not any(loaded[1][1][kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    old, new = tokenizers
    assert len(new) == len(old) + 60 == 560
    assert {entry: number for entry, number in new.get_vocab().items() if number < 500} == old.get_vocab()
    ids = old(STORIES[1_000:1_100], return_tensors="pt")
    before, after = (model.eval()(**ids).logits for model, _ in loaded)
    assert after.shape[-1] == 560
    assert torch.allclose(before[..., :500], after[..., :500], atol=1e-6)
    ours = Tokenizer(extended.vocabulary).encode([DOMAIN], specials="parse").token_ids.tolist()
    assert new(DOMAIN, add_special_tokens=False).input_ids == ours
    assert new("thrombocytopenia", add_special_tokens=False).input_ids[0] >= 500


def test_a_new_row_is_the_mean_of_those_its_text_had_and_old_rows_stay(folder: Path, extended: ExtendedModel) -> None:
    old, new = (load_file(folder / name / "model.safetensors") for name in ("bert", "new"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "bert")
    by_entry = {"bert.embeddings.word_embeddings.weight", "cls.predictions.bias"}
    assert {name for name in old if not torch.equal(old[name], new[name])} == by_entry
    firsts = [number for number, piece in enumerate(extended.pieces) if not piece.text.startswith("##")]
    assert len(firsts) > 20
    for name in by_entry:
        assert torch.equal(new[name][:500], old[name][:500])
        for number in firsts:
            parts = tokenizer(extended.pieces[number].text, add_special_tokens=False).input_ids
            assert extended.pieces[number].parts == tuple(parts)
            assert torch.allclose(new[name][500 + number], old[name][parts].mean(0), atol=1e-7)


def test_pieces_stand_in_words_of_the_text_and_cut_it_into_fewer_tokens(extended: ExtendedModel) -> None:
    texts = [piece.text for piece in extended.pieces]
    assert "thrombocytopenia" in texts
    assert all(text.removeprefix("##") in DOMAIN.lower() for text in texts)
    assert not {"[MASK]", "[mask]", "中文"} & set(texts)
    now, before = extended.measured
    assert now.text_bytes == before.text_bytes
    assert now.tokens < 0.9 * before.tokens


def test_the_same_text_gives_the_same_bytes(folder: Path, extended: ExtendedModel, tmp_path: Path) -> None:
    again = extend_model([folder / "domain.txt"], folder / "bert", tmp_path / "new", ExtendingConfig(add=60))
    assert again.pieces == extended.pieces
    for path in (folder / "new").iterdir():
        assert (tmp_path / "new" / path.name).read_bytes() == path.read_bytes()


def test_both_heads_of_a_model_trained_here_grow(folder: Path, tmp_path: Path) -> None:
    vocabulary = Tokenizer(str(folder / "bert")).vocabulary
    config = SpanBertConfig(vocab_size=500, hidden=16, layers=1, heads=2, intermediate=16, max_positions=32)
    model = SpanBertForPreTraining(config)
    with torch.no_grad():
        model.sbo.bias.copy_(torch.randn(model.sbo.bias.shape))
    export(model, tmp_path / "model", vocabulary)
    extended = extend_model(folder / "domain.txt", tmp_path / "model", tmp_path / "new", ExtendingConfig(add=3))
    heads = [load_file(tmp_path / name / "sbo_head.safetensors") for name in ("model", "new")]
    (name,) = [name for name in heads[0] if name.endswith("bias") and len(heads[0][name]) == 500]
    assert torch.equal(heads[1][name][:500], heads[0][name])
    assert torch.allclose(heads[1][name][500], heads[0][name][list(extended.pieces[0].parts)].mean())
    assert load(tmp_path / "new").config.vocab_size == 503


@pytest.mark.slow
def test_presharding_and_training_go_on_from_an_extended_model(
    folder: Path, extended: ExtendedModel, tmp_path: Path
) -> None:
    config = PreshardConfig.of(seed=1, max_tokens=32, vocab=str(folder / "new"))
    preshard(folder / "domain.txt", tmp_path / "shards", config, jobs=1)
    assert verify(tmp_path / "shards").ok
    options: dict[str, Any] = {
        "objective": "mlm",
        "steps": 2,
        "warmup": 1,
        "batch_size": 4,
        "device": "cpu",
        "compile": False,
    }
    train(
        tmp_path / "shards",
        tmp_path / "run",
        TrainConfig.of("fast", init_from=str(folder / "new"), threads=1, **options),
    )
    assert (tmp_path / "run").exists()
    assert extended.vocabulary.sha256 == Tokenizer(str(folder / "new")).vocabulary.sha256


# --- Choosing


def _chosen(words: dict[Run, int], entries: list[str], add: int) -> list[tuple[str, int]]:
    """The same, literally: every run is counted anew before each choice."""
    known, chosen = list(entries), list[tuple[str, int]]()
    while len(chosen) < add:
        counts = Counter[Run]()
        for word, times in words.items():
            for start in range(len(word)):
                for end in range(start + 2, len(word) + 1):
                    if 0 not in word[start:end]:
                        counts[word[start:end]] += times
        best = min(
            (
                (-count * (len(run) - 1), text, run)
                for run, count in counts.items()
                if count >= 2
                and (text := known[run[0]] + "".join(known[part].removeprefix("##") for part in run[1:])) not in known
            ),
            default=None,
        )
        if best is None:
            break
        _, text, run = best
        chosen.append((text, counts[run]))
        known.append(text)
        joined = Counter[Run]()
        for word, times in words.items():
            made, at = list[int](), 0
            while at < len(word):
                here = word[at : at + len(run)] == run
                made.append(len(known) - 1 if here else word[at])
                at += len(run) if here else 1
            joined[tuple(made)] += times
        words = dict(joined)
    return chosen


@given(st.dictionaries(st.lists(st.integers(0, 4), min_size=2, max_size=6).map(tuple), st.integers(1, 9), max_size=8))
def test_pieces_are_those_that_save_the_most_tokens_one_after_another(words: dict[Run, int]) -> None:
    entries = ["[UNK]", "a", "##a", "##b", "ab"]
    found = choose_pieces(Words(words, frozenset(range(1, 5))), entries, add=5, min_frequency=2)
    assert [(piece.text, piece.count) for piece in found] == _chosen(words, entries, 5)
    for piece in found:
        assert (
            entries[piece.parts[0]] + "".join(entries[part].removeprefix("##") for part in piece.parts[1:])
            == piece.text
        )


# --- What is refused


def _other_tokenizer(model: Path) -> None:
    (model / "vocab.txt").unlink()
    saved(byte_level(), model)


def _other_parts(model: Path) -> None:
    (model / "vocab.txt").unlink()
    saved(accented_wordpiece(), model)


def _no_tokenizer(model: Path) -> None:
    for name in ("vocab.txt", "tokenizer.json"):
        (model / name).unlink()


def _few_rows(model: Path) -> None:
    lines = (model / "vocab.txt").read_text("utf-8") + "".join(f"more{number}\n" for number in range(20))
    (model / "vocab.txt").write_text(lines, "utf-8")
    (model / "tokenizer.json").unlink()


def _no_number(model: Path) -> None:
    state = load_file(model / "model.safetensors")
    state["cls.predictions.bias"][3] = float("nan")
    save_file(state, model / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_other_tokenizer, "pieces are added to BERT's WordPiece alone, and its tokenizer.json is BPE"),
        (
            _other_parts,
            "pieces are added to BERT's WordPiece alone, and its tokenizer.json has other parts than BERT's",
        ),
        (_no_tokenizer, "vocab.txt"),
        (_few_rows, "512 rows, and the vocabulary 520 entries"),
        (lambda model: (model / "model.safetensors").unlink(), "no model.safetensors or pytorch_model.bin there"),
        (_no_number, "mlm.bias holds NaN"),
    ],
)
def test_a_model_that_cannot_be_added_to_is_refused(folder: Path, tmp_path: Path, change: Any, told: str) -> None:
    model = tmp_path / "bert"
    model.mkdir()
    for path in (folder / "bert").iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    change(model)
    with pytest.raises(ConfigError, match=told):
        extend_model(folder / "domain.txt", model, tmp_path / "new", ExtendingConfig(add=3))
    assert not (tmp_path / "new").exists()


def test_more_pieces_than_the_text_has_are_refused_and_nothing_is_replaced_unasked(
    folder: Path, tmp_path: Path
) -> None:
    text = tmp_path / "a.txt"
    text.write_text("thrombocytopenia and thrombocytopenia\n")
    out = tmp_path / "new"
    with pytest.raises(ConfigError, match=r"add is 9: 1 runs .* give a smaller number, more text"):
        extend_model(text, folder / "bert", out, ExtendingConfig(add=9))
    assert not out.exists()
    extend_model(text, folder / "bert", out, ExtendingConfig(add=1))
    before = (out / "vocab.txt").read_bytes()
    with pytest.raises(ConfigError, match="give another folder"):
        extend_model(folder / "domain.txt", folder / "bert", out, ExtendingConfig(add=2))
    assert (out / "vocab.txt").read_bytes() == before
    extend_model(folder / "domain.txt", folder / "bert", out, ExtendingConfig(add=2), overwrite=True)
    assert len(Tokenizer(str(out)).vocabulary) == 502
