"""The question: what does an encoder reach on relations, sentences, names and coreference, and what is reached without one.

    python -m spanmask_bench.probes DATA --bert DIR --work DIR --json FILE [--family relation …] [--jobs 2]

Every task is fine-tuned by the command as a user would give it, from a BERT that somebody else pre-trained and from its shape with random
weights; a killed run goes on where it was, and a family that is measured later joins those in FILE. The BERT is a check of the engine and
**no baseline**: what its training has seen of a task's kind stands beside its figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import markdown, protocol
from .probe_runs import arguments, joined, probed, random_twin

QUESTION = "What does an encoder reach on tasks, and what is reached without one?"
SEEDS, EPOCHS, THREADS = 3, 3, 1
#: Points that coreference must be above one entity for equal strings over the same mentions.
GOAL = {"coreference / equal strings, points of F1": 10.0}
_LITBANK, _ONTOGUM = (f"coref/{name}_conll.tar.gz" for name in ("litbank_coref", "gum_ontogum"))
_COREF_EPOCHS = 10
_MACHINE = ("--threads", f"{THREADS}", "--dtype", "bf16")
_TUNED = ("--lr", "1e-4", "--batch-size", "32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A task of `spanmask probe`.

    command: its name there. options: of it, paths below DATA. tuned: of fine-tuning. seeds, epochs: of the BERT's trainings, epochs of the
    other's, too. seen: what of its kind the BERT (MiniLM, data_config.json in its package) was trained on; none known where it is empty.
    """

    command: str
    options: tuple[str, ...]
    tuned: tuple[str, ...] = _TUNED
    seeds: int = SEEDS
    epochs: int = EPOCHS
    seen: str = ""


def _glue(task: str, *options: str, seen: str = "") -> Probe:
    return Probe(command="glue", options=("--task", task, "--data", "@glue", *options), seen=seen)


def _files(command: str, train: Iterable[str], evaluate: Iterable[str], *options: str, **more: Any) -> Probe:
    told = [("--train", f"@{path}") for path in train] + [("--eval", f"@{path}") for path in evaluate]
    return Probe(command=command, options=(*(one for pair in told for one in pair), *options), **more)


_SEMEVAL, _WNUT = "relation/semeval2010_tokenized", "spans/wnut17"
FAMILIES: dict[str, dict[str, Probe]] = {
    "relation": {
        "SemEval-2010 task 8": _files(
            "relation", [f"{_SEMEVAL}/train.txt", f"{_SEMEVAL}/val.txt"], [f"{_SEMEVAL}/test.txt"]
        ),
        "wiki80, a tenth": _files("relation", ["relation/wiki80/train_0.1.txt"], ["relation/wiki80/dev.txt"]),
    },
    "glue": {
        "CoLA": _glue("cola"),
        "MRPC": _glue("mrpc"),
        "RTE": _glue("rte", seen="SNLI and MultiNLI, which are inference too"),
        "SST-2, 10,000 rows": _glue("sst2", "--examples", "10000"),
        "STS-B": _glue("stsb", seen="captions of Flickr30k, from which some of its sentences are"),
    },
    "ner": {
        "WNUT-17": _files("ner", [f"{_WNUT}_wnut17train.conll"], [f"{_WNUT}_emerging.test.annotated"]),
    },
    "coref": {
        "LitBank, fold 1 of 10; OntoGUM": _files(
            "coref",
            [_LITBANK],
            [_LITBANK, _ONTOGUM],
            *("--fold", "1/10", "--on-error", "skip"),
            tuned=("--preset", "coref", "--lr", "1e-4", "--selection", "0.1"),
            seeds=1,
            epochs=_COREF_EPOCHS,
        ),
    },
}


def measure(data: Path, bert: Path, work: Path, families: Iterable[str], jobs: int) -> dict[str, Any]:
    """Run what is not done yet of some families, and return the record of each, with the seconds it took if it was run in one piece.

    Parameters
    ----------
    data
        With ``relation/``, ``glue/``, ``spans/`` and ``coref/``.
    bert
        A BERT that transformers saved.
    work
        A folder for everything; a run that was killed goes on in it.
    families
        Of `FAMILIES`.
    jobs
        Commands that run at once, of one thread each.

    Raises
    ------
    RuntimeError
        A command failed.
    ConfigError
        The BERT cannot be read.
    """
    work.mkdir(parents=True, exist_ok=True)
    models = {"pre-trained": bert, "random": random_twin(bert, work / "random")}
    found = {}
    for family in families:
        probes = FAMILIES[family]
        folders = {
            (name, kind): work / f"{family}-{number}-{kind}" for number, name in enumerate(probes) for kind in models
        }
        begun, start = any(folder.exists() for folder in folders.values()), time.perf_counter()
        with ThreadPoolExecutor(jobs) as pool:
            asked = ((probes[name], data, models[kind], folder) for (name, kind), folder in folders.items())
            # Where one fails or is interrupted, what did not begin is cancelled.
            done = dict(zip(folders, pool.map(_run, *zip(*asked, strict=True)), strict=True))
        seconds = _seconds(work / f"{family}.seconds", None if begun else time.perf_counter() - start)
        tasks = {
            name: {"seen": probe.seen, **{kind: done[name, kind] for kind in models}} for name, probe in probes.items()
        }
        parameters = {name: [probe.command, *probe.options, *probe.tuned, *_MACHINE] for name, probe in probes.items()}
        taken = {"jobs": jobs, "seconds": seconds}
        found[family] = protocol.record(QUESTION, parameters, {"tasks": tasks, "taken": taken}, ["torch"])
    return found


def _seconds(file: Path, taken: float | None) -> float | None:
    """Return what a family took, which is kept in a file; None where it was not run in one piece."""
    if taken is not None:
        file.write_text(f"{taken:.1f}\n", "utf-8")
    return float(file.read_text("utf-8")) if file.exists() else None


def _run(probe: Probe, data: Path, model: Path, out: Path) -> dict[str, Any]:
    options = [f"{data / text[1:]}" if text.startswith("@") else text for text in probe.options]
    seeds = 1 if out.name.endswith("random") else probe.seeds
    told = [*options, *probe.tuned, *_MACHINE, "--epochs", probe.epochs, "--seeds", seeds]
    return probed(probe.command, model, out, told)


# --- The tables


def table(result: Mapping[str, Any]) -> str:
    """Return the figures of all families as Markdown."""
    return "\n\n".join(_table(family, record) for family, record in result["families"].items()) + "\n"


def _table(family: str, record: Mapping[str, Any]) -> str:
    head = ["task", "figure", "no encoder", "random weights", "the check", "of its kind the check has seen"]
    rows = [row for name, task in record["tasks"].items() for row in _rows(family, name, task)]
    parts = [markdown.table(head, rows, texts=2)]
    if family == "coref":
        parts.append("\n".join(_verdicts(record)))
    return "\n\n".join([*parts, *_taken(record), markdown.measured_on(record)])


def _taken(record: Mapping[str, Any]) -> list[str]:
    taken = record.get("taken", {"seconds": None})
    if taken["seconds"] is None:
        return []
    return [f"All of it took {taken['seconds'] / 3600:.1f} hours, {taken['jobs']} commands of one thread at once."]


def _rows(family: str, name: str, task: Mapping[str, Any]) -> Iterable[list[str]]:
    known, drawn = task["pre-trained"], task["random"]
    for file, means in known["mean"].items():
        for figure in _told(family, known["metric"], means):
            spread = known["deviation"][file][figure]
            yield [
                f"{name}: {file}",
                figure,
                _number(_floor(known, file, figure)),
                _number(drawn["mean"][file][figure]),
                _number(means[figure]) + (f" ± {spread:.2f}" if spread is not None else ""),
                task["seen"] or "nothing known",
            ]


def _told(family: str, metric: str, figures: Mapping[str, float]) -> list[str]:
    """Return which figures stand in a table: what chooses; of coreference also without singletons, and mentions."""
    if family == "coref":
        return [metric, f"{metric}_without_singletons", "mentions_f1"]
    return [metric] if metric in figures else list(figures)


def _floor(found: Mapping[str, Any], file: str, figure: str) -> float | None:
    """Return what is reached without an encoder: the most frequent label, a word's most frequent tag, or equal strings."""
    floor = found["protocol"].get("floor", {}).get("figures", {}).get(file, {})
    own: Mapping[str, float] = {f"equal_strings_{name}": value for name, value in floor.items()} | found["mean"][file]
    return own.get(f"equal_strings_{figure}")


def _verdicts(record: Mapping[str, Any]) -> Iterable[str]:
    (name, goal), *_ = GOAL.items()
    for task in record["tasks"].values():
        file, means = next(iter(task["pre-trained"]["mean"].items()))
        for figure, singletons in (
            ("conll_f1", "with singletons"),
            ("conll_f1_without_singletons", "without singletons"),
        ):
            above = means[figure] - means[f"equal_strings_{figure}"]
            asked = markdown.asked(protocol.goals({name: above}, {name: goal})[name])
            points = f"{above:.2f} points of CoNLL F1 above one entity for equal strings"
            yield f"- {file}, {singletons}: {'; '.join([points, *asked])}."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def main() -> None:
    """Measure what the command line names, and print the tables."""
    parser = arguments("probes", __doc__, "relation/, glue/, spans/ and coref/")
    parser.add_argument("--family", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), help="[all]")
    parser.add_argument("--jobs", type=int, default=2, help="commands that run at once, of one thread each [2]")
    asked = parser.parse_args()
    found = measure(asked.data, asked.bert, asked.work, asked.family, asked.jobs)
    result = {"question": QUESTION, "families": joined(asked.json, "families", found, FAMILIES)}
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
