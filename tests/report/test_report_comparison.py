"""Datasets side by side: each figure is the one of its own audit, on the terminal and on one page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from terminals import drawn

from spanmask.auditing import audit
from spanmask.config import PreshardConfig
from spanmask.errors import ConfigError
from spanmask.presharding.run import preshard
from spanmask.report import comparison
from spanmask.report.comparison import Compared
from spanmask.report.comparison_page import comparison_page
from spanmask.report.comparison_table import render_comparison
from spanmask.report.named import dataset_line
from spanmask.shard.reader import open_shards

TEXT = "the old lighthouse keeper unbelievably remembered every storm ; some 1987 sailors re-entered the harbour"
OPTIONS: dict[str, dict[str, Any]] = {
    "spans": {"max_tokens": 96},
    "words": {"max_tokens": 96, "scheme": "word"},
    "<b>short": {"max_tokens": 48, "mask_ratio": 0.3},
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> list[Compared]:
    folder = tmp_path_factory.mktemp("compared")
    (folder / "a.txt").write_text("\n\n".join(f"{TEXT} {number}" * 2 for number in range(40)))
    found = []
    for number, (name, options) in enumerate(OPTIONS.items()):
        out = folder / str(number)
        preshard(folder / "a.txt", out, PreshardConfig.of(seed=number, **options), jobs=1)
        told = dataset_line(open_shards(out).manifest, "train")
        found.append(Compared(name=name, told=told, audit=audit(out).to_json()))
    return found


def test_rows_hold_the_figures_of_each_audit(compared: list[Compared]) -> None:
    audits = [one.audit for one in compared]
    rows = dict(comparison.rows(audits))
    assert rows["scheme"] == ["span (paper)", "word", "span (paper)"]
    assert (rows["max_tokens"], rows["mask_ratio"]) == (["96", "96", "48"], ["0.15", "0.15", "0.3"])
    assert "max_words" not in rows
    assert rows["tokens masked"] == [f"{audit['mask_rate']:.2%}" for audit in audits]
    assert rows["sequences"] == [f"{audit['rows']:,}" for audit in audits]
    assert rows["gates passed"] == ["7 of 7", "5 of 5", "7 of 7"]
    edges = [f"{audit['coverage']['first_words'][0]:.2%}" for audit in audits]
    assert rows["first word masked"] == edges
    shares = dict(comparison.length_rows(audits))
    assert sum(values[0] for values in shares.values()) == pytest.approx(1)
    assert shares["1"][1] > shares["1"][0]


@pytest.mark.parametrize("width", [50, 80, 160])
def test_datasets_fit_a_terminal_side_by_side(compared: list[Compared], width: int) -> None:
    failed = [{**compared[0].audit["gates"][0], "passed": False}]
    broken = Compared(name="\x1bbroken", told="x", audit={**compared[0].audit, "gates": failed})
    text = drawn(render_comparison([*compared, broken]), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "<b>short: train split" in text
    assert "broken: FAILED replay equals disk" in " ".join(text.split())


def test_a_page_overlays_them_and_shows_every_gate(compared: list[Compared]) -> None:
    page = comparison_page(compared, "train")
    assert "<h1>Audits of spans, words and &lt;b&gt;short: train split</h1>" in page
    assert page.count("<figure") == 6
    for number in (1, 2, 3):
        assert page.count(f'class="curve-{number}"') == 12
    gates = page[page.index("What must hold, and what was found") :]
    assert gates.count("does not apply") == 2
    assert all(gate["detail"] in gates for one in compared for gate in one.audit["gates"])
    assert all(one.told in page for one in compared)


def test_more_datasets_than_can_be_told_apart_are_refused(compared: list[Compared]) -> None:
    with pytest.raises(ConfigError, match="7 datasets: at most 6"):
        comparison_page(compared[:1] * 7, "train")


def test_the_line_of_a_dataset_says_how_it_was_made(compared: list[Compared]) -> None:
    shape = r"train split, [\d,]+ sequences of at most 48 tokens; scheme span, sampler paper; 30% masked with seed 2; "
    assert re.fullmatch(shape + r"vocabulary cased; fingerprint [0-9a-f]{16}", compared[2].told)


def test_nothing_is_drawn_of_splits_without_rows(compared: list[Compared]) -> None:
    audit = compared[0].audit
    empty: dict[str, Any] = {
        **audit,
        "span_lengths": {"law": [], "drawn": [], "realised": []},
        "coverage": {name: [] for name in audit["coverage"]},
        "statistics": {**audit["statistics"], "histograms": {name: [] for name in audit["statistics"]["histograms"]}},
    }
    edge = {**empty, "coverage": {name: [None] for name in audit["coverage"]}}
    page = comparison_page([Compared(name=name, told="", audit=edge) for name in ("a", "b")], "train")
    assert "<figure" not in page


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    from spanmask.report.named import names_of

    assert names_of([str(tmp_path / "a" / "shards"), str(tmp_path / "b" / "shards")]) == ["a/shards", "b/shards"]
