"""The coreference head beside its literal twin, in float64: spans, pruning, losses, gradients' reach, antecedents in parts."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from planted import plant
from probes.coref_oracle import LiteralHead

from spanmask.model import SpanBertConfig, coreference
from spanmask.model.coreference import CorefShape, banded
from spanmask.probes.coref.segments import CutText, reaches

CONFIG = SpanBertConfig.of(vocab_size=9, hidden=6, layers=1, heads=1, intermediate=8, max_positions=16)
MAX_SPAN, TOP = 5, 0.6
#: Pieces of the words of each sentence, and mentions by entity, some of them not to be found: too long, or across sentences.
DOCUMENTS: dict[str, tuple[list[list[int]], list[list[tuple[int, int]]]]] = {
    "three sentences": (
        [[1, 2, 1, 1], [3, 1, 1], [1, 1, 1, 2, 1]],
        [[(0, 0), (4, 4), (7, 8)], [(1, 2), (9, 9)], [(5, 6)]],
    ),
    "nested and crossing": ([[1, 1, 1, 1, 1, 1]], [[(0, 2), (4, 4)], [(1, 3), (5, 5)], [(1, 1), (3, 3)]]),
    "a mention too long and one across": ([[2, 2, 2], [1, 1]], [[(0, 2), (3, 3)], [(2, 3), (4, 4)]]),
    "more mentions than distances are told apart": ([[1]] * 112, [[(0, 0), (1, 1), (111, 111)], [(2, 2), (60, 60)]]),
    "no mention": ([[1, 1], [1, 2]], []),
    "one word": ([[1]], [[(0, 0)]]),
    "a word longer than any span": ([[1, 6, 1]], [[(0, 0), (2, 2)]]),
}


def cut_of(sentences: list[list[int]], entities: list[list[tuple[int, int]]]) -> CutText:
    counts = np.array([count for words in sentences for count in words])
    ends = np.cumsum(counts)
    mentions = sorted((*mention, number) for number, held in enumerate(entities) for mention in held)
    return CutText(
        pieces=np.zeros(ends[-1], np.uint16),
        first=ends - counts,
        last=ends - 1,
        sentences=np.repeat(np.arange(len(sentences)), [len(words) for words in sentences]),
        texts=texts_of(len(ends)),
        bounds=np.array([0, ends[-1]]),
        mentions=np.array(mentions, np.int64).reshape(-1, 3),
    )


def texts_of(words: int) -> npt.NDArray[Any]:
    """Return the number of each word's text, so that some spans of one word and of more come again, and others do not."""
    return np.array([(0, 1, 2, 0, 1, 3)[number % 6] for number in range(words)], np.int64)


def given_of(cut: CutText) -> dict[str, torch.Tensor]:
    arrays = {"first": cut.first, "last": cut.last, "reach": reaches(cut, 0, len(cut.first), MAX_SPAN)}
    arrays |= {"texts": cut.texts, "mentions": cut.mentions, "pieces": np.array(len(cut.pieces))}
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


class Windows:
    """States of a document's pieces as bins of some, each one encoded by itself; see `spanmask.model.finetuning.GroupStates`."""

    def __init__(self, states: torch.Tensor, width: int = 1000) -> None:
        self.states, self.width, self.bins, self.at_once = states, width, -(-len(states) // width), 1

    def of(self, begin: int, end: int) -> torch.Tensor:
        return self.states[begin * self.width : end * self.width]


def head_of(ffnn: int = 0, *, singletons: bool = False, seed: int = 0) -> coreference.CorefHead:
    """A head with large weights and biases, so that scores differ and a wrong one is seen."""
    head = (
        coreference.CorefHead(CONFIG, CorefShape(ffnn=ffnn, dropout=0.3, top=TOP, singletons=singletons))
        .double()
        .eval()
    )
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
    return head


def literal(head: coreference.CorefHead, states: torch.Tensor, sentences: list[list[int]]) -> LiteralHead:
    weights = {name: value.numpy() for name, value in head.state_dict().items()}
    texts = texts_of(sum(map(len, sentences))).tolist()
    return LiteralHead(weights, states.numpy(), sentences, texts, singletons=head.shape.singletons)


def compare(name: str, ffnn: int, *, singletons: bool) -> None:
    sentences, entities = DOCUMENTS[name]
    head, cut = head_of(ffnn, singletons=singletons), cut_of(sentences, entities)
    states = torch.randn(len(cut.pieces), 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    twin, given = literal(head, states, sentences), given_of(cut)
    spans = [(start, start + size) for start, sizes in enumerate(given["reach"].tolist()) for size in range(sizes)]
    assert spans == twin.candidates(MAX_SPAN)
    with torch.no_grad():
        loss = float(head(states, given))
        assert abs(loss - twin.loss(MAX_SPAN, TOP, entities)) < 1e-8
        wanted = np.array(twin.rows(MAX_SPAN, TOP)).reshape(-1, 5)
        for width in (1000, 3, 1):
            rows = head.predict(Windows(states, width), given)
            assert rows.shape == wanted.shape
            assert np.abs(rows.numpy() - wanted).max() < 1e-8


@pytest.mark.parametrize("singletons", [False, True])
@pytest.mark.parametrize("ffnn", [0, 7])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_head_is_its_literal_twin(name: str, ffnn: int, singletons: bool) -> None:
    compare(name, ffnn, singletons=singletons)


def _compare_some() -> None:
    for name in ("three sentences", "nested and crossing", "a mention too long and one across", "no mention"):
        compare(name, 7, singletons=True)
        compare(name, 7, singletons=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "hidden.index_select(0, last - base)",
            "hidden.index_select(0, first - base)",
        ),
        ("stable=True)[:count].sort().values", "stable=True)[:count]"),
        ("stable=True)[:count].sort().values", "stable=True)[1 : count + 1].sort().values"),
        ("own.scores[:, None] + earlier.scores", "earlier.scores"),
        ("if not self.shape.singletons:", "if True:"),
        ("right=True) - 1", "right=False) - 1"),
        ("(own.alike[:, None, way] == earlier.alike[:, way]) * alike", "alike"),
        ("alike[:, way, None]", "alike[:, 0, None]"),
        ("numbers, words[ends]", "numbers, words[starts]"),
        ("== earlier.alike[:, way])", "== earlier.alike.flip(0)[:, way])"),
        ("words[(starts + place).clamp(max=len(words) - 1)] + 1, 0)", "starts + place + 1, 0)"),
        ("(numbers << 32) + further", "(numbers << 32)"),
        ("(numbers << 32) + further", "further"),
        (
            "words[(starts + place).clamp(max=len(words) - 1)] + 1, 0)",
            "words[(starts + place).clamp(max=len(words) - 1)], 0)",
        ),
        ("(scores - farthest) @", "scores @"),
        ("rows[:, None] + ahead - columns", "rows[:, None] - columns"),
        ("kept[scores[kept] > 0] if self.shape.singletons", "kept[scores[kept] > 0] if False"),
        ("(owners >= 0) & self.shape.singletons, torch.inf", "(owners >= 0) & False, torch.inf"),
        ("dtype=torch.bool).triu(ahead)", "dtype=torch.bool).triu(ahead + 1)"),
        ("torch.maximum(found, best[rows])", "found"),
        ("inside = ends - starts < reach[starts]", "inside = ends - starts <= reach[starts]"),
        ("ahead = rows.start - earlier.start", "ahead = rows.start"),
        ("none = torch.where(gold.any(1), -torch.inf, 0.0)", "none = torch.where(gold.any(1), 0.0, 0.0)"),
        ("functional.pad(scores, (1, 0)).logsumexp(1)", "scores.logsumexp(1)"),
        ('reduction="sum")', 'reduction="mean")'),
        ("told_apart / max(len(kept), 1)", "told_apart"),
        ("which[best <= 0] = -1", "pass"),
        ("_antecedent_losses(joint, owners[kept]).mean()", "_antecedent_losses(joint, owners[kept]).sum()"),
    ],
)
def test_the_comparison_catches_a_planted_wrong(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, coreference, old, new)
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        _compare_some()


def test_bands_are_the_products_of_all_pairs_close_by() -> None:
    generator = torch.Generator().manual_seed(1)
    for count, width in ((1, 1), (63, 5), (64, 30), (65, 30), (200, 64), (3, 9)):
        rows, columns = (torch.randn(count, 4, generator=generator, dtype=torch.float64) for _ in range(2))
        found, whole = banded(rows, columns, width), rows @ columns.T
        for row in range(count):
            own = whole[row, row : row + width]
            assert (found[row, : len(own)] - own).abs().max() < 1e-12
            assert not found[row, len(own) :].any()


def test_a_document_read_in_windows_and_blocks_is_the_same_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of spans that lie in two windows and more, of rows, and of blocks for which earlier windows are read again."""
    rng = random.Random(1)
    cut = cut_of([[rng.randint(1, 2) for _ in range(rng.randint(1, 9))] for _ in range(12)], [])
    states = torch.randn(len(cut.pieces), 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    head, given = head_of(5), given_of(cut)
    with torch.no_grad():
        whole = head.predict(Windows(states), given)
        # Each two of their values together.
        for first, second in itertools.product(range(3), repeat=2):
            rows, held, width = (1, 7, len(whole))[first], (1, 9, 1000)[second], (4, 30, 1)[(first + second) % 3]
            monkeypatch.setattr(coreference, "_ROWS", rows)
            monkeypatch.setattr(coreference, "_BLOCK_MENTIONS", held)
            assert (head.predict(Windows(states, width), given) - whole).abs().max() < 1e-12
    assert len(whole) > 20
    assert {-1} < set(whole[:, 2].tolist())


def test_of_equal_scores_the_first_span_is_kept_and_the_first_antecedent_taken_whatever_the_windows() -> None:
    head, cut = head_of(), cut_of([[1, 1, 1]] * 9, [])
    for parameter in head.parameters():
        parameter.data.zero_()
    head.start_score.bias.data.fill_(1.0)
    given = given_of(cut)
    states = torch.randn(len(cut.pieces), 6, dtype=torch.float64)
    with torch.no_grad():
        tables = [head.predict(Windows(states, width), given) for width in (1000, 4, 1)]
    assert tables[0][:, 2].tolist() == [-1] + [0] * 15
    assert tables[0][:, :2].tolist() == [list(span) for span in literal(head, states, [[1] * 3] * 9).candidates(5)[:16]]
    assert all(torch.equal(table, tables[0]) for table in tables)


def test_all_weights_learn_and_a_part_without_candidates_has_a_loss_without_effect() -> None:
    sentences, entities = DOCUMENTS["three sentences"]
    head, cut = head_of(7, singletons=True).train(), cut_of(sentences, entities)
    states = torch.randn(len(cut.pieces), 6, dtype=torch.float64, requires_grad=True)
    head(states, given_of(cut)).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    assert states.grad is not None
    head.zero_grad()
    empty = cut_of([[9]], [[(0, 0)]])
    loss = head(states[:9], given_of(empty))
    loss.backward()
    assert loss.item() == 0
    assert not any(parameter.grad.abs().sum() for parameter in head.parameters() if parameter.grad is not None)
    assert head.eval().predict(Windows(states[:9]), given_of(empty)).shape == (0, 5)


def test_the_head_of_facts_has_as_many_weights_as_told() -> None:
    config = SpanBertConfig.of(vocab_size=9, hidden=768, layers=1, heads=12, intermediate=8, max_positions=16)
    with torch.device("meta"):
        heads = {ffnn: coreference.CorefHead(config, CorefShape(ffnn=ffnn)) for ffnn in (0, 1024)}
    count = {ffnn: sum(weights.numel() for weights in head.parameters()) for ffnn, head in heads.items()}
    assert round(count[1024] / 1e6, 1) == 8.4
    assert round(count[0] / 1e6, 1) == 3.0


def test_scores_of_a_wide_head_begin_small_and_updates_move_them_little() -> None:
    torch.manual_seed(5)
    head = coreference.CorefHead(CONFIG, CorefShape(ffnn=1024, dropout=0.0, top=TOP, singletons=True))
    cut = cut_of([[1] * 30], [[(place, place) for place in range(first, 30, 5)] for first in range(3)])
    states, given = torch.randn(30, CONFIG.hidden), given_of(cut)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-4)
    largest = []
    for _ in range(8):
        largest.append(float(head.predict(Windows(states), given)[:, 3:].detach().abs().max()))
        optimizer.zero_grad()
        head(states, given).backward()
        optimizer.step()
    assert largest[0] < 10
    assert max(largest) < 40
