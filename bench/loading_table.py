"""The result of `loading` as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import markdown, protocol

_HEAD = ["contestant", "million tokens/s: median", "min", "max", "processor ms for a million tokens"]


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = [_row(name, found) for name, found in result["contestants"].items()]
    parts = (markdown.table(_HEAD, rows), "\n".join(_comparisons(result)), _footer(result))
    return "\n\n".join(parts) + "\n"


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    rate, cost = found["tokens_per_second"], found["processor_ms_per_million"]["median"]
    return [
        name,
        *(f"{rate[key] / 1e6:,.1f}" for key in ("median", "min", "max")),
        f"{cost:,.{2 if cost < 100 else 0}f}",
    ]


def _comparisons(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield an item of a list for each ratio and figure, with what was asked of it."""
    for name, ratio in result["ratios"].items():
        yield f"- {name}: {markdown.times(ratio)}{_asked(result, name)}."
    if result["cold"]["disk_bytes"] is None:
        yield "- disk bytes / useful bytes: not measured; the system counts none, or kept the shards in memory."
    for bins, fill in result["fill"].items():
        for name, share in fill.items():
            figure = f"fill of {bins} bins: {name}"
            unit = "batches have the second slots" if name == "second" else "slots"
            yield f"- {figure}: {100 * share:.1f} % of the {unit}{_asked(result, figure)}."
    for layout, spread in result["resuming"]["load_state_dict"].items():
        yield f"- load_state_dict, {layout}: {spread['median']:.3f} ms{_asked(result, 'load_state_dict, ms')}."
    for order, spread in result["resuming"]["next_order"].items():
        yield f"- order of the next 4,096 samples, {order}: {spread['median']:.2f} ms."


def _asked(result: Mapping[str, Any], name: str) -> str:
    return "".join(f"; {told}" for told in markdown.asked(result["goals"].get(name), result["limits"].get(name)))


def _footer(result: Mapping[str, Any]) -> str:
    """Return what the table was measured on, and how: text, rows, batches, rounds, machine."""
    source, peer = result["input"], result["peers"]
    batches = "; ".join(
        f"{name}: {found['count']:,} batches, {found['bytes'] / protocol.MEGABYTE:,.0f} MB"
        for name, found in result["batches"].items()
    )
    ways = "; ".join(
        f"{name}: {found['features']}, batches of {found['batch']}"
        for name, found in peer.items()
        if isinstance(found, Mapping)
    )
    return (
        f"Text: {', '.join(source['names'])}, {source['bytes'] / protocol.MEGABYTE:,.1f} MB in {source['documents']:,} documents; "
        f"{source['row_tokens']:,} tokens in {source['rows']:,} rows, {source['shard_bytes'] / protocol.MEGABYTE:,.1f} MB of shards. "
        f"An epoch is, {batches}. For the peers the first {peer['rows']:,} rows, {peer['tokens']:,} tokens. "
        f"{result['parameters']['rounds']} rounds.\n"
        f"The collators' fastest way: {ways}.\n"
        f"{markdown.measured_on(result)}"
    )
