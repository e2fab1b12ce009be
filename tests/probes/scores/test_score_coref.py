"""Coreference's metrics: worked by hand, equal to their definitions, and equal to the official scorer on all of its own cases."""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coref_oracle
import pytest
from coref_cases import CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import partitions

from spanmask.errors import ConfigError, CorpusError, MissingExtraError
from spanmask.probes.scores import conll, coref, coref_metrics

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "coref"
METRICS = ["muc", "bcub", "ceafm", "ceafe", "blanc", "lea", "mentions"]
RIGHT = {metric: {"recall": 1, "precision": 1, "f1": 1} for metric in METRICS} | {"conll_f1": 1}
Partition = list[list[str]]


def entities(partition: str | Partition) -> list[list[tuple[int, int]]]:
    """Return mentions of one token each for the names of mentions, which are letters."""
    return [
        [(ord(name), ord(name)) for name in names]
        for names in (partition.split() if isinstance(partition, str) else partition)
    ]


def scored(key: str | Partition, response: str | Partition, **options: Any) -> dict[str, Any]:
    return coref.score_documents([(entities(key), entities(response))], **options)


def assert_figures(
    found: Mapping[str, float], recall: Fraction, precision: Fraction, f1: Fraction | None = None
) -> None:
    if f1 is None:
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else Fraction(0)
    assert found == pytest.approx({"recall": float(recall), "precision": float(precision), "f1": float(f1)}, abs=1e-12)


def check(case: Case) -> None:
    """Hold a case's metrics against what was worked out for it."""
    found = scored(case.key, case.response)
    for metric, (recall, precision) in case.figures.items():
        assert_figures(found[metric], recall, precision)
    if case.blanc is not None:
        kinds = [(r, p, 2 * r * p / (r + p) if r + p else Fraction(0)) for r, p in filter(None, case.blanc)]
        mean = [sum(column, Fraction(0)) / len(kinds) for column in zip(*kinds, strict=True)] or [Fraction(0)] * 3
        assert_figures(found["blanc"], *mean)


def check_all() -> None:
    for case in CASES.values():
        check(case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_partitions_score_as_worked_by_hand(case: Case) -> None:
    check(case)


def _without_own_links(meeting: coref_metrics.Meeting) -> tuple[float, float]:
    resolved, whole, _, _ = coref_metrics.lea(meeting)
    return resolved - sum(meeting.key[one] == meeting.response[other] == 1 for one, other in meeting.shared), whole


def _greedy(values: Mapping[tuple[int, int], float]) -> float:
    taken: set[tuple[str, int]] = set()
    total = 0.0
    for (one, other), value in values.items():
        if not {("key", one), ("response", other)} & taken:
            taken |= {("key", one), ("response", other)}
            total += value
    return total


def _count(name: str, wrong: Callable[[coref_metrics.Meeting], tuple[float, ...]]) -> tuple[Any, str, Any]:
    return coref_metrics.COUNTS, name, lambda meeting: (*wrong(meeting)[:2], *wrong(meeting.swapped())[:2])


#: What is put wrong: where it stands, its name there, and what it becomes.
WRONG: dict[str, tuple[Any, str, Any]] = {
    "MUC over mentions": _count("muc", lambda m: (sum(m.shared.values()), sum(m.key))),
    "MUC over one link too many": _count("muc", lambda m: (sum(n - 1 for n in m.shared.values()), sum(m.key) - 1)),
    "B³ over the other side's entity": _count(
        "bcub", lambda m: (sum(n**2 / m.response[r] for (_, r), n in m.shared.items()), sum(m.key))
    ),
    "B³ of entities": _count("bcub", lambda m: (sum(n / m.key[k] for (k, _), n in m.shared.items()), sum(m.key))),
    "φ3 over entities": _count("ceafm", lambda m: (coref_metrics.ceafm(m)[0], len(m.key))),
    "φ4 not doubled": _count("ceafe", lambda m: (coref_metrics.ceafe(m)[0] / 2, len(m.key))),
    "φ3 for φ4": _count("ceafe", coref_metrics.ceafm),
    "MUC's links in BLANC": _count("coreferent", coref_metrics.muc),
    "other links that were joined": _count(
        "apart", lambda m: (coref_metrics.apart(m)[0] - coref_metrics.coreferent(m)[0], coref_metrics.apart(m)[1])
    ),
    "no own links in LEA": _count("lea", _without_own_links),
    "LEA without weights": _count("lea", coref_metrics.coreferent),
    "a greedy assignment": (coref_metrics, "_assigned", _greedy),
    "no assignment": (coref_metrics, "_assigned", lambda values: sum(values.values())),
    "mentions twice": (coref, "distinct", lambda entities, least=1: entities),
    "the last entity keeps": (
        coref,
        "distinct",
        lambda entities, least=1: coref_metrics.distinct(entities[::-1], least=least),
    ),
    "BLANC of one half": (coref, "_blanc", lambda coreferent, _apart: coref._figures(*coref._rates(coreferent))),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_worked_cases_catch_a_planted_wrong(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, value = WRONG[wrong]
    if isinstance(owner, dict):
        monkeypatch.setitem(owner, name, value)
    else:
        monkeypatch.setattr(owner, name, value)
    with pytest.raises(AssertionError):
        check_all()


# --- Against the definitions


@settings(max_examples=60, deadline=None)
@given(key=partitions(), response=partitions())
def test_every_metric_equals_its_definition(key: Partition, response: Partition) -> None:
    found = scored(key, response)
    for metric, define in coref_oracle.METRICS.items():
        assert_figures(found[metric], *define([set(names) for names in key], [set(names) for names in response]))
    ranked = [found[metric]["f1"] for metric in ("muc", "bcub", "ceafe")]
    assert found["conll_f1"] == pytest.approx(sum(ranked) / 3)


@settings(max_examples=40, deadline=None)
@given(key=partitions())
def test_a_key_equals_itself_wherever_it_has_what_a_metric_counts(key: Partition) -> None:
    found = scored(key, key)
    mentions, linked = sum(map(len, key)), any(len(names) > 1 for names in key)
    counted = dict.fromkeys(METRICS, mentions > 0) | {"muc": linked, "blanc": mentions > 1}
    for metric, some in counted.items():
        assert_figures(found[metric], Fraction(some), Fraction(some))


@settings(max_examples=40, deadline=None)
@given(key=partitions(), response=partitions())
def test_exchanging_the_sides_exchanges_recall_and_precision(key: Partition, response: Partition) -> None:
    """BLANC is left out where one side has one kind of links alone, since there it asks the key which kinds count."""
    one, other = scored(key, response), scored(response, key)
    sides = [[set(names) for names in side] for side in (key, response)]
    kinds = [(bool(coref_oracle.links(side)), bool(coref_oracle.others(side))) for side in sides]
    for metric in METRICS:
        if metric != "blanc" or kinds[0] == kinds[1]:
            swapped = {
                "recall": other[metric]["precision"],
                "precision": other[metric]["recall"],
                "f1": other[metric]["f1"],
            }
            assert one[metric] == pytest.approx(swapped, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(key=partitions(), response=partitions(), random=st.randoms(use_true_random=False))
def test_the_order_of_entities_and_mentions_changes_nothing(key: Partition, response: Partition, random: Any) -> None:
    before = scored(key, response)
    for side in (key, response):
        random.shuffle(side)
        for names in side:
            random.shuffle(names)
    after = scored(key, response)
    for metric in METRICS:
        assert after[metric] == pytest.approx(before[metric], abs=1e-12)


def test_documents_are_added_up_before_anything_is_divided() -> None:
    documents = [("ab cd", "ab cd"), ("abcdef", "ab")]
    found = coref.score_documents([(entities(key), entities(response)) for key, response in documents])
    assert_figures(found["muc"], Fraction(1 + 1 + 1, 2 + 5), Fraction(1 + 1 + 1, 2 + 1))
    assert_figures(found["bcub"], (4 + 2 * Fraction(2, 6)) / 10, Fraction(6, 6))
    assert_figures(found["mentions"], Fraction(6, 10), Fraction(6, 6))
    # Mentions of two documents are no pair of BLANC.
    pairs = Fraction(3, 17), Fraction(3, 3), Fraction(6, 20)
    assert_figures(found["blanc"], *((part + Fraction(1)) / 2 for part in pairs))


def test_singletons_are_left_out_of_both_sides_only_where_asked() -> None:
    kept, dropped = scored("a bc def", "a b cde f"), scored("a bc def", "a b cde f", singletons="drop")
    assert dropped == scored("bc def", "cde")
    assert kept["muc"] == dropped["muc"]
    assert kept["bcub"]["recall"] > dropped["bcub"]["recall"]


def test_a_mention_repeated_in_the_key_counts_once() -> None:
    assert scored("ab ac", "ab ac") == scored("ab c", "ab c")
    assert scored("ab ac", "ab ac")["conll_f1"] == 1


def test_an_entity_too_many_costs_no_matrix_of_a_whole_document() -> None:
    """Four thousand singletons, of which entities of three are mixed up: a matrix of all would hold sixteen million numbers."""
    alone = [[(token, token)] for token in range(4_000)]
    mixed = [[(20_000 + 2 * place, 20_000), (20_001 + 2 * place, 20_000)] for place in range(20)]
    crossed = [[one[0], other[1]] for one, other in zip(mixed, mixed[1:] + mixed[:1], strict=True)]
    found = coref.score_documents([(alone + mixed, alone[:3_999] + crossed)])
    assert found["ceafm"]["recall"] == pytest.approx((3_999 + 20) / 4_040)


# --- Files


def _write(path: Path, documents: Mapping[str, tuple[int, str | Partition]]) -> Path:
    """Write documents of so many tokens, named by letters from a on, whose mentions are a token each."""
    conll.write_conll(
        path,
        {
            name: (
                [[chr(97 + token) for token in range(tokens)]],
                [
                    [(ord(letter) - 97, ord(letter) - 97) for letter in names]
                    for names in (p.split() if isinstance(p, str) else p)
                ],
            )
            for name, (tokens, p) in documents.items()
        },
    )
    return path


def test_files_score_as_their_entities_do(tmp_path: Path) -> None:
    gold = _write(tmp_path / "gold.conll", {"(x); part 000": (6, "a bc def"), "(x); part 001": (6, "abc")})
    predicted = _write(tmp_path / "predicted.conll", {"(x); part 001": (6, "ab"), "(x); part 000": (6, "a bcd ef")})
    both = [(entities("a bc def"), entities("a bcd ef")), (entities("abc"), entities("ab"))]
    assert coref.score(gold, predicted) == coref.score_documents(both)
    assert coref.score(gold, predicted, singletons="drop") == coref.score_documents(both, singletons="drop")


def test_names_of_entities_mean_nothing(tmp_path: Path) -> None:
    gold = _write(tmp_path / "gold.conll", {"x": (6, "a bc def")})
    predicted = _write(tmp_path / "predicted.conll", {"x": (6, "a bcd ef")})
    renamed = tmp_path / "renamed.conll"
    renamed.write_text(re.sub(r"\((\d)\)", lambda found: f"({9 - int(found[1])}0)", predicted.read_text()))
    assert renamed.read_text() != predicted.read_text()
    assert coref.score(gold, renamed) == coref.score(gold, predicted)


def test_singletons_that_the_key_never_has_are_told(tmp_path: Path) -> None:
    """As of a model that was trained on LitBank, whose predictions are scored on OntoNotes."""
    gold = _write(tmp_path / "gold.conll", {"x": (6, "abc def")})
    predicted = _write(tmp_path / "predicted.conll", {"x": (6, "ab c d ef")})
    with pytest.warns(UserWarning, match=r"entities of one mention, of which the key has none: 2; .*--singletons drop"):
        found = coref.score(gold, predicted)
    assert found == scored("abc def", "ab c d ef")
    assert coref.score(gold, predicted, singletons="drop") == scored("abc def", "ab ef")


def test_documents_on_one_side_only_are_told(tmp_path: Path) -> None:
    gold = _write(tmp_path / "gold.conll", {"one": (6, "ab"), "two": (6, "cd")})
    predicted = _write(tmp_path / "predicted.conll", {"one": (6, "ab"), "three": (6, "ef")})
    with pytest.warns(UserWarning, match="of 2") as told:
        found = coref.score(gold, predicted)
    assert [str(warning.message).partition(": ")[2] for warning in told] == [
        "1 of 2 have no prediction: they count as without mentions (the first: 'two')",
        "1 of 2 predictions are for ids that the gold file has not: left out (the first: 'three')",
    ]
    assert_figures(found["muc"], Fraction(1, 2), Fraction(1, 1))


@pytest.mark.parametrize(
    ("gold", "predicted", "error", "told"),
    [
        (
            {"one": (6, "ab")},
            {"two": (6, "ab")},
            ConfigError,
            "no document of the key is there; its first is 'two', the key's 'one'",
        ),
        ({"one": (6, "ab")}, {"one": (5, "ab")}, CorpusError, "document 'one' has 5 tokens, and 6 in the key"),
        ({}, {"one": (6, "ab")}, ConfigError, "no document, expected lines from '#begin document NAME'"),
    ],
)
def test_documents_that_cannot_be_the_same_are_refused(
    tmp_path: Path, gold: Any, predicted: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        coref.score(_write(tmp_path / "gold.conll", gold), _write(tmp_path / "predicted.conll", predicted))


def test_a_policy_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"singletons = 'kept'; did you mean 'keep'\?"):
        scored("ab", "ab", singletons="kept")
    with pytest.raises(ConfigError, match="on_error = 'ignore'; known: fail, skip"):
        coref.score(tmp_path, tmp_path, on_error="ignore")


def _refuse_scipy(name: str, *_place: object) -> None:
    if name == "scipy":
        raise ModuleNotFoundError(name=name)


def test_scipy_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    finder = SimpleNamespace(find_spec=_refuse_scipy)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"CEAF of coreference needs SciPy.*pip install '\.\[probes\]'"):
        check(CASES["an assignment that greed misses"])


# --- Real data


def _data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in ../shared/data/coref")
    return path


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")  # some cases have mentions twice, on purpose
def test_all_official_cases_score_as_the_official_scorer_does(tmp_path: Path) -> None:
    cases = json.loads(_data("expected/conll_testcases.official.json").read_text("utf-8"))
    with tarfile.open(_data("conll_testcases.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "conll_testcases"
    compared = 0
    for name, case in cases.items():
        found = coref.score(folder / case["key"], folder / case["response"])
        for metric, expected in case["metrics"].items():
            figures = found[metric]
            assert figures["recall"] == pytest.approx(expected["perl_recall"], abs=1e-9), (name, metric)
            assert figures["precision"] == pytest.approx(expected["perl_precision"], abs=1e-9), (name, metric)
            # Printed in per cent, cut after two decimals.
            assert 0 <= figures["f1"] - expected["perl_f1_printed_percent"] / 100 + 1e-9 < 1e-4 + 2e-9, (name, metric)
            compared += 1
    assert (len(cases), compared) == (36, 36 * 5)


@pytest.mark.data
@pytest.mark.parametrize("singletons", ["keep", "drop"])
def test_litbank_against_itself_is_right_by_every_metric(singletons: str) -> None:
    path = _data("litbank_coref_conll.tar.gz")
    documents = conll.read_conll(path)
    mentions = [len(names) for document in documents.values() for names in document.entities]
    assert (len(documents), sum(mentions), len(mentions), mentions.count(1)) == (100, 29_103, 7_927, 5_763)
    assert sum(document.tokens for document in documents.values()) == 210_532
    found = coref.score_documents(((d.entities, d.entities) for d in documents.values()), singletons=singletons)
    assert found == RIGHT


@pytest.mark.data
def test_ontogum_against_itself_is_right_by_every_metric(tmp_path: Path) -> None:
    path = _data("gum_ontogum_conll.tar.gz")
    with pytest.raises(CorpusError, match=r"GENTLE_poetry_road\.conll:21: 3\) closes what nothing opened"):
        conll.read_conll(path)
    with pytest.warns(UserWarning, match="once|left out") as told:
        found = coref.score(path, path, on_error="skip")
    assert {str(warning.message).rpartition(": ")[0].removeprefix(f"{path}: ") for warning in told} == {
        "brackets without their other half, left out",
        "mentions that stand there more than once, counted once",
    }
    assert found == RIGHT
