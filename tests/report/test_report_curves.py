"""Training runs side by side: what pages and tables say is what their lines say, each figure in one unit, each run in one colour."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from terminals import drawn

from spanmask.errors import ConfigError
from spanmask.model.config import SpanBertConfig
from spanmask.report.charts import Axes
from spanmask.report.curve_chart import Curve, curve_chart
from spanmask.report.curves_page import curves_page
from spanmask.report.curves_table import render_curves
from spanmask.report.named import names_of
from spanmask.report.runs import LOSSES, Told, by_step, sentence, thinned, with_waiting
from spanmask.train.config import TrainConfig


def line(step: int, loss: float, sbo: float | None = None, **more: Any) -> dict[str, Any]:
    known = {"step": step, "loss": loss, "mlm_loss": loss, "sbo_loss": sbo, "mlm_accuracy": 0.25, "sbo_accuracy": None}
    rates = {"lr": 1e-4, "gradient_norm": 1.0, "tokens": 100 * step, "tokens_per_second": 50.0, "mfu": None}
    return {**known, **rates, "data_wait_seconds": 0.5, "memory": 1, **more}


def evaluation(step: int, loss: float) -> dict[str, Any]:
    told = {"mlm_loss": loss, "sbo_loss": None, "mlm_accuracy": 0.125, "sbo_accuracy": None, "mlm_targets": 1234}
    return {"step": step, **told, "recovery": [{"length": "1", "spans": 5, "mlm": 0.4, "sbo_spans": 0, "sbo": None}]}


def run(name: str, *, metrics: Any = (), evaluations: Any = (), **options: Any) -> Told:
    config = TrainConfig.of("fast", model="tiny", **options).to_json()
    record = {
        "version": 1,
        "config": config,
        "model": SpanBertConfig(vocab_size=100).to_json(),
        "datasets": ["0123456789abcdef" * 4],
        "vocabulary": "f" * 64,
        "parameters": 4_000_000,
        "versions": {"torch": "2"},
    }
    return Told(name=name, run=record, metrics=list(metrics), evaluations=list(evaluations))


ONE = run("one", metrics=[line(k, 10 - k / 10) for k in range(1, 41)], evaluations=[evaluation(40, 3.25)], steps=40)
OTHER = run("<b>other", metrics=[line(k, 9.0, 8.5) for k in (1, 10, 100)], steps=100, lr=0.5)
EMPTY = run("empty")


def test_the_header_says_what_the_last_point_of_the_charts_shows() -> None:
    many = run("many", metrics=[line(k, float(k)) for k in range(1, 1001)], steps=1000)
    assert thinned(many.metrics)[-1]["mlm_loss"] == 1000
    assert len(thinned(many.metrics)) <= 241
    assert sentence(many).endswith("Step 1,000 of 1,000, 100,000 tokens; MLM loss 1k nats a target.")
    assert "<title>1,000: 1k MLM</title>" in curves_page([run("few", metrics=many.metrics[-3:])])


def test_every_chart_has_one_unit() -> None:
    """Waits are a share of the time, whatever lies between two lines, and never seconds of unlike intervals."""
    waits = [
        told["waiting"] for told in with_waiting([line(1, 1.0), line(10, 1.0), line(11, 1.0, data_wait_seconds=None)])
    ]
    assert waits == [0.5 / 2, 0.5 / 18, None]
    page = curves_page([OTHER])
    titles = re.findall(r"<figcaption>([^<]*)</figcaption>", page)
    assert titles[:2] == ["Loss, nats a target", "Targets predicted right"]
    assert "Share of the time spent waiting for batches" in titles


def test_runs_are_overlaid_each_in_one_colour_under_its_name() -> None:
    page = curves_page([ONE, OTHER, EMPTY])
    assert "<h1>Training runs one, &lt;b&gt;other and empty</h1>" in page
    figures = dict(re.findall(r"<figcaption>([^<]*)</figcaption>(.*?)</figure>", page))
    mlm, sbo = figures["MLM loss, nats a target"], figures["SBO loss, nats a target"]
    assert mlm.count('class="curve-1"') == 2
    assert mlm.count('class="curve-3"') == 1
    assert ('class="curve-1"' in sbo.split("<ul")[0], 'class="curve-2"' in sbo.split("<ul")[0]) == (False, True)
    assert (
        "one: After step 40: MLM loss 3.2500 nats a target; 12.50% of MLM targets predicted right; 1,234 masked" in page
    )
    assert "0123456789abcdef;" in page
    assert "0123456789abcdef0" not in page
    assert "one: datasets with fingerprint 0123456789abcdef;" in page


def test_datasets_are_told_by_their_folders_names_too() -> None:
    digests = ["0123456789abcdef" * 4, "f" * 64]
    named = run("one")
    record = {**named.run, "datasets": digests, "names": {digests[0]: "<i>stories"}}
    page = curves_page([Told(name="one", run=record, metrics=[], evaluations=[])])
    assert f"datasets &lt;i&gt;stories with fingerprint {digests[0][:16]}, with fingerprint {digests[1][:16]};" in page


def test_options_that_differ_are_told_and_no_others() -> None:
    page = curves_page([ONE, OTHER])
    told = page[page.index("Options and shapes that are not alike") :]
    assert re.findall(r'<th scope="row">(\w+)</th>', told) == ["lr", "steps", "warmup"]
    assert "All options are alike" in curves_page([EMPTY, run("same")])


def test_rows_by_step_are_means_since_the_step_above() -> None:
    rows = dict(by_step([ONE, OTHER], LOSSES[0]))
    assert list(rows) == [10, 20, 30, 40, 100]
    assert rows[10] == [pytest.approx(10 - 0.55), 9.0]
    assert rows[40] == [pytest.approx(10 - 3.55), None]
    assert rows[100] == [None, 9.0]


@pytest.mark.parametrize(
    ("told", "rows"),
    [((5, 10, 20, 30), [5, 10, 20, 30]), ((3,), [3]), ((), []), (range(10, 301, 10), list(range(30, 301, 30)))],
)
def test_rows_by_step_stand_at_steps_that_were_told(told: Any, rows: list[int]) -> None:
    found = dict(by_step([run("one", metrics=[line(step, float(step)) for step in told])], LOSSES[0]))
    assert list(found) == rows
    assert all(values != [None] for values in found.values())


@pytest.mark.parametrize("width", [50, 80, 160])
def test_runs_fit_a_terminal_side_by_side(width: int) -> None:
    lines = drawn(render_curves([ONE, OTHER, EMPTY]), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert re.search(r"^step +one +<b>other +empty", text, re.MULTILINE)
    assert re.search(r"^10 +9\.4500 +9\.0000 +-", text, re.MULTILINE)
    assert "No metrics yet." in " ".join(text.split())


def test_places_of_a_curve_are_where_their_numbers_are() -> None:
    drawn = curve_chart(Axes(title="t", x_name="step"), [Curve(name="a", places=[0, 10, 100], values=[1.0, None, 2.0])])
    across = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert (across[0], len(across)) == (46.0, 2)
    near = curve_chart(Axes(title="t", x_name="step"), [Curve(name="a", places=[0, 10, 100], values=[1.0, 1.0, 2.0])])
    first, second, last = (float(x) for x in re.findall(r'cx="([\d.]+)"', near))
    assert (second - first) / (last - first) == pytest.approx(0.1, abs=0.01)


def test_more_runs_than_can_be_told_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="7 runs: at most 6 can be told apart"):
        curves_page([run(str(number)) for number in range(7)])


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["a"], ["a"]),
        (["x/a", "x/b/"], ["a", "b"]),
        (["x/a", "y/a", "b"], ["x/a", "y/a", "b"]),
        (["k/x/a", "k/y/a", "x"], ["x/a", "y/a", "x"]),
    ],
)
def test_folders_are_named_by_as_much_as_tells_them_apart(folders: list[str], names: list[str]) -> None:
    assert names_of(folders) == names


@pytest.mark.parametrize("folders", [["a", "a"], ["a", "./a"], ["/", "/"]])
def test_a_folder_given_twice_is_refused(folders: list[str]) -> None:
    with pytest.raises(ConfigError, match="is given twice"):
        names_of(folders)


def test_runs_are_looked_at_without_torch(tmp_path: Path) -> None:
    for told in (ONE, OTHER):
        folder = tmp_path / told.name.strip("<b>")
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(told.run))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told.metrics))
    code = """
import sys
from spanmask_cli.curves import command
command(["--html", "page.html", *sys.argv[1:]], standalone_mode=False)
print("torch" in sys.modules, file=sys.stderr)
"""
    names = sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == "wrote page.html\nFalse\n"
    assert re.search(r"^100 +- +9\.0000$", done.stdout, re.MULTILINE)
    assert "Training runs one and other" in (tmp_path / "page.html").read_text()
