"""Two checkouts against each other: the interval is the binomial law's, and a checkout beside itself does the same work."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import trained
from figures import THOROUGH
from spanmask_bench import revisions
from spanmask_bench.revision_host import WORK

ROOT = Path(__file__).parents[2]


def test_the_interval_is_that_of_published_tables() -> None:
    """Conover, Practical Nonparametric Statistics, tables of the binomial law: 6th and 15th of 20, 3rd and 10th of 12."""
    assert revisions.median_interval(range(1, 21)) == (6, 15)
    assert revisions.median_interval(range(1, 13)) == (3, 10)
    assert revisions.median_interval([4, 1, 3, 2, 5]) == (1, 5)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    """Expected 95.86 % of 4,000 samples; a false alarm of these bounds has a chance below 10^-6 (5 standard deviations of 0.315 %)."""
    rng = random.Random(5)
    held = 0
    for _ in range(4000):
        low, high = revisions.median_interval([rng.gauss(0, 1) for _ in range(20)])
        held += low <= 0 <= high
    assert 0.9428 < held / 4000 < 0.9744


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    documents = trained.stories()[:60_000].split("\n\n")
    path.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents))
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("work", [work for work in WORK if THOROUGH or work != "training"])
def test_a_checkout_is_measured_beside_itself(text: Path, work: str) -> None:
    """Training in a long run alone, and one pair of it: a turn takes half a minute of a processor."""
    rounds = 1 if work == "training" else 2
    result = revisions.measure(str(ROOT), str(text), rounds=rounds, work=[work])
    ratio = result["work"][work]["ratio"]
    assert len(ratio["rounds"]) == rounds
    assert ratio["min"] <= ratio["interval"][0] <= ratio["median"] <= ratio["interval"][1] <= ratio["max"]
    assert result["other"]["commit"] == result["commit"]
    assert revisions.table(result).splitlines()[2].startswith(f"| {work} |")


@pytest.mark.slow
def test_a_contestant_that_ends_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with exit code"):
        revisions.measure(str(ROOT), str(tmp_path / "none.jsonl"), rounds=1, work=["preshard"])
