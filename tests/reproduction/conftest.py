"""A grid in miniature: many short documents, two arms and the first one again, models of a few thousand parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trained

PLAN = """\
question = "Does all of it hold together?"
seeds = 2
tokens = 6000
primary = ["held-out/token/mlm_loss", "held-out/span/mlm_spans", "boundaries/masked/saved"]
paper = "objective"

[vocabulary]
size = 300
cased = false

[preshard]
seed = 7
max_tokens = 32
holdout = 0.3

[train]
preset = "cpu"
hidden = 16
heads = 2
intermediate = 32
layers = 1
max_positions = 32
batch_size = 4
window = 64
save_every = 5
log_every = 5
eval_sequences = 100
device = "cpu"
threads = 1
compile = false

[arm.token]
preshard = { scheme = "token" }
train = { objective = "mlm" }

[arm.span]
preshard = { scheme = "span" }

[arm.again]
null_of = "token"

[probe.boundaries]
spans_of = "span"
spans = 200
classes = 20
epochs = 3
device = "cpu"
threads = 1
"""


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines of 150 paragraphs of stories, each with an id."""
    path = tmp_path_factory.mktemp("texts") / "stories.jsonl"
    paragraphs = [text for text in trained.stories().split("\n") if len(text) > 60][:150]
    lines = [json.dumps({"id": f"poe/{number}", "text": text}) for number, text in enumerate(paragraphs)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "tiny.toml"
    path.write_text(PLAN, "utf-8")
    return path


def told_by(folder: Path) -> dict[str, Any]:
    """What the page says, as JSON, but for times."""
    content: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    for arm in content["arms"]:
        arm["facts"].pop("seconds of a training", None)
    return content
