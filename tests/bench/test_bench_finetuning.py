"""How fast fine-tuning is: the same scores before, what turns are, and the table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from probes.asked import write_questions
from spanmask_bench import child, finetuning, protocol

from spanmask.errors import ConfigError


def test_a_peer_with_other_scores_is_not_measured_beside() -> None:
    scores = torch.randn(5, 2)
    ours, same, other = (SimpleNamespace(scores=lambda _, s=s: s) for s in (scores, scores + 1e-5, scores + 1e-3))
    finetuning.require_same(ours, same)
    with pytest.raises(ConfigError, match=r"lie 0.001 apart: the peer computes something else"):
        finetuning.require_same(ours, other)


def test_turns_are_taken_in_rounds_after_one_to_warm_up_and_no_longer_than_there_is_time() -> None:
    asked: list[tuple[str, int]] = []

    def turn(name: str) -> Any:
        def take(steps: int) -> finetuning.Turn:
            asked.append((name, steps))
            return finetuning.Turn(seconds=2.0, tokens=steps, squares=4 * steps)

        return take

    taken = finetuning._in_turn({"a": turn("a"), "b": turn("b")}, 5, 2, float("inf"))
    assert asked == [("a", 1), ("b", 1), ("a", 5), ("b", 5), ("a", 5), ("b", 5)]
    assert {name: len(turns) for name, turns in taken.items()} == {"a": 2, "b": 2}
    assert finetuning._figures(taken["a"])["rates"] == [2.5, 2.5]
    assert len(finetuning._in_turn({"a": turn("a")}, 5, 9, 0.0)["a"]) == 1


def test_the_table_says_what_was_asked_for() -> None:
    def case(ours: float, padded: float, grouped: float) -> dict[str, Any]:
        names = (finetuning.OURS, finetuning.PADDED, finetuning.GROUPED)
        rates = dict(zip(names, (ours, padded, grouped), strict=True))
        found = {n: {"rates": [r], "tokens_per_second": protocol.spread([r])} for n, r in rates.items()}
        return {"contestants": found, "windows": 8000, "window_tokens": 171.8, "flops_per_token": 1e8}

    models = {"minilm": case(3000, 1000, 2900), "tiny": case(9000, 3000, 8000)}
    ratios = {
        f"{size}: {finetuning.OURS} / {peer}": protocol.ratio(
            models[size]["contestants"][finetuning.OURS]["rates"], models[size]["contestants"][peer]["rates"]
        )
        for size in models
        for peer in (finetuning.PADDED, finetuning.GROUPED)
    }
    findings = {
        "input": {"name": "questions.json"},
        "ceilings": {"flops_per_second": {"square": 1e12}},
        "models": models,
        "ratios": ratios,
        "goals": protocol.goals({name: ratio["median"] for name, ratio in ratios.items()}, finetuning.GOALS),
    }
    parameters = {"window": 384, "batch": 12, "threads": 2}
    text = finetuning.table(protocol.record("?", parameters, findings, ["torch"]))
    assert "| minilm | spanmask | 3,000 | 3,000 | 3,000 | 30% |" in text
    assert text.count(", reached") == 3
    assert text.count("not reached") == 1


@pytest.mark.slow
def test_all_contestants_train(tmp_path: Path) -> None:
    path = write_questions(tmp_path / "questions.json", 0, 30)
    asked = {"path": str(path), "size": "tiny", "steps": 1, "rounds": 1, "minutes": 0.0}
    found = child.call("finetuning", "run", asked)
    assert set(found["contestants"]) == {finetuning.OURS, finetuning.PADDED, finetuning.GROUPED}
    assert all(figures["tokens"][0] > 0 < figures["seconds"][0] for figures in found["contestants"].values())
    assert found["flops_per_token"] > 6 * 2 * 12 * 128**2
