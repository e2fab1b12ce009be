"""The question: does a run learn more than how often each token comes.

Reads a finished run of ``spanmask train`` and its dataset; holds the masked-token loss against the entropy of the masked tokens' own
frequencies, which a model reaches that looks at nothing but their counts.

    python -m spanmask_bench.pretraining RUN DIR
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import spanmask
from spanmask.storage import publish_bytes

from . import markdown, protocol

QUESTION = "Does a small run learn more than how often each token comes?"
#: What is asked of the loss: so many nats below the entropy of the masked tokens' frequencies.
GOAL = 0.5
#: Last lines of metrics whose mean is the run's loss.
_LAST = 10
_CURVE = ("step", "tokens", "mlm_loss", "sbo_loss", "mlm_accuracy", "sbo_accuracy", "lr", "tokens_per_second")


def measure(run: Path, folder: Path) -> dict[str, Any]:
    """Return the loss curve of a run, its measurements on held-out text, and both losses beside the entropy, in nats.

    Raises
    ------
    ConfigError, ShardError
        The run or the dataset cannot be read.
    """
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    evaluations = [json.loads(line) for line in (run / "evaluation.jsonl").read_text("utf-8").splitlines()]
    known = json.loads((run / "run.json").read_text("utf-8"))
    manifest = spanmask.open(folder).manifest
    entropy = {split: masked_entropy(folder, split) for split in manifest.splits}
    training = float(np.mean([line["mlm_loss"] for line in lines[-_LAST:]]))
    below = {"train": entropy["train"] - training, "validation": entropy["validation"] - evaluations[-1]["mlm_loss"]}
    findings = {
        "input": {"names": [item.name for item in manifest.inputs], "fingerprint": manifest.fingerprint},
        "unigram_entropy": entropy,
        "mlm_loss": {"train": training, "validation": evaluations[-1]["mlm_loss"]},
        "nats_below_entropy": below,
        "goals": protocol.goals(below, {"train": GOAL, "validation": GOAL}),
        "evaluations": evaluations,
        "curve": [{name: line[name] for name in _CURVE} for line in lines],
    }
    return protocol.record(
        QUESTION, {"config": known["config"], "dataset": manifest.config.to_json()}, findings, ["torch"]
    )


def masked_entropy(folder: Path, split: str) -> float:
    """Return the entropy, in nats, of the frequencies of a split's masked tokens."""
    counts = np.zeros(0, np.int64)
    for block in spanmask.open(folder, split).blocks:
        found = np.bincount(block.labels.values, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def table(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return runs, by what they train, as Markdown: loss and entropy of either split."""
    head = ["run", "split", "tokens", "unigram entropy of the masked tokens", "MLM loss", "below it"]
    rows = [
        [
            name,
            split,
            f"{run['curve'][-1]['tokens'] / 1e6:.1f} M",
            *(f"{run[figure][split]:.3f}" for figure in ("unigram_entropy", "mlm_loss", "nats_below_entropy")),
        ]
        for name, run in runs.items()
        for split in run["goals"]
    ]
    verdicts = [
        f"- {name}, {split}: {markdown.asked(goal)[0]}."
        for name, run in runs.items()
        for split, goal in run["goals"].items()
    ]
    measured = map(markdown.measured_on, runs.values())
    return "\n\n".join([markdown.table(head, rows, texts=2), "\n".join(verdicts), *measured]) + "\n"


def main() -> None:
    """Print the figures of the run that the command line names, and keep them."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.pretraining", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="what spanmask train wrote, with --eval")
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="the dataset it was trained on, with a validation split"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is kept")
    asked = parser.parse_args()
    result = measure(asked.run, asked.folder)
    for split, entropy in result["unigram_entropy"].items():
        line = f"{split}: unigram entropy of the masked tokens {entropy:.3f} nats, MLM loss {result['mlm_loss'][split]:.3f}"
        sys.stdout.write(f"{line}, {result['nats_below_entropy'][split]:.3f} below\n")
    if asked.json is not None:
        publish_bytes(asked.json, protocol.as_json(result))


if __name__ == "__main__":
    main()
