"""The results of `training` as Markdown: ratios on a CPU, and a line for each variant on a GPU, empty where none was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import markdown, protocol
from .training import PEAK, PLANS
from .training_variants import VARIANTS

_HEAD = [
    "model",
    "contestant",
    "tokens/s: median",
    "min",
    "max",
    "TFLOP/s",
    "MFU, 989",
    "MFU, measured",
    "idle",
    "waits for data",
    "loader, s for a million tokens",
    "peak GB",
    "first step, s",
    "slots for a token",
]


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    ceiling = result["ceilings"]["flops_per_second"]["square"]
    peak = PEAK if any(name in result["ceilings"]["device"] for name in ("H100", "H200")) else None
    rows = [
        [model, name, *_cells(figures, ceiling, peak)]
        for model, found in result["models"].items()
        for name, figures in found["variants"].items()
    ]
    ratios = [markdown.comparison(name, ratio, result["goals"].get(name)) for name, ratio in result["ratios"].items()]
    parts = (
        markdown.table(_HEAD, rows, texts=2),
        "\n".join([*ratios, *_absolute(result), *_failed(result)]),
        _footer(result),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def empty(device: str) -> str:
    """Return the table of what was not measured on a device yet, its figures left empty."""
    plan = PLANS[device]
    rows = [[size.model, name, *[""] * 12] for size in plan.sizes for name in VARIANTS[plan.variants]]
    return f"{markdown.table(_HEAD, rows, texts=2)}\n\nNot measured yet.\n"


def _cells(figures: Mapping[str, Any], ceiling: float, peak: float | None) -> list[str]:
    rate, flops = figures["tokens_per_second"], figures["flops_per_second"]
    return [
        *(f"{rate[key]:,.0f}" for key in ("median", "min", "max")),
        f"{flops / 1e12:.3g}",
        _share(flops / peak if peak else None),
        _share(flops / ceiling),
        _share(figures["idle"]),
        _share(figures["waited"]),
        f"{figures['loader_seconds_per_million_tokens']:.3f}",
        f"{figures['peak_bytes'] / 1e9:.2f}",
        f"{figures['first_step_seconds']:.1f}",
        f"{figures['slots_per_token']:.3f}",
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _absolute(result: Mapping[str, Any]) -> list[str]:
    """Return the verdicts on tokens/s, which are no ratios."""
    lines = []
    for name, goal in result["goals"].items():
        if name.endswith("tokens/s"):
            verdict = "reached" if goal["reached"] else "not reached"
            lines.append(f"- {name}: asked for, of one H200: at least {goal['goal']:,.0f}, {verdict}.")
    return lines


def _failed(result: Mapping[str, Any]) -> list[str]:
    return [
        f"- {model}: {name} was not measured: {reason}."
        for model, found in result["models"].items()
        for name, reason in found["failed"].items()
    ]


def _footer(result: Mapping[str, Any]) -> str:
    parameters, source, ceilings = result["parameters"], result["input"], result["ceilings"]
    products = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in ceilings["flops_per_second"].items())
    rounds = {len(figures["rates"]) for found in result["models"].values() for figures in found["variants"].values()}
    return (
        f"{source['rows']:,} rows of {source['row_tokens']:.0f} tokens at the mean (segmentation {parameters['segmentation']}), "
        f"packed in bins of {parameters['slots']} slots for ours, padded to the longest in the batch for transformers. Products on this "
        f"device ({ceilings['device']}), TFLOP/s: {products}; a copy: {ceilings['copy_bytes_per_second'] / 1e9:,.0f} GB/s.\n\n"
        f"Text: {', '.join(source['names'])}, {source['bytes'] / protocol.MEGABYTE:,.1f} MB in {source['documents']:,} documents. "
        f"{' or '.join(map(str, sorted(rounds)))} rounds of two turns of {parameters['turn']} steps, {parameters['threads']} threads.\n"
        f"{markdown.measured_on(result)}"
    )
