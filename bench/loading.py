"""The question: what does loading cost.

Contestants, in turn, on the shards of one text: whole epochs of a `Stream`, padded and packed, with masks stored and fresh; copies of as
many bytes; reading rows alone; masking alone; and transformers' collators on the first of the same rows. Then what comes from the disk when
nothing is in memory, and what resuming takes in a dataset of 10⁸ rows.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import child, peers, protocol

QUESTION = "What does loading cost?"
SEED = 7
PADDED, PACKED, FRESH = "stored padded", "stored packed", "fresh packed"
#: What runs through `Stream.batches`, by what its configuration says.
STREAMS: dict[str, dict[str, Any]] = {
    PADDED: {"batch_size": 256},
    "stored padded, batches of 128": {"batch_size": 128},
    "stored padded, batches of 64": {"batch_size": 64},
    "fresh padded": {"batch_size": 256, "masks": "fresh"},
    PACKED: {"batch_size": 64, "layout": "packed"},
    "stored packed, batches of 256": {"batch_size": 256, "layout": "packed"},
    FRESH: {"batch_size": 64, "layout": "packed", "masks": "fresh"},
}
#: The peers: whether whole words are masked.
PEERS = {"collator, tokens": False, "collator, whole words": True}
_QUIET = {"TRANSFORMERS_VERBOSITY": "error"}
_WITH_WORKERS = ", 2 workers"
#: Bins of the batches, with fresh masks, whose fill is told; the used share that is asked of their slots.
BINS = (8, 64)
_LEAST = {"tokens": 0.97, "mlm": 0.95, "sbo": 0.95}
#: What is asked of the figures, at least: of processor seconds for as many tokens; of slots used.
GOALS = {
    f"processor: collator, whole words / {PADDED}": 50.0,
    f"processor: collator, whole words / {FRESH}": 50.0,
    **{f"fill of {bins} bins: {name}": least for bins in BINS for name, least in _LEAST.items()},
}
#: What is asked of the figures, less than: of seconds by the clock, of bytes from the disk, of milliseconds.
LIMITS = {
    f"{PADDED} / copy": 1.5,
    f"{PACKED} / copy": 2.5,
    f"{FRESH}, beyond stored / masking": 1.3,
    **{f"fill of {bins} bins: second": 0.01 for bins in BINS},
    "disk bytes / useful bytes": 1.5,
    "load_state_dict, ms": 10.0,
}


def measure(
    *, paths: Sequence[str] = (), rounds: int = 7, megabytes: float = 64, peer_sequences: int = 1024
) -> dict[str, Any]:
    """Measure, in child processes of one thread.

    Parameters
    ----------
    paths
        Inputs of any format; by default the stories that ship with spanmask, which make few rows.
    rounds
        How often each contestant runs, after one call to warm up.
    megabytes
        Of text at most.
    peer_sequences
        Rows at most for the peers, which are slow.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``contestants``, ``batches``, ``fill``, ``ratios``, ``peers``,
        ``cold``, ``resuming``, ``goals`` and ``limits``.

    Raises
    ------
    ConfigError
        The ``bench`` extra is missing, or there is no text in the inputs.
    """
    from .baselines.hugging_face_collators import PACKAGES

    peers.require(PACKAGES)
    parameters = {"rounds": rounds, "megabytes": megabytes, "peer_sequences": peer_sequences}
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        source = child.call("loading", "prepare", {"paths": list(paths), "folder": folder, "megabytes": megabytes})
        shards = str(Path(folder, "shards"))
        cold = child.call("cold_reads", "run", {"folder": shards, "rounds": rounds})
        found = child.call(
            "loading", "run", {"folder": shards, "rounds": rounds, "peer_sequences": peer_sequences}, _QUIET
        )
    findings = {"input": source, **found, "cold": cold}
    return protocol.record(QUESTION, {**parameters, "seed": SEED}, {**findings, **_verdicts(findings)}, PACKAGES)


def prepare(*, paths: list[str], folder: str, megabytes: float, shard_bytes: int = 32 << 20) -> dict[str, Any]:
    """Write the shards of a text to ``folder/shards``; return what the text is, and rows, tokens and bytes of the shards."""
    import spanmask

    from . import texts

    text = texts.read(paths, int(megabytes * protocol.MEGABYTE))
    file, out = Path(folder, "text.jsonl"), Path(folder, "shards")
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps({'text': document}, ensure_ascii=False)}\n" for document in text.documents)
    spanmask.preshard(file, out, spanmask.PreshardConfig.of(seed=SEED, shard_bytes=shard_bytes), jobs=1)
    shards = spanmask.open(out).split.shards
    counted = {
        "rows": sum(shard.rows for shard in shards),
        "row_tokens": sum(shard.tokens for shard in shards),
        "shard_bytes": sum(shard.bytes for shard in shards),
    }
    return {**text.described, **counted}


def run(*, folder: str, rounds: int, peer_sequences: int) -> dict[str, Any]:
    """Measure what runs with everything in memory; see `measure`."""
    import spanmask

    from . import resuming
    from .epochs import Epochs, Metered, fill_of

    shards = spanmask.open(folder)
    with warnings.catch_warnings(), protocol.pinned() as is_pinned:
        warnings.filterwarnings("ignore", message="stored masks are the same")
        ours, tokens, held = _ours(shards)
        theirs, rows, described = _peers(shards, peer_sequences)
        metered = {name: Metered(function) for name, function in {**ours, **theirs}.items()}
        taken = protocol.interleave(metered, rounds)
        resumed = resuming.measure(shards)
        streams = {bins: Epochs(shards, batch_size=bins, layout="packed", masks="fresh") for bins in BINS}
        fill = {str(bins): fill_of(stream) for bins, stream in streams.items()}
    for name, found in taken.items():
        found["processor_seconds"] = metered[name].last(rounds)
        found["tokens"] = tokens if name in ours else rows
    batches = {name: {"count": one.count, "bytes": one.bytes} for name, one in held.items()}
    return {
        "pinned": is_pinned,
        "peers": described,
        "batches": batches,
        "fill": fill,
        "resuming": resumed,
        **_figures(taken),
    }


def _ours(shards: Any) -> tuple[dict[str, Callable[[], object]], int, dict[str, Any]]:
    """Return what runs on all rows, their tokens, and the batches of one epoch of the streams that are copied."""
    from .epochs import Epochs, Held, Masking, Reading, copies_of_files

    streams = {name: Epochs(shards, **options) for name, options in STREAMS.items()}
    held = {name: Held(streams[name]) for name in (PADDED, PACKED)}
    copies: dict[str, Callable[[], object]] = {
        f"{name}: copy{', cached' if cached else ''}": one.copies(cached=cached)
        for name, one in held.items()
        for cached in (False, True)
    }
    contestants = {name: stream.run for name, stream in streams.items()}
    tokens = {one.tokens for one in held.values()}
    if tokens != {sum(shard.tokens for shard in shards.split.shards)}:
        raise AssertionError(f"epochs hold {tokens} tokens, which are not those of the shards")
    alone = {
        "shards: copy": copies_of_files(shards),
        "reading": Reading(shards).run,
        "masking": Masking(shards).run,
    }
    return {**contestants, **copies, **alone}, tokens.pop(), held


def _peers(shards: Any, sequences: int) -> tuple[dict[str, Callable[[], object]], int, dict[str, Any]]:
    """Return the collators, having seen that their batches hold the rows; the tokens of these; and what the collators are."""
    from .baselines.hugging_face_collators import fastest, require_originals
    from .epochs import plain_rows

    rows = plain_rows(shards, sequences)
    contestants: dict[str, Callable[[], object]] = {}
    described = {}
    for name, whole_words in PEERS.items():
        collator, tried = fastest(shards.manifest.vocabulary, rows, whole_words=whole_words)
        require_originals(collator, rows)
        contestants |= {name: collator.run, f"{name}{_WITH_WORKERS}": collator.run_with_workers}
        described[name] = {**collator.described, "tried_tokens_per_second": tried}
    return contestants, rows.tokens, {"rows": len(rows.ids), "tokens": rows.tokens, **described}


def _figures(taken: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return contestants with their rates, and the ratios between them."""
    contestants = {}
    for name, found in taken.items():
        rates = protocol.rates(found["tokens"], found["seconds"])
        costs = [1e9 * used / found["tokens"] for used in found["processor_seconds"]]
        contestants[name] = {
            **found,
            "tokens_per_second": protocol.spread(rates),
            "processor_ms_per_million": {"rounds": costs, **protocol.spread(costs)},
        }
    return {"contestants": contestants, "ratios": {**_clock_ratios(taken), **_processor_ratios(contestants)}}


def _clock_ratios(taken: Mapping[str, Any]) -> dict[str, Any]:
    ratios = {}
    for name in (PADDED, PACKED):
        for copy in ("copy", "copy, cached"):
            ratios[f"{name} / {copy}"] = protocol.ratio(taken[name]["seconds"], taken[f"{name}: {copy}"]["seconds"])
        copied, written = taken[f"{name}: copy"]["seconds"], taken[f"{name}: copy, cached"]["seconds"]
        roofline = [a + b for a, b in zip(taken["shards: copy"]["seconds"], written, strict=True)]
        ratios[f"{name}: roofline / copy"] = protocol.ratio(roofline, copied)
        ratios[f"{name} / roofline"] = protocol.ratio(taken[name]["seconds"], roofline)
        ratios[f"{name}, beyond reading / copy"] = protocol.ratio(_beyond(taken, name, "reading"), copied)
    beyond = _beyond(taken, FRESH, PACKED)
    return {**ratios, f"{FRESH}, beyond stored / masking": protocol.ratio(beyond, taken["masking"]["seconds"])}


def _beyond(taken: Mapping[str, Any], name: str, other: str) -> list[float]:
    """Return the seconds that one contestant takes more than another, by round."""
    return [a - b for a, b in zip(taken[name]["seconds"], taken[other]["seconds"], strict=True)]


def _processor_ratios(contestants: Mapping[str, Any]) -> dict[str, Any]:
    costs = {name: found["processor_ms_per_million"]["rounds"] for name, found in contestants.items()}
    return {
        f"processor: {peer}{workers} / {name}": protocol.ratio(costs[f"{peer}{workers}"], costs[name])
        for peer in PEERS
        for workers in ("", _WITH_WORKERS)
        for name in (PADDED, FRESH)
    }


def _verdicts(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return all ratios, and which figures were reached and limits kept."""
    ratios, cold = dict(found["ratios"]), found["cold"]
    if cold["disk_bytes"] is not None:
        useful = [cold["useful_bytes"]] * len(cold["disk_bytes"])
        ratios["disk bytes / useful bytes"] = protocol.ratio(cold["disk_bytes"], useful)
    loading = max(found["resuming"]["load_state_dict"].values(), key=lambda spread: spread["median"])
    figures = {name: ratio["median"] for name, ratio in ratios.items()}
    fills = {
        f"fill of {bins} bins: {name}": share for bins, fill in found["fill"].items() for name, share in fill.items()
    }
    figures |= {**fills, "load_state_dict, ms": loading["median"]}
    return {"ratios": ratios, "goals": protocol.goals(figures, GOALS), "limits": protocol.limits(figures, LIMITS)}
