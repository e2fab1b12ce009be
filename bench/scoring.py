"""The question: what does scoring cost? ``python -m spanmask_bench.scoring --squad GOLD PREDICTIONS --coref KEY --json FILE``.

Whole processes, from the start of Python to the last figure, in turn: `spanmask score`, the peers that are installed and find the same
figures, and a process that only reads both files. Predicted entities are the key's, some mentions moved, left out and added.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError
from spanmask.probes.scores.conll import Entities, Mention, read_conll, write_conll
from spanmask.probes.scores.coref import score_documents
from spanmask.storage import digest

from . import markdown, peers, protocol
from .command_runs import COMMAND

QUESTION = "What does scoring cost?"
SEED = 14
SQUAD, COREF, LINKED = "squad", "coref", "coref, no singletons"
#: What is asked of whole processes, seconds less than.
LIMITS = {f"{SQUAD}, s": 0.8, f"{COREF}, s": 3.0}
#: By work: the peers, their modules and how people install them; what only reads.
_PEERS = {
    SQUAD: {"torchmetrics": ("torchmetrics", "torchmetrics")},
    COREF: {"scorch": ("scorch", "scorch")},
    LINKED: {"coreference_eval": ("corefeval", "coreference-eval")},
}
_READERS = {SQUAD: "json_alone", COREF: "lines_alone", LINKED: "lines_alone"}
_OPTIONS = {SQUAD: [], COREF: [], LINKED: ["--singletons", "drop"]}
_DROPPED, _MOVED, _ADDED = 0.07, 0.2, 0.05


def measure(*, squad: Sequence[str] = (), coref: str | None = None, rounds: int = 7) -> dict[str, Any]:
    """Measure whole processes.

    Parameters
    ----------
    squad
        Two files: questions in SQuAD's layout, and answers by id.
    coref
        A key in CoNLL files.
    rounds
        How often each contestant runs, after one call to warm up.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``inputs``, ``work`` (by name: ``contestants``, ``ratios`` to ours and peers that
        are ``missing``) and ``limits``.

    Raises
    ------
    ConfigError
        Nothing to score was given, or a peer finds other figures.
    """
    if not (squad or coref):
        raise ConfigError("nothing to score, expected --squad GOLD PREDICTIONS or --coref KEY")
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        files = {SQUAD: tuple(squad)} if squad else {}
        described = {SQUAD: [_described(path) for path in squad]} if squad else {}
        if coref:
            files |= _entities(coref, Path(folder))
            described[COREF] = [_described(coref)]
        work = {name: _work(name, paths, Path(folder), rounds) for name, paths in files.items()}
    medians = {f"{name}, s": found["contestants"]["spanmask"]["spread"]["median"] for name, found in work.items()}
    installed = [shown for name in work for module, shown in _PEERS[name].values() if not peers.missing([module])]
    findings = {"inputs": described, "work": work, "limits": protocol.limits(medians, LIMITS)}
    return protocol.record(QUESTION, {"rounds": rounds, "seed": SEED}, findings, installed)


def _described(path: str) -> dict[str, str]:
    return {"name": Path(path).name, "sha256": digest(path)}


def _work(name: str, paths: Sequence[str], folder: Path, rounds: int) -> dict[str, Any]:
    """Return what the contestants of one kind of work took; ours must find what the peers find."""
    ours = partial(_json, [*COMMAND, "score", name.partition(",")[0], *paths, *_OPTIONS[name], "--json"])
    contestants: dict[str, Callable[[], Any]] = {"spanmask": ours}
    missing = []
    for peer, (module, shown) in _PEERS[name].items():
        if peers.missing([module]):
            missing.append(shown)
            continue
        contestants[peer] = partial(_json, _baseline(peer, _peers_files(name, paths, folder)))
        _hold_against(name, contestants[peer](), ours(), folder)
    contestants["reading alone"] = partial(_json, _baseline(_READERS[name], paths))
    taken = protocol.interleave(contestants, rounds)
    for figures in taken.values():
        figures["spread"] = protocol.spread(figures["seconds"])
    ratios = {
        f"{other} / spanmask": protocol.ratio(taken[other]["seconds"], taken["spanmask"]["seconds"])
        for other in contestants
        if other != "spanmask"
    }
    return {"contestants": taken, "ratios": ratios, "missing": missing}


def _json(command: Sequence[str]) -> Any:
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def _baseline(name: str, paths: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "spanmask_bench.baselines.scorers", name, *paths]


# --- Entities


def _entities(path: str, folder: Path) -> dict[str, tuple[str, str]]:
    """Write predictions as a CoNLL file for us, and both sides as JSON for the peers; return our files by work."""
    rng = random.Random(SEED)
    key = {name: (document.tokens, document.entities) for name, document in read_conll(path).items()}
    predicted = {name: (tokens, changed(entities, tokens, rng)) for name, (tokens, entities) in key.items()}
    words = {name: ([["word"] * tokens], entities) for name, (tokens, entities) in predicted.items()}
    write_conll(folder / "predicted", words)
    for side, documents in (("key", key), ("predicted", predicted)):
        for work, least in ((COREF, 1), (LINKED, 2)):
            linked = {
                name: [list(mentions) for mentions in entities if len(mentions) >= least]
                for name, (_, entities) in documents.items()
            }
            (folder / f"{side}, {work}.json").write_text(json.dumps(linked))
    return dict.fromkeys((COREF, LINKED), (path, str(folder / "predicted")))


def _peers_files(name: str, paths: Sequence[str], folder: Path) -> Sequence[str]:
    return paths if name == SQUAD else [str(folder / f"{side}, {name}.json") for side in ("key", "predicted")]


def changed(entities: Entities, tokens: int, rng: random.Random) -> list[list[Mention]]:
    """Return entities with some mentions left out, some moved to another entity, and some of a token added; no two of one entity cross."""
    found: list[list[Mention]] = [[] for _ in entities]
    known = {mention for mentions in entities for mention in mentions}
    added = {(token, token) for token in rng.sample(range(tokens), int(tokens * _ADDED / 5))} - known
    for number, mentions in [*enumerate(entities), *((-1, [mention]) for mention in sorted(added))]:
        for mention in mentions:
            draw = rng.random()
            if found and draw >= _DROPPED:
                home = found[rng.randrange(len(found)) if draw < _MOVED or number < 0 else number]
                if all(mention[1] < start or end < mention[0] for start, end in home):
                    home.append(mention)
    return [mentions for mentions in found if mentions]


def _hold_against(name: str, theirs: Any, ours: Any, folder: Path) -> None:
    """Refuse a peer that finds other figures.

    Raises
    ------
    ConfigError
        It does.
    """
    if name == COREF:
        sides = [json.loads(Path(path).read_bytes()) for path in _peers_files(name, (), folder)]
        key, response = sides
        documents = {name: score_documents([(_tuples(key[name]), _tuples(response[name]))]) for name in key}
        pairs = [
            (value, documents[name][metric][part])
            for name, metrics in theirs.items()
            for metric, values in metrics.items()
            for part, value in zip(("recall", "precision", "f1"), values, strict=True)
        ]
    elif name == LINKED:
        known = {"b_cubed": "bcub"}
        pairs = [
            (value, ours[known.get(metric, metric)][part])
            for metric, values in theirs.items()
            for part, value in values.items()
        ]
    else:
        pairs = [(theirs[part] / 100, ours[part] / 100) for part in ("exact_match", "f1")]
    # torchmetrics adds up in single precision.
    allowed = 1e-4 if name == SQUAD else 1e-9
    if not pairs or any(abs(one - other) > allowed for one, other in pairs):
        raise ConfigError(f"{name}: a peer finds other figures; it cannot be measured beside")


def _tuples(entities: Any) -> list[list[Mention]]:
    return [[(start, end) for start, end in mentions] for mentions in entities]


# --- The table


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = [
        [work, name, *(f"{figures['spread'][key]:.3f}" for key in ("median", "min", "max"))]
        for work, found in result["work"].items()
        for name, figures in found["contestants"].items()
    ]
    verdicts = [
        f"- {name}: {told}." for name, limit in result["limits"].items() for told in markdown.asked(None, limit)
    ]
    ratios = [
        markdown.comparison(f"{work}: {name}", ratio, None)
        for work, found in result["work"].items()
        for name, ratio in found["ratios"].items()
    ]
    head = ["work", "contestant", "whole process, s: median", "min", "max"]
    return "\n\n".join([markdown.table(head, rows, texts=2), "\n".join([*ratios, *verdicts]), f"{_footer(result)}\n"])


def _footer(result: Mapping[str, Any]) -> str:
    names = ", ".join(described["name"] for inputs in result["inputs"].values() for described in inputs)
    return f"Inputs: {names}; {result['parameters']['rounds']} rounds. {markdown.measured_on(result)}"


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.scoring", description=__doc__)
    parser.add_argument("--squad", nargs=2, default=(), metavar=("GOLD", "PREDICTIONS"))
    parser.add_argument("--coref", metavar="KEY", help="CoNLL files")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contestant runs (default: 7)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    result = measure(squad=asked.squad, coref=asked.coref, rounds=asked.rounds)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
