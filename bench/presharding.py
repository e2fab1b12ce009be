"""The question: how fast is presharding, from a file of text to masked shards.

Contestants, in turn: ``spanmask.preshard`` with one job from .jsonl.zst and from plain text, and from .jsonl.zst with byte-level BPE; its
stages one by one; and the peers of `baselines.collator_pipeline` on the first of the same text. Then whole runs of the command, with one
job and with two.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import child, compiling, markdown, peers, protocol

QUESTION = "How fast is presharding?"
SEED = 7
#: What is asked of median ratios: of bytes of text/s, one core, to the peer on the same kind of file; of seconds with one job and two.
GOALS = {
    ".jsonl.zst: spanmask / peer": 45.0,
    "plain text: spanmask / peer": 40.0,
    ".jsonl.zst: spanmask, BPE / spanmask": 0.6,
    "one file, beyond the start: 2 jobs / 1 job": 1.8,
    "several files, beyond the start: 2 jobs / 1 job": 1.8,
    "inputs as given: 2 jobs / 1 job": 1.6,
}
#: Seconds of compiling all kernels, and of loading those of a preshard.
LIMITS = {"compile everything": 45.0, "load for a preshard": 1.0}
FORMS = {".jsonl.zst": "all.jsonl.zst", "plain text": "all.txt"}
PEER_FORMS = {".jsonl.zst": "peer.jsonl.zst", "plain text": "peer.txt"}
#: The peers: whether the collator is called as documented.
PEERS = {"peer": True, "peer, collator on arrays": False}
#: The tokenizer that is measured beside BERT's, one of `tokenizer_files.KINDS`, and megabytes of prose it is trained on.
BPE, TRAINING_MEGABYTES = "gpt-2", 20.0
_PEER_ENVIRONMENT = {"TRANSFORMERS_VERBOSITY": "error"}


def measure(
    *, paths: Sequence[str] = (), rounds: int = 7, megabytes: float = 256, peer_megabytes: float = 4
) -> dict[str, Any]:
    """Measure, in child processes.

    Parameters
    ----------
    paths
        Inputs of any format; by default the stories that ship with spanmask, of which one run says little.
    rounds
        How often each contestant runs, after one call to warm up.
    megabytes, peer_megabytes
        Of text at most, for spanmask and for the peers.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``bpe``, ``contestants``, ``stages``, ``ratios``, ``commands``,
        ``compile_seconds``, ``goals`` and ``limits``.

    Raises
    ------
    ConfigError
        The ``bench`` extra is missing, or there is no text in the inputs.
    """
    from .baselines.collator_pipeline import PACKAGES

    peers.require([*PACKAGES, "sentencepiece"])
    parameters = {"rounds": rounds, "megabytes": megabytes, "peer_megabytes": peer_megabytes}
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        asked = {"paths": list(paths), "folder": folder, **{name: parameters[name] for name in list(parameters)[1:]}}
        source = child.call("corpora", "prepare", asked)
        trained = {"vocabulary": BPE, "paths": list(paths), "megabytes": TRAINING_MEGABYTES}
        bpe = child.call("tokenizer_files", "prepare", trained)
        compiled = compiling.with_caches("everything")
        given = {"folder": folder, "rounds": rounds, "source": source, "bpe": bpe["path"]}
        found = child.call("presharding", "run", given, _PEER_ENVIRONMENT)
        commands = child.call("command_runs", "run", {"folder": folder, "rounds": rounds, "paths": list(paths)})
    findings = {"input": source, "bpe": bpe["described"], **found, "commands": commands, "compile_seconds": compiled}
    return protocol.record(QUESTION, {**parameters, "seed": SEED}, {**findings, **_verdicts(findings)}, PACKAGES)


def run(*, folder: str, rounds: int, source: dict[str, Any], bpe: str) -> dict[str, Any]:
    """Measure what runs in one process; see `measure`."""
    home = Path(folder)
    (home / "staged" / "train").mkdir(parents=True)
    with protocol.pinned() as is_pinned:
        contestants, stages, described = _contestants(home, bpe)
        taken = protocol.interleave(contestants, rounds, {name: lambda: _clear(home) for name in contestants})
    sizes = {name: source["peer" if name.startswith("peer") else "all"]["bytes"] for name in contestants}
    return {"pinned": is_pinned, "peers": described, **_figures(taken, sizes, stages[-rounds:])}


def _contestants(
    home: Path, bpe: str
) -> tuple[dict[str, Callable[[], object]], list[dict[str, float]], dict[str, Any]]:
    """Return what runs, where the seconds of stages go, and what the peers are."""
    import spanmask

    from .stages import StagedRun

    config = spanmask.PreshardConfig.of(seed=SEED)
    out = home / "out"
    ours: dict[str, Callable[[], object]] = {
        f"spanmask, {form}": partial(spanmask.preshard, home / name, out, config, jobs=1)
        for form, name in FORMS.items()
    }
    with_bpe = spanmask.PreshardConfig.of(seed=SEED, vocab=bpe)
    ours["spanmask, BPE, .jsonl.zst"] = partial(spanmask.preshard, home / FORMS[".jsonl.zst"], out, with_bpe, jobs=1)
    staged = StagedRun(home / FORMS[".jsonl.zst"], home / "staged", config)
    spent: list[dict[str, float]] = []
    theirs, described = _peers(home, _tokens(home / PEER_FORMS[".jsonl.zst"], out, config))
    return {**ours, "stages, .jsonl.zst": lambda: spent.append(staged.run()), **theirs}, spent, described


def _tokens(path: Path, out: Path, config: Any) -> int:
    """Return the tokens of a file, without special ones."""
    import spanmask

    manifest = spanmask.preshard(path, out, config, jobs=1)
    tokens: int = manifest.conservation["tokens"]["in"]
    return tokens


def _peers(home: Path, tokens: int) -> tuple[dict[str, Callable[[], object]], dict[str, Any]]:
    """Return the peers, each with the collator's fastest batch, having seen that they find the same tokens."""
    from .baselines.collator_pipeline import fastest

    contestants: dict[str, Callable[[], object]] = {}
    described = {}
    for peer, padded in PEERS.items():
        pipeline, tried = fastest(home / PEER_FORMS[".jsonl.zst"], home / "peer.arrow", padded=padded)
        if pipeline.tokens != tokens:
            raise AssertionError(f"the peer finds {pipeline.tokens} tokens, and spanmask {tokens}")
        described[peer] = {"batch": pipeline.batch, "tried_seconds": tried, "step_seconds": pipeline.spent}
        for form, name in PEER_FORMS.items():
            contestants[f"{peer}, {form}"] = partial(pipeline.run, home / name, home / "peer.arrow")
    return contestants, described


def _clear(home: Path) -> None:
    shutil.rmtree(home / "out", ignore_errors=True)


def _figures(
    taken: Mapping[str, dict[str, Any]], sizes: Mapping[str, int], stages: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    """Return rates, ratios to the peers in the same round, and where the time of one run goes.

    taken: seconds of every round by contestant. sizes: their bytes of text. stages: seconds by stage, of each round of compressed JSONL;
    ``rest`` is what the whole run took beyond them.
    """
    rates = {name: protocol.rates(sizes[name], found["seconds"]) for name, found in taken.items()}
    contestants = {name: {**taken[name], "bytes_per_second": protocol.spread(rates[name])} for name in taken}
    ratios = {
        f"{form}: spanmask / {peer}": protocol.ratio(rates[f"spanmask, {form}"], rates[f"{peer}, {form}"])
        for form in FORMS
        for peer in PEERS
    }
    ratios[".jsonl.zst: spanmask, BPE / spanmask"] = protocol.ratio(
        rates["spanmask, BPE, .jsonl.zst"], rates["spanmask, .jsonl.zst"]
    )
    by_stage = {name: [spent[name] for spent in stages] for name in stages[0]}
    by_stage["rest"] = [
        whole - sum(spent.values())
        for whole, spent in zip(taken["spanmask, .jsonl.zst"]["seconds"], stages, strict=True)
    ]
    return {
        "contestants": contestants,
        "ratios": ratios,
        "stages": {name: {"seconds": rounds, **protocol.spread(rounds)} for name, rounds in by_stage.items()},
    }


def _verdicts(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ratios of whole runs with those there are, and which figures were reached and limits kept."""
    ratios = {**found["ratios"], **_scaling(found["commands"])}
    compiled = found["compile_seconds"]
    seconds = {
        "compile everything": compiled["cold"]["everything"],
        "load for a preshard": compiled["warm"]["preshard"],
    }
    return {
        "ratios": ratios,
        "goals": protocol.goals({name: ratio["median"] for name, ratio in ratios.items()}, GOALS),
        "limits": protocol.limits(seconds, LIMITS),
    }


def _scaling(commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how many times as fast two jobs are: by whole runs, and by what these take beyond starting."""
    ratios = {}
    for name in dict.fromkeys(run.rpartition(", ")[0] for run in commands if not run.startswith("start")):
        taken = [commands[f"{name}, {jobs}"]["seconds"] for jobs in ("1 job", "2 jobs")]
        starts = [protocol.spread(commands[f"start, {jobs}"]["seconds"])["median"] for jobs in ("1 job", "2 jobs")]
        beyond = [[whole - start for whole in rounds] for rounds, start in zip(taken, starts, strict=True)]
        ratios[f"{name}: 2 jobs / 1 job"] = protocol.ratio(*taken)
        ratios[f"{name}, beyond the start: 2 jobs / 1 job"] = protocol.ratio(*beyond)
    return ratios


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    comparisons = [
        markdown.comparison(name, ratio, result["goals"].get(name)) for name, ratio in result["ratios"].items()
    ]
    parts = (
        _contestant_table(result),
        "\n".join(comparisons),
        f"Where the time of one job goes, from .jsonl.zst:\n\n{_stage_table(result)}",
        f"Whole runs of the command, on all cores:\n\n{_command_table(result)}",
        _footer(result),
    )
    return "\n\n".join(parts) + "\n"


def _contestant_table(result: Mapping[str, Any]) -> str:
    rows = [
        [name, *markdown.megabytes(found["bytes_per_second"])]
        for name, found in result["contestants"].items()
        if not name.startswith("stages")
    ]
    return markdown.table(["contestant", "MB of text/s: median", "min", "max"], rows)


def _stage_table(result: Mapping[str, Any]) -> str:
    size = result["input"]["all"]["bytes"] / protocol.MEGABYTE
    whole = sum(found["median"] for found in result["stages"].values())
    rows = [
        [name, f"{1000 * found['median'] / size:.2f}", f"{100 * found['median'] / whole:.1f} %"]
        for name, found in result["stages"].items()
    ]
    return markdown.table(["stage", "ms for a MB of text", "share"], rows)


def _command_table(result: Mapping[str, Any]) -> str:
    rows = []
    for name, found in result["commands"].items():
        taken, used = (protocol.spread(found[key])["median"] for key in ("seconds", "processor_seconds"))
        rows.append([name, f"{taken:.2f}", f"{used:.2f}", f"{max(found['peak_bytes']) / protocol.MEGABYTE:,.0f}"])
    return markdown.table(["input, jobs", "seconds", "processor seconds", "MB, largest process"], rows)


def _footer(result: Mapping[str, Any]) -> str:
    cold, warm = (result["compile_seconds"][state] for state in ("cold", "warm"))
    source, peer = result["input"]["all"], result["input"]["peer"]
    kept = "; ".join(
        f"{name}: asked for less than {limit['limit']:g} s, {'kept' if limit['kept'] else 'not kept'}"
        for name, limit in result["limits"].items()
    )
    bpe = result["bpe"]
    return (
        f"Compiling all kernels: {cold['everything']:.1f} s; loading them from the cache: {warm['everything']:.2f} s, those of a preshard "
        f"{warm['preshard']:.2f} s; imports {warm['import']:.2f} s ({kept}).\n\n"
        f"Text: {', '.join(source['names'])}, {source['bytes'] / protocol.MEGABYTE:,.1f} MB in {source['documents']:,} documents; for the "
        f"peers the first {peer['bytes'] / protocol.MEGABYTE:,.1f} MB. BPE: {bpe['model']}, {bpe['entries']:,} entries, trained by "
        f"{bpe['trainer']}. {result['parameters']['rounds']} rounds.\n"
        f"{markdown.measured_on(result)}"
    )
