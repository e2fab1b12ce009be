"""Sequences of a bin do not see each other, whichever way attention is computed."""

from __future__ import annotations

from typing import Any

import literal_model as literal
import pytest
import torch
from torch import Tensor

from spanmask.errors import ConfigError
from spanmask.model import Attention, PackedTensors, SboTensors, SpanBertConfig, SpanBertEncoder, SpanBertForPreTraining
from spanmask.model.attention import Neighbours, SelfAttention, neighbours_of, resolve_attention
from spanmask.model.loss import objective_scales

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def _config(**changes: Any) -> SpanBertConfig:
    sizes = {"hidden": 16, "layers": 3, "heads": 2, "intermediate": 32, "max_positions": 64, "vocab_size": 50}
    return SpanBertConfig(**(sizes | {"hidden_dropout": 0.0, "attention_dropout": 0.0} | changes))


def _encoder(**changes: Any) -> SpanBertEncoder:
    torch.manual_seed(3)
    encoder = SpanBertEncoder(_config(**changes)).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) / 3)
    return encoder


def _pack(bins: list[list[list[int]]], width: int) -> PackedTensors:
    lists = literal.pack([[(ids, [], []) for ids in members] for members in bins], width=width, mlm=1, sbo=0)
    fields = {name: torch.tensor(values, dtype=torch.int32) for name, values in lists.items()}
    boundary = SboTensors(**{name: fields.pop(f"sbo_{name}") for name in SboTensors._fields})
    return PackedTensors(**fields, sbo=boundary)


def _sequences(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(50, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("way", ["sdpa", "unpadded"])
def test_packed_sequences_have_the_hidden_states_they_have_alone(way: str) -> None:
    encoder = _encoder(attention=way)
    one, two, three, four, five = _sequences(7, 20, 3, 32, 1)
    packed = encoder(_pack([[one, two, three], [four], [], [five]], 32)).view(4, 32, 16)
    places = [(one, 0, 0), (two, 0, 7), (three, 0, 27), (four, 1, 0), (five, 3, 0)]
    for ids, row, start in places:
        alone = encoder(_pack([[ids]], len(ids)))
        torch.testing.assert_close(packed[row, start : start + len(ids)], alone, rtol=0, atol=1e-12)


def test_padding_sees_itself_alone_as_one_more_sequence() -> None:
    """As it does in the kernel for unequal lengths, to which a bin's padding is a run like any other."""
    encoder, (ids,) = _encoder(attention="sdpa"), _sequences(7)
    packed = encoder(_pack([[ids], []], 12)).view(2, 12, 16)
    for row, start in ((0, 7), (1, 0)):
        alone = encoder(_pack([[[0] * (12 - start)]], 12 - start))
        torch.testing.assert_close(packed[row, start:], alone, rtol=0, atol=1e-12)


def test_unpadded_gives_the_states_and_gradients_of_masked_attention_and_zeros_for_padding() -> None:
    one, two, three, four, five = _sequences(7, 20, 3, 32, 1)
    batch = _pack([[one, two, three], [], [four], [five]], 32)
    tokens = batch.sequence_index.flatten() > 0
    states, gradients = {}, {}
    for way in ("sdpa", "unpadded"):
        encoder = _encoder(attention=way)
        states[way] = encoder(batch)
        torch.manual_seed(1)
        (states[way][tokens] * torch.randn(int(tokens.sum()), 16, dtype=torch.float64)).sum().backward()
        gradients[way] = [parameter.grad for parameter in encoder.parameters()]
    torch.testing.assert_close(states["unpadded"][tokens], states["sdpa"][tokens], rtol=0, atol=1e-12)
    assert not states["unpadded"][~tokens].any()
    torch.testing.assert_close(gradients["unpadded"], gradients["sdpa"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("way", ["sdpa", "unpadded"])
def test_hidden_states_are_those_of_the_literal_twin(way: str) -> None:
    encoder, (ids, other) = _encoder(attention=way), _sequences(6, 5)
    parameters = {f"encoder.{name}": value for name, value in encoder.named_parameters()}
    packed = encoder(_pack([[other, ids]], 14))
    expected = torch.stack(literal.encode(parameters, ids, layers=3, heads=2))
    torch.testing.assert_close(packed[5:11], expected, rtol=0, atol=1e-12)


def test_what_a_sequence_holds_changes_nothing_for_its_neighbours() -> None:
    encoder, (ids, one) = _encoder(), _sequences(9, 9)
    first, second = (encoder(_pack([[other, ids]], 24)) for other in (one, one[::-1]))
    assert torch.equal(first[9:], second[9:])
    assert not torch.allclose(first[:9], second[:9])


@pytest.mark.parametrize("way", ["sdpa", "unpadded"])
def test_bins_of_padding_alone_are_finite_forward_and_backward(way: str) -> None:
    torch.manual_seed(0)
    model = SpanBertForPreTraining(_config(attention=way))
    output = model(_pack([[], []], 16), objective_scales(0, 0))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None)


def test_masked_attention_is_the_naive_one() -> None:
    torch.manual_seed(4)
    attention = SelfAttention(_config()).double()
    hidden = torch.randn(10, 16, dtype=torch.float64)
    index = torch.tensor([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]])
    mask = index[:, None, :, None] == index[:, None, None, :]
    found = attention(hidden, Neighbours(torch.empty(0), mask, 5))
    query, key, value = (hidden @ attention.qkv.weight.T + attention.qkv.bias).split(16, dim=1)
    heads: list[Tensor] = []
    for columns in (slice(0, 8), slice(8, 16)):
        runs = [(0, 2), (2, 4), (4, 5), (5, 10)]
        parts = [
            literal.attend(*(list(part[start:end, columns]) for part in (query, key, value))) for start, end in runs
        ]
        heads.append(torch.stack([row for part in parts for row in part]))
    expected = torch.cat(heads, dim=1) @ attention.out.weight.T + attention.out.bias
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_the_kernel_for_unequal_lengths_takes_what_it_is_given() -> None:
    """On the meta device, which computes shapes alone: the kernel itself runs on CUDA only."""
    attention = SelfAttention(_config()).to("meta", torch.bfloat16)
    hidden = torch.empty(2 * 32, 16, device="meta", dtype=torch.bfloat16)
    bounds = torch.empty(9, device="meta", dtype=torch.int32)
    assert attention(hidden, Neighbours(bounds, None, 32)).shape == (64, 16)


@pytest.mark.parametrize(
    ("policy", "device", "dtype", "dropout", "way"),
    [
        ("auto", CUDA, torch.bfloat16, 0.0, "varlen"),
        ("auto", CUDA, torch.float16, 0.0, "varlen"),
        ("auto", CUDA, torch.bfloat16, 0.1, "sdpa"),
        ("auto", CUDA, torch.float32, 0.0, "sdpa"),
        ("auto", CPU, torch.bfloat16, 0.0, "unpadded"),
        ("auto", CPU, torch.float32, 0.1, "unpadded"),
        ("sdpa", CPU, torch.float32, 0.0, "sdpa"),
        ("sdpa", CUDA, torch.bfloat16, 0.0, "sdpa"),
        ("varlen", CUDA, torch.bfloat16, 0.0, "varlen"),
    ],
)
def test_auto_takes_the_kernel_where_it_can_be_used(
    policy: str, device: torch.device, dtype: torch.dtype, dropout: float, way: str
) -> None:
    assert resolve_attention(Attention(policy), device, dtype, dropout) is Attention(way)


@pytest.mark.parametrize(("device", "dtype"), [(CPU, torch.bfloat16), (CUDA, torch.float32)])
def test_varlen_where_it_cannot_be_used_is_refused(device: torch.device, dtype: torch.dtype) -> None:
    with pytest.raises(
        ConfigError, match=rf"varlen computes 16-bit floats on CUDA, found {dtype} on {device.type}: give"
    ):
        resolve_attention(Attention.VARLEN, device, dtype, 0.0)


def test_unpadded_where_it_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="unpadded computes on CPU, not compiled, found on cuda: give auto or sdpa"):
        resolve_attention(Attention.UNPADDED, CUDA, torch.bfloat16, 0.0)


def test_what_is_compiled_is_padded() -> None:
    """Its shapes are constant: the graph that is traced whole sees masked attention."""
    found: list[Attention] = []

    def traced(hidden: Tensor) -> Tensor:
        found.append(resolve_attention(Attention.AUTO, CPU, torch.float32, 0.0))
        return hidden + 1

    torch.compile(traced, fullgraph=True, backend="eager")(torch.zeros(2))
    assert found == [Attention.SDPA]


def test_a_model_that_asks_for_varlen_is_refused_on_a_processor() -> None:
    with pytest.raises(ConfigError, match="give auto or sdpa"):
        _encoder(attention=Attention.VARLEN)(_pack([_sequences(4)], 8))


def test_bins_wider_than_the_positions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"bins of 65 slots, and the model has 64 positions: pack to that width"):
        _encoder()(_pack([_sequences(4)], 65))


@pytest.mark.parametrize("dropout", ["hidden_dropout", "attention_dropout"])
def test_dropout_is_seeded_by_torch_and_off_in_evaluation(dropout: str) -> None:
    encoder, batch = _encoder(**{dropout: 0.3}), _pack([_sequences(5, 6)], 12)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        states: Tensor = encoder(batch)
        return states.detach()

    assert torch.equal(run(1), run(1))
    assert not torch.allclose(run(1), run(2))
    encoder.eval()
    assert torch.equal(run(1), run(2))
    torch.testing.assert_close(run(1), _encoder()(batch).detach(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("lengths", [[5], [5, 6, 2], [70, 3, 90, 40, 1]])
def test_attention_with_dropout_that_drops_nothing_is_the_one_without(
    monkeypatch: pytest.MonkeyPatch, lengths: list[int]
) -> None:
    batch = _pack([_sequences(*lengths)], sum(lengths) + 1)
    changes = {"max_positions": 256, "attention": "unpadded"}
    expected = _encoder(**changes)(batch)
    monkeypatch.setattr("spanmask.model.attention.dropout", lambda values, share: values)
    found = _encoder(**changes, attention_dropout=0.5)(batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("lengths", "parts"),
    [
        ([], [[7]]),
        ([10, 20], [[10, 20], [7]]),
        ([64], [[64], [7]]),
        ([65, 1], [[65], [1], [7]]),
        ([60, 4, 1, 500, 63, 1, 1], [[60, 4], [1], [500], [63, 1], [1], [7]]),
    ],
)
def test_short_sequences_are_computed_together_and_long_ones_alone(lengths: list[int], parts: list[list[int]]) -> None:
    batch = _pack([_sequences(*lengths), [], _sequences(7)], max(sum(lengths), 7) + 1)
    found = neighbours_of(batch, Attention.UNPADDED, torch.float64).parts
    assert [size for size, _ in found] == [sum(part) for part in parts]
    assert [mask is None for _, mask in found] == [len(part) == 1 for part in parts]


@pytest.mark.gpu
def test_both_ways_agree_on_an_accelerator() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    lengths = [[200, 150, 100], [512], [], [1, 511]]
    generator = torch.Generator().manual_seed(2)
    bins = [[torch.randint(50, (n,), generator=generator).tolist() for n in row] for row in lengths]
    batch = _pack(bins, 512).to("cuda")
    states = {}
    for way in ("varlen", "sdpa"):
        torch.manual_seed(0)
        config = _config(hidden=128, intermediate=256, max_positions=512, attention=Attention(way))
        states[way] = SpanBertEncoder(config).to("cuda", torch.bfloat16)(batch)
    torch.testing.assert_close(states["varlen"], states["sdpa"], rtol=0.02, atol=0.05)
