"""The question: how fast is training, beside transformers, in tokens that are no padding.

Every contestant lives in a process of its own and takes turns with the others, A B C C B A in each round. All begin with the same weights
and train on the same rows with the same masks, as many a step, without dropout, with the same AdamW and learning rates; their losses before
the first update are compared. On a GPU the same command fills the table of compiled variants.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError

from . import child, peers, protocol
from .hosting import PROFILED, WARM_UP, Hosted, HostError
from .training_variants import BACKBONE_SLOTS, BACKBONES, VARIANTS, Setting, Variant

QUESTION = "How fast is training?"
SEED = 7
#: How far losses before the first update may lie apart.
TOLERANCE = 1e-2
#: Dense bfloat16 products of an H100 or H200, FLOP/s (the maker's data sheet).
PEAK = 989e12
#: Ratios to be reached, and tokens/s, asked of one H200.
GOALS = {
    "mini: ours, mlm / hugging face": 3.0,
    "mini: ours, mlm / hugging face, masked rows": 1.2,
    "modernbert: ours, mlm / hugging face": 1.5,
    "modernbert: ours, mlm / hugging face, masked rows": 1.0,
    "base: ours, varlen, mlm+sbo / hugging face, tuned and compiled": 2.0,
    "large: ours, varlen, mlm+sbo / hugging face, tuned and compiled": 2.0,
    "base: ours, varlen, mlm+sbo, tokens/s": 600_000.0,
    "large: ours, varlen, mlm+sbo, tokens/s": 215_000.0,
    "base: ours, varlen, mlm+sbo / ours, data on the device, mlm+sbo": 0.99,
    "large: ours, varlen, mlm+sbo / ours, data on the device, mlm+sbo": 0.99,
}
_OURS = ("ours, mlm", "ours, mlm+sbo", "ours, varlen, mlm+sbo")
_BESIDE = (
    "hugging face",
    "hugging face, masked rows",
    "hugging face, tuned and compiled",
    "ours, data on the device, mlm+sbo",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model by name, and its steps: micro-batches of so many bins."""

    model: str
    bins: int
    accumulate: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured. variants: a table of `training_variants`; turn: steps of a turn; together: contestants that are built at once.

    segmentation: how documents are cut into rows; ``sentence`` ends them where sentences do, so that their lengths differ.
    """

    device: str
    variants: str
    sizes: tuple[Size, ...]
    slots: int = 512
    turn: int = 1
    megabytes: float = 4.0
    together: int = 1
    segmentation: str = "sentence"


PLANS = {
    "cpu": Plan(device="cpu", variants="cpu", sizes=(Size(model="mini", bins=8),)),
    "cuda": Plan(
        device="cuda",
        variants="cuda",
        sizes=(Size(model="base", bins=64, accumulate=2), Size(model="large", bins=32, accumulate=4)),
        turn=10,
        megabytes=48.0,
        together=3,
    ),
}


def measure(*, paths: Sequence[str] = (), plan: Plan, rounds: int = 7, minutes: float = 9.0) -> dict[str, Any]:
    """Measure, each contestant in a process of its own.

    Parameters
    ----------
    paths
        Inputs of any format; by default the stories that ship with spanmask, which make a few steps only.
    plan
        What is measured.
    rounds
        How often each contestant has two turns, after some steps to warm up; fewer where time is short.
    minutes
        What all may take. What does not fit is left out, and said so.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``ceilings``, ``models``, ``ratios`` and ``goals``.

    Raises
    ------
    ConfigError
        The ``bench`` or ``train`` extra is missing, the text is too short, or there is no such device.
    AssertionError
        Contestants do not do the same work.
    """
    from .baselines.hugging_face_trainer import PACKAGES

    peers.require(("torch", *PACKAGES))
    _require_device(plan.device)
    ends = time.monotonic() + 60 * minutes
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        asked = {"paths": list(paths), "folder": folder, "megabytes": plan.megabytes, "slots": plan.slots}
        source = child.call("training", "prepare", {**asked, "segmentation": plan.segmentation})
        ceilings = child.call("ceilings", "measured", {"device": plan.device, "threads": threads})
        models = {}
        for place, size in enumerate(plan.sizes):
            share = (ends - time.monotonic()) / (len(plan.sizes) - place)
            setting = _setting(plan, size, f"{folder}/shards", threads, rounds)
            models[size.model] = _of_model(setting, plan, rounds, time.monotonic() + share)
    findings = {"input": source, "ceilings": ceilings, "models": models, **verdicts(models)}
    parameters = {"rounds": rounds, "minutes": minutes, "seed": SEED, "threads": threads, **asdict(plan)}
    return protocol.record(QUESTION, parameters, findings, ("torch", *PACKAGES))


def _require_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("torch finds no GPU to measure on: give --device cpu, or install a torch for this GPU")


def prepare(*, paths: list[str], folder: str, megabytes: float, slots: int, segmentation: str) -> dict[str, Any]:
    """Make the dataset ``shards`` in a folder; return what its text and rows are."""
    import spanmask

    from . import texts

    text = texts.read(paths, int(megabytes * protocol.MEGABYTE))
    source = Path(folder) / "text.txt"
    source.write_text("\n\n".join(text.documents) + "\n", "utf-8", newline="\n")
    config = spanmask.PreshardConfig.of(seed=SEED, max_tokens=slots, segmentation=segmentation)
    manifest = spanmask.preshard(source, Path(folder) / "shards", config, jobs=1)
    split = manifest.splits["train"]
    return {**text.described, "rows": split.rows, "row_tokens": split.tokens / split.rows}


def _setting(plan: Plan, size: Size, dataset: str, threads: int, rounds: int) -> Setting:
    return Setting(
        dataset=dataset,
        model=size.model,
        slots=plan.slots,
        bins=size.bins,
        accumulate=size.accumulate,
        steps=1 + WARM_UP + PROFILED + 2 * rounds * plan.turn,
        device=plan.device,
        threads=threads,
        seed=SEED,
    )


def _of_model(setting: Setting, plan: Plan, rounds: int, deadline: float) -> dict[str, Any]:
    """Measure all variants of a model; a variant that fails, or for which no time is left, has its reason under ``failed``."""
    variants = VARIANTS[plan.variants]
    hosted = {name: Hosted(setting, variant, deadline) for name, variant in variants.items()}
    failed: dict[str, str] = {}
    try:
        with ThreadPoolExecutor(plan.together) as pool:
            prepared = dict(zip(hosted, pool.map(lambda one: _tried(one.prepare), hosted.values()), strict=True))
        ready = _sorted_out(prepared, failed)
        require_same_losses({name: found["loss"] for name, found in ready.items()})
        turns = _turns({name: hosted[name] for name in ready}, rounds, plan.turn, failed, deadline)
        idle = {name: _tried(lambda name=name: hosted[name].ask("profile")) for name in turns}  # type: ignore[misc]
    finally:
        for one in hosted.values():
            one.end()
    figures = {
        name: {**_described(variants[name]), **figures_of(ready[name], taken), "idle": _idle(idle[name])}
        for name, taken in turns.items()
    }
    return {"setting": setting.to_json(), "variants": figures, "failed": failed}


def _tried(function: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    """Return what a contestant answers, or why it does not."""
    try:
        return function()
    except HostError as error:
        return str(error)


def _idle(answer: dict[str, Any] | str) -> float | None:
    return None if isinstance(answer, str) else answer["idle"]


def _sorted_out(answers: Mapping[str, dict[str, Any] | str], failed: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the answers; reasons go to ``failed``."""
    failed |= {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    return {name: answer for name, answer in answers.items() if not isinstance(answer, str)}


def require_same_losses(losses: Mapping[str, float]) -> None:
    """Refuse contestants that do not begin alike.

    Raises
    ------
    AssertionError
        Losses before the first update lie further apart than `TOLERANCE`.
    """
    if losses and max(losses.values()) - min(losses.values()) > TOLERANCE:
        told = ", ".join(f"{name}: {loss:.4f}" for name, loss in losses.items())
        raise AssertionError(f"the contestants do not do the same work: losses before the first update are {told}")


def _turns(
    hosted: Mapping[str, Hosted], rounds: int, steps: int, failed: dict[str, str], deadline: float
) -> dict[str, list[list[dict[str, Any]]]]:
    """Return two turns a round of each contestant, in mirrored order; a round is begun only if the longest so far would fit, too."""
    taken: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in hosted}
    longest = 0.0
    for number in range(rounds):
        began = time.monotonic()
        if number and began + 1.2 * longest > deadline:
            break
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in taken}
        for name in (*taken, *reversed(taken)):
            answer = _tried(lambda name=name: hosted[name].ask("turn", steps=steps))  # type: ignore[misc]
            if isinstance(answer, str):
                failed[name] = answer
            else:
                found[name].append(answer)
        taken = {name: [*before, found[name]] for name, before in taken.items() if name not in failed}
        longest = max(longest, time.monotonic() - began)
    return taken


def _described(variant: Variant) -> dict[str, Any]:
    return {"objective": variant.objective, "compiled": variant.compiled}


def figures_of(prepared: Mapping[str, Any], rounds: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return a contestant's figures, made from its turns."""
    rates = [sum(turn["tokens"] for turn in pair) / sum(turn["seconds"] for turn in pair) for pair in rounds]
    turns = [turn for pair in rounds for turn in pair]
    seconds, tokens = (sum(turn[name] for turn in turns) for name in ("seconds", "tokens"))
    flops_of_token = sum(prepared["flops"]) / sum(prepared["tokens"])
    return {
        "first_loss": prepared["loss"],
        "last_loss": turns[-1]["loss"],
        "first_step_seconds": prepared["first_seconds"],
        "seconds": [[turn["seconds"] for turn in pair] for pair in rounds],
        "tokens": [[turn["tokens"] for turn in pair] for pair in rounds],
        "rates": rates,
        "tokens_per_second": protocol.spread(rates),
        "flops_per_second": flops_of_token * tokens / seconds,
        "slots_per_token": prepared["slots_per_token"],
        "target_slots": prepared["target_slots"],
        "waited": sum(turn["waited"] for turn in turns) / seconds,
        "loader_seconds_per_million_tokens": prepared["loader_seconds"],
        "peak_bytes": max(turn["peak_bytes"] for turn in turns),
    }


def verdicts(models: Mapping[str, Any]) -> dict[str, Any]:
    """Return ratios of tokens/s by round, and which figures were reached."""
    ratios: dict[str, dict[str, Any]] = {}
    values: dict[str, float] = {}
    for model, found in models.items():
        rates = {name: figures["rates"] for name, figures in found["variants"].items()}
        pairs = [(ours, beside) for ours in _OURS for beside in _BESIDE if ours in rates and beside in rates]
        ratios |= {f"{model}: {ours} / {beside}": protocol.ratio(rates[ours], rates[beside]) for ours, beside in pairs}
        values |= {
            f"{model}: {name}, tokens/s": figures["tokens_per_second"]["median"]
            for name, figures in found["variants"].items()
        }
    values |= {name: ratio["median"] for name, ratio in ratios.items()}
    return {"ratios": ratios, "goals": protocol.goals(values, GOALS)}


def plan_of(device: str, *, model: str | None, slots: int | None) -> Plan:
    """Return a device's plan, for one model instead of its own, or with other bins of about as many tokens a step.

    Raises
    ------
    ConfigError
        The model is not measured on such a device.
    """
    plan = PLANS[device]
    if model in BACKBONES:
        if device != "cpu":
            raise ConfigError(
                f"model {model} is measured on a CPU alone, where nothing is compiled: leave --device out"
            )
        slots = slots or BACKBONE_SLOTS
    if model is not None:
        plan = replace(plan, sizes=(replace(plan.sizes[0], model=model),))
    if slots is None:
        return plan
    sizes = tuple(replace(size, bins=max(size.bins * plan.slots // slots, 1)) for size in plan.sizes)
    return replace(plan, slots=slots, sizes=sizes)
