"""What a model puts in place of masks, against its own heads applied by hand, and against transformers."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from small import VOCABULARY
from torch import Tensor
from trained import byte_level
from transformers import BertForMaskedLM

from spanmask.errors import ConfigError
from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export, infill, padded_tensors
from spanmask.vocab import Vocabulary, vocabulary_from_tokenizer

SIZES = {"vocab_size": 80, "hidden": 32, "layers": 2, "heads": 2, "intermediate": 48, "max_positions": 16}
#: Ids of the small vocabulary.
CLS, SEP, MASK = 6, 7, 8
WORD = VOCABULARY.ids


def _model(**changes: Any) -> SpanBertForPreTraining:
    torch.manual_seed(1)
    model = SpanBertForPreTraining(SpanBertConfig.from_json(SIZES | changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows = 80 if name.endswith(("words.weight", "mlm.bias", "sbo.bias")) else len(parameter)
            parameter[:rows] = torch.randn(parameter[:rows].shape) / 3
    return model


def _words(count: int) -> list[str]:
    return [entry for entry in VOCABULARY.entries if entry.startswith("w")][:count]


def _one(model: SpanBertForPreTraining, text: str, **options: Any) -> Any:
    [found] = infill(model, VOCABULARY, [text], **options)
    return found


def _hidden(model: SpanBertForPreTraining, ids: list[int]) -> Tensor:
    row = torch.tensor([ids])
    with torch.no_grad():
        states: Tensor = model.eval().encoder(padded_tensors(row, torch.ones_like(row)))
    return states


def _by_boundaries(model: SpanBertForPreTraining, hidden: Tensor, left: int, right: int, offset: int) -> Tensor:
    """The paper's §3.2, literally: log probabilities (80,) from the states of two tokens and a place."""
    head = model.sbo
    assert head is not None
    with torch.no_grad():
        state = torch.cat([hidden[left], hidden[right], head.offsets.weight[offset]])
        for step in (head.first, head.second):
            dense = step.dense.weight @ state + step.dense.bias
            gelu = torch.tensor([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in dense.tolist()])
            spread = ((gelu - gelu.mean()) ** 2).mean()
            state = (gelu - gelu.mean()) / torch.sqrt(spread + 1e-12) * step.norm.weight + step.norm.bias
        scores = (model.encoder.embeddings.words.weight @ state + head.bias)[:80]
        return scores.double().log_softmax(0)


def test_each_maximal_run_of_masks_is_a_span() -> None:
    a, b, c = _words(3)
    found = _one(_model(), f"[MASK] {a} [MASK][MASK] {b} {c} [MASK]")
    assert found.ids == (CLS, MASK, WORD[a], MASK, MASK, WORD[b], WORD[c], MASK, SEP)
    assert [(span.start, span.end) for span in found.spans] == [(1, 2), (3, 5), (7, 8)]
    assert [len(span.tokens) for span in found.spans] == [1, 2, 1]


def test_mlm_guesses_are_those_of_transformers(tmp_path: Path) -> None:
    model = _model()
    export(model, tmp_path, VOCABULARY)
    bert = BertForMaskedLM.from_pretrained(tmp_path).eval()
    a, b, c = _words(3)
    found = _one(model, f"{a} [MASK] [MASK] {b} {c} [MASK]", top=4)
    with torch.no_grad():
        theirs = bert(input_ids=torch.tensor([found.ids])).logits[0].double().log_softmax(1)
    seen = 0
    for span in found.spans:
        for place, token in zip(range(span.start, span.end), span.tokens, strict=True):
            values, ids = theirs[place].topk(4)
            assert [guess.id for guess in token.mlm] == ids.tolist()
            assert [guess.log_probability for guess in token.mlm] == pytest.approx(values.tolist(), abs=1e-5)
            seen += 1
    assert seen == 3


def test_sbo_guesses_come_from_the_tokens_outside_the_span_and_the_place_in_it() -> None:
    model = _model()
    a, b = _words(2)
    found = _one(model, f"{a} [MASK] [MASK] [MASK] {b}", top=80)
    [span] = found.spans
    hidden = _hidden(model, [CLS, WORD[a], MASK, MASK, MASK, WORD[b], SEP])
    for offset, token in enumerate(span.tokens):
        wanted = _by_boundaries(model, hidden, 1, 5, offset)
        assert token.sbo is not None
        assert [guess.id for guess in token.sbo] == wanted.argsort(descending=True).tolist()
        assert {g.id: g.log_probability for g in token.sbo} == pytest.approx(dict(enumerate(wanted.tolist())), abs=1e-4)


def test_special_tokens_bound_a_span_that_is_the_whole_text() -> None:
    model = _model()
    [span] = _one(model, "[MASK] [MASK]").spans
    wanted = _by_boundaries(model, _hidden(model, [CLS, MASK, MASK, SEP]), 0, 3, 1)
    assert span.tokens[1].sbo[0].id == int(wanted.argmax())


def test_the_joined_span_is_the_best_of_all_spans() -> None:
    """Searched for among all pairs of ids."""
    [span] = _one(_model(), f"{_words(1)[0]} [MASK] [MASK]", top=80).spans
    by = {
        way: [{guess.id: guess.log_probability for guess in getattr(token, way)} for token in span.tokens]
        for way in ("mlm", "sbo")
    }
    by["both"] = [{id: one[id] + other[id] for id in one} for one, other in zip(by["mlm"], by["sbo"], strict=True)]
    best = {way: max(product(range(80), repeat=2), key=lambda p: t[0][p[0]] + t[1][p[1]]) for way, t in by.items()}
    for way, pair in best.items():
        joined = getattr(span, way)
        assert joined.ids == pair
        assert joined.log_probability == pytest.approx(sum(by[way][i][pair[i]] for i in range(2)))
    assert len(set(best.values())) == 3, "the three ways differ here, or the test shows nothing"


def test_probabilities_of_all_ids_add_up_to_one_and_none_is_padding() -> None:
    [span] = _one(_model(), "[MASK]", top=1000).spans
    for guesses in (span.tokens[0].mlm, span.tokens[0].sbo):
        assert sorted(guess.id for guess in guesses) == list(range(80))
        assert sum(math.exp(guess.log_probability) for guess in guesses) == pytest.approx(1)


def test_beyond_the_table_of_offsets_the_boundary_head_is_silent() -> None:
    model = _model(max_span_offset=2)
    long, short = _one(model, f"[MASK] [MASK] [MASK] {_words(1)[0]} [MASK] [MASK]").spans
    assert [token.sbo is None for token in long.tokens] == [False, False, True]
    assert (long.sbo, long.both) == (None, None)
    assert long.mlm.ids == tuple(token.mlm[0].id for token in long.tokens)
    assert short.both is not None
    hidden = _hidden(model, [CLS, MASK, MASK, MASK, WORD[_words(1)[0]], MASK, MASK, SEP])
    wanted = _by_boundaries(model, hidden, 4, 7, 1)
    assert short.tokens[1].sbo[0].id == int(wanted.argmax())


def test_a_model_without_the_boundary_head_answers_by_mlm_alone() -> None:
    [span] = _one(_model(objective="mlm"), "[MASK] [MASK]").spans
    assert (span.sbo, span.both, span.tokens[0].sbo) == (None, None, None)
    assert len(span.tokens[0].mlm) == 5


def test_texts_are_answered_in_order_and_each_alone() -> None:
    a, b = _words(2)
    model, texts = _model(), [f"{a} [MASK]", f"[MASK] {b} {b}", f"{a} [MASK]"]
    found = list(infill(model, VOCABULARY, texts))
    assert [one.text for one in found] == texts
    assert [one.ids for one in found] == [one.ids for text in texts for one in infill(model, VOCABULARY, [text])]
    assert found[0] == found[2] == _one(model, texts[0])


def test_dropout_is_off_meanwhile_and_the_mode_is_left_as_it_was() -> None:
    model = _model(hidden_dropout=0.5, attention_dropout=0.5).train()
    assert _one(model, "[MASK] [MASK]") == _one(model, "[MASK] [MASK]")
    assert model.training


def test_other_tokenizers_call_their_mask_token_otherwise() -> None:
    vocabulary = vocabulary_from_tokenizer("x", byte_level())
    torch.manual_seed(1)
    model = SpanBertForPreTraining(SpanBertConfig.from_json(SIZES | {"vocab_size": len(vocabulary)}))
    [found] = infill(model, vocabulary, ["the old <mask> fell"])
    assert found.ids.count(vocabulary.special.mask) == 1
    assert (found.ids[0], found.ids[-1]) == (vocabulary.special.cls, vocabulary.special.sep)
    with pytest.raises(ConfigError, match="the text has no <mask>: write <mask> once for each"):
        infill(model, vocabulary, ["the old [MASK] fell"])


def test_a_smaller_vocabulary_than_the_models_gives_its_own_ids_only() -> None:
    fewer = Vocabulary(name="fewer", entries=VOCABULARY.entries[:70], cased=True)
    [found] = infill(_model(), fewer, ["[MASK]"], top=100)
    assert sorted(guess.id for guess in found.spans[0].tokens[0].mlm) == list(range(70))


# --- Refused


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["w20"], r"the text has no \[MASK\]: write \[MASK\] once for each token that is to be filled in"),
        (["[MASK]", ""], r"text 2 of 2 has no \[MASK\]"),
        (["[MASK] " * 15], "the text has 17 tokens with the special ones, and the model 16 positions: shorten it"),
        (["[MASK]", "[MASK] " * 40], "text 2 of 2 has 42 tokens"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_before_anything_is_answered(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        infill(_model(), VOCABULARY, texts)


def test_a_text_that_just_fits_is_answered() -> None:
    assert len(_one(_model(), "[MASK] " * 14).spans[0].tokens) == 14


def test_another_models_tokenizer_is_refused() -> None:
    more = Vocabulary(name="more", entries=(*VOCABULARY.entries, "extra"), cased=True)
    with pytest.raises(ConfigError, match="vocabulary more has 81 entries, and the model 80: give the model's own"):
        infill(_model(), more, ["[MASK]"])
    with pytest.raises(ConfigError, match="top is 0: give 1 or more"):
        infill(_model(), VOCABULARY, ["[MASK]"], top=0)
