"""The question: does fine-tuning find what pre-training left.

    python -m spanmask_bench.answering DATA --bert DIR --work DIR --json FILE

Every step is a command as a user would give it, each goes on where a killed one was, and all of them take three hours on two cores:

- the engine is checked by a BERT that somebody else pre-trained, fine-tuned for one epoch on SquadShifts, beside the same shape from random
  weights: both answer SQuAD 1.1's development set;
- a tiny model of ours is pre-trained here on Wikipedia without the documents that ``spanmask overlap`` finds, and fine-tuned likewise with
  three seeds.

A BERT whose training is not ours is no baseline: it may have seen questions, answers and the passages themselves. It stands in a
table of its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import markdown, protocol
from .probe_runs import probed, random_twin, run

QUESTION = "Does fine-tuning find what pre-training left?"
THREADS, SEED = 2, 7
#: What is asked of the check: so many points of F1 above the same shape from random weights.
GOAL = {"pre-trained / random, points of F1": 20.0}
_TRAIN = [f"squadshifts_{name}_v1.0.json" for name in ("amazon_reviews", "new_wiki", "reddit")]
_EVAL = "squad_dev_v1.1.rebuilt.json"
_PROSE = [f"enwiki2018.{number:03}.jsonl.zst" for number in range(4)]
_CHECKED = ["--epochs", "1", "--lr", "1e-4", "--threads", str(THREADS)]
_TINY = ["--epochs", "1", "--lr", "1e-3", "--seeds", "3", "--threads", str(THREADS)]
_LONGEST, _STEPS = 384, 3000


def measure(data: Path, bert: Path, work: Path) -> dict[str, Any]:
    """Run what is not done yet, and return the figures of all of it.

    Parameters
    ----------
    data
        With ``qa/`` and ``prose/``.
    bert
        A BERT that transformers saved.
    work
        A folder for everything; a run that was killed goes on in it.

    Raises
    ------
    RuntimeError
        A command failed.
    ConfigError
        The BERT cannot be read.
    """
    work.mkdir(parents=True, exist_ok=True)
    questions = data / "qa"
    check = {"pre-trained": _answer(bert, work / "bert", questions, _CHECKED)}
    ours = {"tiny": _answer(_pretrained(data, work), work / "tiny-answers", questions, _TINY)}
    check["random"] = _answer(random_twin(bert, work / "random"), work / "random-answers", questions, _CHECKED)
    above = {"pre-trained / random, points of F1": _f1(check["pre-trained"]) - _f1(check["random"])}
    findings = {
        "check": check,
        "ours": ours,
        "pretraining": _pretraining(work),
        "overlap": _overlap(work),
        "goals": protocol.goals(above, GOAL),
        "points": above,
    }
    parameters = {"train": _TRAIN, "eval": _EVAL, "prose": _PROSE, "check": _CHECKED, "ours": _TINY, "steps": _STEPS}
    return protocol.record(QUESTION, parameters, findings, ["torch"])


def _answer(model: Path, out: Path, questions: Path, options: Sequence[str]) -> dict[str, Any]:
    """Return what a model that is fine-tuned on the questions answers."""
    train = [argument for name in _TRAIN for argument in ("--train", questions / name)]
    return probed("qa", model, out, [*train, "--eval", questions / _EVAL, *options])


def _pretrained(data: Path, work: Path) -> Path:
    """Return the run of a tiny model of ours, pre-trained without what it is evaluated on."""
    prose = [data / "prose" / name for name in _PROSE]
    listed, told, shards, trained = (work / name for name in ("seen.txt", "overlap.json", "shards", "tiny"))
    if not told.exists():
        found = run("overlap", data / "qa" / _EVAL, *prose, "--ids", f"id={listed}", "--json")
        told.write_bytes(found)
    exclude = ["--exclude", f"id={listed}"]
    run("preshard", *prose, "--out", shards, "--seed", SEED, "--vocab", "uncased", "--max-tokens", _LONGEST, *exclude)
    if not (trained / "done").exists():
        options = ["--preset", "cpu", "--steps", _STEPS, "--threads", THREADS]
        run("train", shards, "--out", trained, *(["--resume"] if (trained / "run.json").exists() else options))
        (trained / "done").touch()
    return trained


def _f1(found: Mapping[str, Any]) -> float:
    (scores,) = found["mean"].values()
    return float(scores["f1"])


def _pretraining(work: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (work / "tiny" / "metrics.jsonl").read_text("utf-8").splitlines()]
    manifest = json.loads((work / "shards" / "manifest.json").read_bytes())
    known = json.loads((work / "tiny" / "run.json").read_bytes())
    return {
        "parameters": known["parameters"],
        "config": known["config"],
        "documents": manifest["conservation"]["documents_in"],
        "documents_excluded": manifest["conservation"]["documents_excluded"],
        "last": {name: lines[-1][name] for name in ("step", "tokens", "mlm_loss", "sbo_loss", "mlm_accuracy")},
    }


def _overlap(work: Path) -> dict[str, Any]:
    told = json.loads((work / "overlap.json").read_bytes())
    return {"n": told["n"], "least": told["least"], "evaluations": told["evaluations"], "found": len(told["found"])}


# --- The table


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown: the check, and apart from it what is ours."""
    goals = [
        f"- pre-trained above random: {result['points'][name]:.2f} points of F1; {told}."
        for name, goal in result["goals"].items()
        for told in markdown.asked(goal)
    ]
    tiny = result["pretraining"]
    seen = (
        f"Pre-training: {tiny['parameters']:,} parameters, {tiny['last']['tokens']:,} tokens of "
        f"{tiny['documents'] - tiny['documents_excluded']:,} documents ({tiny['documents_excluded']:,} left out, which share "
        f"{result['overlap']['n']}-grams with what is answered), masked-token loss {tiny['last']['mlm_loss']:.2f}."
    )
    parts = [
        _rows(result["check"]),
        "\n".join(goals),
        _rows(result["ours"]),
        f"{seen} {markdown.measured_on(result)}\n",
    ]
    return "\n\n".join(parts)


def _rows(models: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["weights", "exact match, %", "F1, %", "F1 of each seed"]
    rows = []
    for name, found in models.items():
        ((file, mean),) = found["mean"].items()
        deviation = found["deviation"][file]
        cells = [
            f"{mean[key]:.2f}" + (f" ± {deviation[key]:.2f}" if deviation[key] is not None else "")
            for key in ("exact_match", "f1")
        ]
        each = ", ".join(f"{seed['scores'][file]['f1']:.2f}" for seed in found["seeds"])
        rows.append([name, *cells, each])
    return markdown.table(head, rows)


def empty() -> str:
    """Return what stands in the table's place before anything was measured."""
    return "Not measured yet.\n"


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.answering", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="with qa/ and prose/")
    parser.add_argument("--bert", type=Path, required=True, metavar="DIR", help="a BERT that transformers saved")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where everything is written")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    result = measure(asked.data, asked.bert, asked.work)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
