"""The question: does fine-tuning find what pre-training left.

    python -m spanmask_bench.answering DATA --bert DIR --work DIR --json FILE [--part random …]

Every step is a command as a user would give it, each goes on where a killed one was, and all of them take three hours on two cores; a part
that is measured later joins those in FILE:

- the engine is checked by a BERT that somebody else pre-trained, fine-tuned for one epoch on SquadShifts, beside the same shape from random
  weights: both answer SQuAD 1.1's development set;
- a tiny model of ours is pre-trained here on Wikipedia without the documents that ``spanmask overlap`` finds, and fine-tuned likewise with
  three seeds.

A BERT whose training is not ours is no baseline: it may have seen questions, answers and the passages themselves. It stands in a
table of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import markdown, protocol
from .probe_runs import arguments, joined, probed, random_twin, run

QUESTION = "Does fine-tuning find what pre-training left?"
THREADS, SEED = 2, 7
PARTS = ("pre-trained", "random", "tiny")
#: What is asked of the check: so many points of F1 above the same shape from random weights.
GOAL = {"pre-trained / random, points of F1": 20.0}
_TRAIN = [f"squadshifts_{name}_v1.0.json" for name in ("amazon_reviews", "new_wiki", "reddit")]
_EVAL = "squad_dev_v1.1.rebuilt.json"
_PROSE = [f"enwiki2018.{number:03}.jsonl.zst" for number in range(4)]
_CHECKED = ["--epochs", "1", "--lr", "1e-4", "--threads", str(THREADS)]
_TINY = ["--epochs", "1", "--lr", "1e-3", "--seeds", "3", "--threads", str(THREADS)]
_LONGEST, _STEPS = 384, 3000


def measure(data: Path, bert: Path, work: Path, parts: Iterable[str]) -> dict[str, Any]:
    """Run what is not done yet of some parts, and return the record of each.

    Parameters
    ----------
    data
        With ``qa/`` and ``prose/``.
    bert
        A BERT that transformers saved.
    work
        A folder for everything; a run that was killed goes on in it.
    parts
        Of `PARTS`.

    Raises
    ------
    RuntimeError
        A command failed.
    ConfigError
        The BERT cannot be read.
    """
    work.mkdir(parents=True, exist_ok=True)
    questions = data / "qa"
    told: dict[str, Callable[[], tuple[dict[str, Any], dict[str, Any]]]] = {
        "pre-trained": lambda: (_answer(bert, work / "bert", questions, _CHECKED), {}),
        "random": lambda: (
            _answer(random_twin(bert, work / "random"), work / "random-answers", questions, _CHECKED),
            {},
        ),
        "tiny": lambda: (
            _answer(_pretrained(data, work), work / "tiny-answers", questions, _TINY),
            {"pretraining": _pretraining(work), "overlap": _overlap(work)},
        ),
    }
    found = {}
    for part in parts:
        answers, more = told[part]()
        options = _TINY if part == "tiny" else _CHECKED
        parameters: dict[str, Any] = {"train": _TRAIN, "eval": _EVAL, "options": options}
        parameters |= {"prose": _PROSE, "steps": _STEPS} if part == "tiny" else {}
        found[part] = protocol.record(QUESTION, parameters, {"found": answers, **more}, ["torch"])
    return found


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
    """Return a result as Markdown: the check, and apart from it what is ours; parts that were not measured are left out."""
    parts = result["parts"]
    told = []
    check = {name: parts[name]["found"] for name in ("pre-trained", "random") if name in parts}
    if check:
        told += [_rows(check), "\n".join(_verdict(check)), markdown.measured_on(parts[next(iter(check))])]
    if "tiny" in parts:
        told += [
            _rows({"tiny": parts["tiny"]["found"]}),
            f"{_told(parts['tiny'])} {markdown.measured_on(parts['tiny'])}",
        ]
    return "\n\n".join(told) + "\n"


def _verdict(check: Mapping[str, Any]) -> Iterator[str]:
    if len(check) < len(("pre-trained", "random")):
        yield f"- pre-trained above random: not known, since only {next(iter(check))} was measured."
        return
    (name, _), *_ = GOAL.items()
    above = {name: _f1(check["pre-trained"]) - _f1(check["random"])}
    for told in markdown.asked(protocol.goals(above, GOAL)[name]):
        yield f"- pre-trained above random: {above[name]:.2f} points of F1; {told}."


def _told(record: Mapping[str, Any]) -> str:
    tiny, overlap = record["pretraining"], record["overlap"]
    return (
        f"Pre-training: {tiny['parameters']:,} parameters, {tiny['last']['tokens']:,} tokens of "
        f"{tiny['documents'] - tiny['documents_excluded']:,} documents ({tiny['documents_excluded']:,} left out, which share "
        f"{overlap['n']}-grams with what is answered), masked-token loss {tiny['last']['mlm_loss']:.2f}."
    )


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


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = arguments("answering", __doc__, "qa/ and prose/")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="[all]")
    asked = parser.parse_args()
    found = measure(asked.data, asked.bert, asked.work, asked.part)
    result = {"question": QUESTION, "parts": joined(asked.json, "parts", found, PARTS)}
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
