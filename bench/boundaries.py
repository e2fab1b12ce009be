"""The question: do boundary states tell more of what is between them where that was trained.

    python -m spanmask_bench.boundaries TEXT.jsonl.zst… --work DIR --json FILE

Tiny models are trained with masked tokens alone and with span boundaries too, for the same tokens: of each pair of a seed the encoder
begins with the same weights by name, and reads the same masks in the same order. ``spanmask probe boundaries`` asks all of them on the
held-out split, and what is told are paired differences over the seeds, whichever way they fall. Every step is a command as a user would
give it, and goes on where a killed one was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from . import markdown, protocol
from .command_runs import COMMAND

QUESTION = "Do boundary states tell more of what is between them where that was trained?"
OBJECTIVES = ("mlm", "mlm+sbo")
PLACES, INSIDES = ("first", "last", "inner"), ("masked", "visible")
THREADS, SEED = 1, 7
_LONGEST, _HOLDOUT, _EVALUATED = 128, 0.2, 1000
#: The one figure that the question is answered by, named before anything was measured: what stands inside, and the figure over all places.
PRIMARY = ("masked", "saved")
#: What a folder for everything was begun with.
_BEGUN = "parameters.json"


def measure(texts: Sequence[Path], work: Path, *, seeds: int, steps: int, entries: int, spans: int) -> dict[str, Any]:
    """Run what is not done yet, and return the figures of all of it.

    Parameters
    ----------
    texts
        What models are trained on, but for a share of the documents.
    work
        A folder for everything; a run that was killed goes on in it.
    seeds
        Trainings with each objective.
    steps
        Updates of each.
    entries
        Of the vocabulary.
    spans
        Spans that are asked for.

    Raises
    ------
    RuntimeError
        A command failed, or what is there does not belong together: it was begun with other parameters, a seed was not asked, or models
        were trained for other tokens.
    """
    parameters = {"seeds": seeds, "steps": steps, "entries": entries, "spans": spans, "holdout": _HOLDOUT}
    _begin(work, {**parameters, "texts": [text.name for text in texts]})
    shards = _sharded(texts, work, entries)
    numbers = range(1, seeds + 1)
    alike = {str(seed): _same_start(shards, _training(steps, seed)) for seed in numbers}
    for seed in numbers:
        for objective in OBJECTIVES:
            _train(shards, work / f"{objective}-{seed}", objective, _training(steps, seed))
    models = {objective: [_trained(work / f"{objective}-{seed}") for seed in numbers] for objective in OBJECTIVES}
    require_alike(models)
    found = {objective: _asked(shards, work, objective, numbers, spans) for objective in OBJECTIVES}
    findings = {
        "input": _input(shards),
        "models": models,
        "same_start": alike,
        "primary": list(PRIMARY),
        "pairs": _pairs([found[objective] for objective in OBJECTIVES]),
        "beside": {objective: _beside(found[objective], numbers) for objective in OBJECTIVES},
        "lengths": _by_length(found, numbers),
    }
    return protocol.record(QUESTION, parameters, findings, ["torch"])


# --- What is run


def _begin(work: Path, parameters: Mapping[str, Any]) -> None:
    """Keep what a folder is begun with, or hold what it was begun with against that: what is done is not done again."""
    work.mkdir(parents=True, exist_ok=True)
    kept = work / _BEGUN
    if not kept.exists():
        if any(work.iterdir()):
            raise RuntimeError(f"{work} is not empty, and does not say what it was begun with: give another --work")
        kept.write_text(json.dumps(parameters, indent=2) + "\n", "utf-8")
    before = json.loads(kept.read_text("utf-8"))
    unlike = [name for name in sorted(before.keys() | parameters) if before.get(name) != parameters.get(name)]
    if unlike:
        told = "; ".join(f"{name} was {before.get(name)}, is {parameters.get(name)}" for name in unlike)
        raise RuntimeError(f"{work} was begun with other parameters: {told}: give those, or another --work")


def _run(*arguments: object) -> None:
    done = subprocess.run([*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise RuntimeError(
            f"spanmask {arguments[0]} ended with {done.returncode}; see above, mend it and start this again"
        )


def _sharded(texts: Sequence[Path], work: Path, entries: int) -> Path:
    """Return the dataset, with a vocabulary of its own: few entries, which tiny models learn something of in minutes."""
    vocabulary, shards = work / "vocabulary", work / "shards"
    if not vocabulary.exists():
        _run("vocab", *texts, "--kind", "wordpiece", "--uncased", "--size", entries, "--out", vocabulary)
    options = ["--seed", SEED, "--max-tokens", _LONGEST, "--holdout", _HOLDOUT]
    _run("preshard", *texts, "--out", shards, "--vocab", vocabulary, *options)
    return shards


def _training(steps: int, seed: int) -> dict[str, Any]:
    """Return the options of a training but for its objective."""
    return {"preset": "cpu", "steps": steps, "seed": seed, "max_positions": _LONGEST}


def _train(shards: Path, run: Path, objective: str, options: Mapping[str, Any]) -> None:
    """Train a model, or go on with that."""
    done = run / "done"
    if done.exists():
        return
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    begun = ["--objective", objective, *flags, "--threads", THREADS, "--eval", "--eval-sequences", _EVALUATED]
    _run("train", shards, "--out", run, *(["--resume"] if (run / "run.json").exists() else begun))
    done.touch()


def _asked(shards: Path, work: Path, objective: str, seeds: Sequence[int], spans: int) -> Path:
    """Return the probe's run of all models of an objective."""
    out = work / f"{objective}-found"
    if not (out / "results.json").exists():
        models = [work / f"{objective}-{seed}" for seed in seeds]
        options = ["--spans", spans, "--seeds", ",".join(map(str, seeds))]
        resume = ["--resume"] if (out / "probe.json").exists() else []
        _run("probe", "boundaries", *models, shards, "--out", out, "--threads", THREADS, *options, *resume)
    return out


# --- What is found


def _same_start(shards: Path, options: Mapping[str, Any]) -> bool:
    """Tell whether models of both objectives begin with the same weights, as far as both have them."""
    import spanmask
    from spanmask.reproduction.scheduling import shared_start
    from spanmask.train import TrainConfig

    dataset = spanmask.open(shards)
    one, other = ((TrainConfig.of(**options, objective=objective), dataset) for objective in OBJECTIVES)
    same, both = shared_start(one, other)
    return same == both


def _input(shards: Path) -> dict[str, Any]:
    manifest = json.loads((shards / "manifest.json").read_bytes())
    return {
        "names": [one["name"] for one in manifest["inputs"]],
        "fingerprint": manifest["fingerprint"],
        "documents": manifest["conservation"]["documents_in"],
        "rows": {name: counts["rows"] for name, counts in manifest["statistics"].items()},
    }


def _trained(run: Path) -> dict[str, Any]:
    """Return how far a model was trained, and its loss on held-out text."""
    line = json.loads((run / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    evaluated = json.loads((run / "evaluation.jsonl").read_text("utf-8").splitlines()[-1])
    known = json.loads((run / "run.json").read_bytes())
    return {
        "parameters": known["parameters"],
        "step": line["step"],
        "tokens": line["tokens"],
        "held_out_mlm_loss": evaluated["mlm_loss"],
    }


def require_alike(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Refuse models of a seed, one of each objective, that are not trained alike; seeds draw rows of other lengths.

    Raises
    ------
    RuntimeError
        Two differ in updates or tokens.
    """
    for seed, pair in enumerate(zip(*models.values(), strict=True), 1):
        trained = {(one["step"], one["tokens"]) for one in pair}
        if len(trained) > 1:
            told = "; ".join(f"{step} updates, {tokens:,} tokens" for step, tokens in sorted(trained))
            raise RuntimeError(
                f"models of seed {seed} are trained for different lengths: {told}: remove those that differ from --work"
            )


def _pairs(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the figures of both, and their differences paired by seed, as `spanmask probe compare` has them."""
    from spanmask.probes.comparing import compare

    comparison = compare([str(run) for run in runs])
    one, other = comparison.runs
    return [
        {
            "inside": pair.file,
            "figure": pair.figure,
            "means": [fmean(run.values(pair.file, pair.figure)) for run in (one, other)],
            "differences": list(pair.differences),
            "mean": pair.mean,
            "interval": pair.over_seeds,
            "verdict": pair.verdict,
        }
        for pair in comparison.pairs
    ]


def founds(run: Path, seeds: Sequence[int]) -> list[Mapping[str, Any]]:
    """Return what was found by seed.

    Raises
    ------
    RuntimeError
        A seed has nothing.
    """
    from spanmask.probes.boundaries.record import read_found

    found = [(seed, read_found(run, seed)) for seed in seeds]
    missing = [str(seed) for seed, one in found if one is None]
    if missing:
        raise RuntimeError(f"{run} has nothing of seed {', '.join(missing)}: remove it, and start this again")
    return [one for _, one in found if one is not None]


def _beside(run: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the mean bits of every reader, and how often shuffled labels were off by more than chance has it."""
    from spanmask.probes.boundaries.findings import complaints

    found = founds(run, seeds)
    bits = {
        inside: {
            place: {
                reader: fmean(one[inside][place]["readers"][reader]["bits"] for one in found)
                for reader in found[0][inside][place]["readers"]
            }
            for place in found[0][inside]
        }
        for inside in INSIDES
    }
    return {"bits": bits, "complaints": [line for one in found for line in complaints(one)]}


def _by_length(runs: Mapping[str, Path], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return how many bits more are saved with span boundaries, by what is inside, place and length."""
    from spanmask.probes.intervals import over_seeds

    one, other = (founds(runs[objective], seeds) for objective in OBJECTIVES)
    rows = []
    for inside in INSIDES:
        for place, told in one[0][inside].items():
            for length, there in told["lengths"].items():
                saved = [
                    [found[inside][place]["lengths"][length]["readers"]["model"]["saved"] for found in side]
                    for side in (one, other)
                ]
                differences = [b - a for a, b in zip(*saved, strict=True)]
                key = {"inside": inside, "place": place, "length": length, "tokens": there["tokens"]}
                known = {"mean": fmean(differences), "interval": over_seeds(differences)}
                rows.append({**key, "saved": [fmean(side) for side in saved], **known})
    return rows


# --- The table


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown: bits saved by place, by length, and what stands beside."""
    parts = [_saved(result), _answered(result), _beside_rows(result), _length_rows(result), f"{_told(result)}\n"]
    return "\n\n".join(parts)


def _saved(result: Mapping[str, Any]) -> str:
    head = ["bits saved of", *OBJECTIVES, "difference", "95 % over seeds", "so it is"]
    rows = []
    for pair in result["pairs"]:
        if pair["figure"] == "saved" or pair["figure"].removesuffix("_saved") in PLACES:
            what = "all three" if pair["figure"] == "saved" else pair["figure"].removesuffix("_saved")
            means = [f"{value:.3f}" for value in pair["means"]]
            cells = [*means, f"{pair['mean']:+.3f}", markdown.interval(pair["interval"], 3), pair["verdict"]]
            rows.append([f"{what}, inside {pair['inside']}", *cells])
    return markdown.table(head, rows)


def _answered(result: Mapping[str, Any]) -> str:
    """Return which figure answers the question, and how the others are to be read."""
    inside, figure = PRIMARY
    (pair,) = (one for one in result["pairs"] if (one["inside"], one["figure"]) == PRIMARY)
    return (
        f"The question is answered by one figure, named beforehand: bits {figure}, inside {inside}, all three places, which is "
        f"{pair['mean']:+.3f} ({markdown.interval(pair['interval'], 3)}): {pair['verdict']}. All others are looked at each by itself: "
        "of twenty that are alike one is called different."
    )


def _beside_rows(result: Mapping[str, Any]) -> str:
    head = ["bits a token", "unigram", "shuffled", "static", "random", "model"]
    rows = []
    for objective, beside in result["beside"].items():
        for inside, places in beside["bits"].items():
            for place, readers in places.items():
                cells = [f"{readers[name]:.3f}" for name in head[1:]]
                rows.append([f"{objective}: {place}, inside {inside}", *cells])
    return markdown.table(head, rows)


def _length_rows(result: Mapping[str, Any]) -> str:
    head = ["token, inside, pieces of the span", "tokens", *OBJECTIVES, "difference", "95 % over seeds"]
    rows = [
        [
            f"{one['place']}, {one['inside']}, {one['length']}",
            f"{one['tokens']:,}",
            *(f"{value:.3f}" for value in one["saved"]),
            f"{one['mean']:+.3f}",
            markdown.interval(one["interval"], 3),
        ]
        for one in result["lengths"]
    ]
    return markdown.table(head, rows)


def _told(result: Mapping[str, Any]) -> str:
    models, parameters = result["models"], result["parameters"]
    loss = {name: fmean(one["held_out_mlm_loss"] for one in each) for name, each in models.items()}
    first = models[OBJECTIVES[0]][0]
    tokens = [one["tokens"] for one in models[OBJECTIVES[0]]]
    alike = "the same weights by name" if all(result["same_start"].values()) else "OTHER WEIGHTS"
    complaints = sum(len(beside["complaints"]) for beside in result["beside"].values())
    return (
        f"{parameters['seeds']} seeds of each, {first['parameters']:,} parameters, {min(tokens):,} to {max(tokens):,} tokens by seed, "
        f"from {alike}; masked-token loss on held-out text {', '.join(f'{name} {value:.3f}' for name, value in loss.items())}. "
        f"Shuffled labels are off by more than chance has it {complaints} times. {markdown.measured_on(result)}"
    )


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.boundaries", description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT", help="what models are trained and asked on")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where everything is written")
    parser.add_argument("--seeds", type=int, default=6, help="trainings with each objective")
    parser.add_argument("--steps", type=int, default=4000, help="updates of each training")
    parser.add_argument("--entries", type=int, default=4000, help="of the vocabulary")
    parser.add_argument("--spans", type=int, default=20_000, help="spans that are asked for")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    options = {name: getattr(asked, name) for name in ("seeds", "steps", "entries", "spans")}
    result = measure(asked.texts, asked.work, **options)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
