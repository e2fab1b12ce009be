"""The table of the package's README: one line a question, from all results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import loading, markdown, presharding, protocol
from .baselines.fast_tokenizers import CONTESTANTS, LIBRARY, OURS
from .tokenizing import state_of
from .tokenizing_table import strongest

_LOADING = " Loading is compared by processor seconds for as many tokens."
_JOBS = "one file, beyond the start: 2 jobs / 1 job"
_HURRIED = ".jsonl.zst: spanmask / peer, collator on arrays"


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table for results by name, and where they were measured."""
    head = ["one core", "spanmask", "beside it", "times (min to max)"]
    rows = [*_tokenizing(results["tokenize"]), *_presharding(results["preshard"]), _masking(results["masking"])]
    rows += _loading(results["loading"])
    compiled, commands = results["preshard"]["compile_seconds"], results["preshard"]["commands"]
    peak = max(max(found["peak_bytes"]) for found in commands.values()) / protocol.MEGABYTE
    ratios, text = results["preshard"]["ratios"], ", ".join(results["preshard"]["input"]["all"]["names"])
    commits = [f"{name} {results[name]['commit']}" for name in ("tokenize", "masking", "loading")]
    others = f"Commits of the other rows: {', '.join(commits)}."
    return (
        f"{markdown.table(head, rows)}\n\n"
        f"Beside the same with the collator called on arrays, as few would: {markdown.times(ratios[_HURRIED])}. "
        f"Two jobs against one on a single file, beyond the start: {markdown.times(ratios[_JOBS])} times as fast. Largest process: "
        f"{peak:,.0f} MB. Compiling all kernels, once: {compiled['cold']['everything']:.0f} s; loading them: "
        f"{compiled['warm']['everything']:.1f} s.{_LOADING if 'loading' in results else ''}\n\n"
        f"Text to shards: from {text}. {markdown.measured_on(results['preshard'])} {others}\n"
    )


def _tokenizing(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield rows of prose, not seen and seen before, beside the fastest that is exact, whoever that is."""
    for name, case in result["cases"].items():
        if not name.startswith("prose"):
            continue
        for state, said in (("new", name), ("seen", f"{name}, seen before")):
            peer = strongest(result, name, state)
            rates = [state_of(case["contestants"][each], state)["bytes_per_second"] for each in (OURS, peer, LIBRARY)]
            beside = f"{peer} {result['versions'][CONTESTANTS[peer].package]}"
            if peer != LIBRARY:
                beside += f"; {markdown.megabytes(rates[2], ('median',))[0]}, `{LIBRARY}`"
            ratio = result["ratios"][f"{name}, {state}: {OURS} / {peer}"]
            yield _row(f"tokenize: {said}", rates[:2], beside, ratio)


def _presharding(result: Mapping[str, Any]) -> Iterator[list[str]]:
    for form in presharding.FORMS:
        rates = [result["contestants"][f"{name}, {form}"]["bytes_per_second"] for name in ("spanmask", "peer")]
        ratio = result["ratios"][f"{form}: spanmask / peer"]
        yield _row(f"text to shards: {form}", rates, "`tokenizers`, collator and Arrow", ratio)
    rates = [result["contestants"][f"spanmask, {name}.jsonl.zst"]["bytes_per_second"] for name in ("BPE, ", "")]
    ratio = result["ratios"][".jsonl.zst: spanmask, BPE / spanmask"]
    yield _row("text to shards: .jsonl.zst, byte-level BPE", rates, "spanmask with BERT's WordPiece", ratio)


def _row(name: str, rates: list[Mapping[str, float]], peer: str, ratio: Mapping[str, Any]) -> list[str]:
    ours, theirs = (markdown.megabytes(rate, ("median",))[0] for rate in rates)
    return [name, f"{ours} MB/s", f"{theirs} MB/s, {peer}", markdown.times(ratio)]


def _loading(result: Mapping[str, Any]) -> Iterator[list[str]]:
    peer = "collator, whole words"
    for name in (loading.PADDED, loading.FRESH):
        rates = [result["contestants"][one]["tokens_per_second"]["median"] / 1e6 for one in (name, peer)]
        ratio = markdown.times(result["ratios"][f"processor: {peer} / {name}"])
        yield [
            f"load: {name}",
            f"{rates[0]:,.1f} M tokens/s",
            f"{rates[1]:,.1f} M tokens/s, `transformers`' {peer}",
            ratio,
        ]


def _masking(result: Mapping[str, Any]) -> list[str]:
    ours, theirs = (
        f"{result['contestants'][name]['tokens_per_second']['median'] / 1e6:,.1f} M tokens/s"
        for name in ("spanmask", "baseline")
    )
    return ["mask", ours, f"{theirs}, NumPy", markdown.times(result["ratios"]["spanmask / baseline"])]
