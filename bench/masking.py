"""The question: how fast are the masking kernels.

Contestants, in turn: ``Masker.mask`` on segments of 510 tokens; two NumPy baselines on the first of them; and a copy of rows'
``input_ids``, which no masker can beat. The other schemes and samplers run beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import child, compiling, markdown, protocol

QUESTION = "How fast are the masking kernels?"
SEED = 7
#: Sequences that the baselines mask; NumPy gains nothing from more.
BASELINE_SEQUENCES = 2048
#: Bytes copied: beyond the last-level caches of today's servers.
COPY_BYTES = 128 << 20
#: Copies a round: about as long as the others take, so that what disturbs a round meets all alike.
COPIES = 5
#: What is asked of the figures: median ratios of tokens/s, one core.
GOALS = {"spanmask / copy": 0.03, "spanmask / baseline": 100.0}
#: Contestants beside the default: what their configuration says.
OTHERS: dict[str, dict[str, str]] = {
    "spanmask, sampler reference": {"scheme": "span", "sampler": "reference"},
    "spanmask, scheme word": {"scheme": "word"},
    "spanmask, scheme token": {"scheme": "token"},
    "spanmask, scheme annotated": {"scheme": "annotated"},
}
#: All of them, in the order of the table.
CONTESTANTS = ("spanmask", "baseline", "lockstep", "copy", *OTHERS)


def measure(*, text: str | None = None, rounds: int = 7, sequences: int = 16_384) -> dict[str, Any]:
    """Measure, in child processes of one thread.

    Parameters
    ----------
    text
        A text file to take tokens from; by default they are made up.
    rounds
        How often each contestant runs, after one call to warm up.
    sequences
        Segments of at most 510 tokens that are masked.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``compile_seconds``, ``contestants``, ``ratios`` and ``goals``.
    """
    parameters = {"rounds": rounds, "sequences": sequences}
    compiled = {"compile_seconds": compiling.with_caches("first_call")}
    found = child.call("masking", "run", {**parameters, "text": text})
    more = {
        "baseline_sequences": min(BASELINE_SEQUENCES, sequences),
        "copy_bytes": COPY_BYTES,
        "copies": COPIES,
        "seed": SEED,
    }
    return protocol.record(QUESTION, {**parameters, **more}, {**compiled, **found})


def run(*, text: str | None, rounds: int, sequences: int) -> dict[str, Any]:
    """Measure in this process; see `measure`."""
    from spanmask.config import VocabularyConfig
    from spanmask.vocab import load_vocabulary

    from . import inputs

    vocabulary = load_vocabulary(VocabularyConfig())
    if text is None:
        block, described = inputs.synthetic(sequences, vocabulary)
    else:
        block, described = inputs.from_text(text, sequences, vocabulary)
    contestants, tokens = _contestants(block, vocabulary)
    with protocol.pinned() as is_pinned:
        taken = protocol.interleave(contestants, rounds)
    return {"input": {**described, **inputs.describe(block)}, "pinned": is_pinned, **_figures(taken, tokens)}


def _contestants(block: Any, vocabulary: Any) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Return what runs, and the tokens each handles."""
    from spanmask.config import MaskingConfig
    from spanmask.masking import Masker

    from . import inputs

    config = MaskingConfig(seed=SEED)
    masker = Masker(config, vocabulary)
    part = inputs.first(block, BASELINE_SEQUENCES)
    rows = masker.mask(part)[0]
    baselines = _baselines(part, rows, config, vocabulary)
    copy, copied = _copy(rows.input_ids.values, inputs.tokens_of(part))
    contestants = {"spanmask": lambda: masker.mask(block), **baselines, "copy": copy, **_others(block, vocabulary)}
    tokens = dict.fromkeys(contestants, inputs.tokens_of(block))
    return contestants, tokens | dict.fromkeys(baselines, inputs.tokens_of(part)) | {"copy": copied}


def _baselines(part: Any, rows: Any, config: Any, vocabulary: Any) -> dict[str, Callable[[], object]]:
    """Return the baselines, having seen that they give the same rows."""
    from .baselines.lockstep_masking import LockstepMasker
    from .baselines.numpy_masking import NumpyMasker

    baseline, lockstep = NumpyMasker(config, vocabulary), LockstepMasker(config, vocabulary)
    require_equal(rows, baseline.mask(part))
    require_equal(rows, lockstep.mask(part))
    return {"baseline": lambda: baseline.mask(part), "lockstep": lambda: lockstep.mask(part)}


def _others(block: Any, vocabulary: Any) -> dict[str, Callable[[], object]]:
    """Return the other schemes and samplers as contestants over the same segments."""
    from spanmask.config import MaskingConfig
    from spanmask.masking import Masker

    from . import inputs

    unigram = np.bincount(block.token_ids, minlength=len(vocabulary))
    annotated = inputs.annotate(block)

    def contestant(scheme: str, sampler: str | None = None) -> Callable[[], object]:
        config = MaskingConfig.of(seed=SEED, scheme=scheme, sampler=sampler)
        masker = Masker(config, vocabulary, unigram)
        masked = annotated if scheme == "annotated" else block
        return lambda: masker.mask(masked)

    return {name: contestant(**asked) for name, asked in OTHERS.items()}


def require_equal(rows: Any, others: Any) -> None:
    """Hold two blocks of rows against each other, bit for bit.

    Raises
    ------
    AssertionError
        They differ.
    """
    from spanmask.blocks import columns_of

    theirs = columns_of(others)
    for name, ours in columns_of(rows).items():
        for a, b in ((ours.values, theirs[name].values), (ours.offsets, theirs[name].offsets)):
            if a.dtype != b.dtype or not np.array_equal(a, b):
                raise AssertionError(f"the baseline's {name} differ from the kernels'")


def _copy(row_ids: Any, tokens: int) -> tuple[Callable[[], object], int]:
    """Return copies of rows between arrays written before, and the tokens in them without special ones."""
    repeated = -(-COPY_BYTES // row_ids.nbytes)
    source = np.tile(row_ids, repeated)
    target = source.copy()

    def copy() -> None:
        for _ in range(COPIES):
            np.copyto(target, source)

    return copy, tokens * repeated * COPIES


def _figures(taken: Mapping[str, dict[str, Any]], tokens: Mapping[str, int]) -> dict[str, Any]:
    rates = {name: protocol.rates(tokens[name], found["seconds"]) for name, found in taken.items()}
    contestants = {
        name: {"tokens": tokens[name], **found, "tokens_per_second": protocol.spread(rates[name])}
        for name, found in taken.items()
    }
    pairs = [(name, "copy") for name in rates if name != "copy"] + [("spanmask", "baseline"), ("spanmask", "lockstep")]
    ratios = {f"{of} / {to}": protocol.ratio(rates[of], rates[to]) for of, to in pairs}
    goals = protocol.goals({name: ratio["median"] for name, ratio in ratios.items()}, GOALS)
    return {"contestants": contestants, "ratios": ratios, "goals": goals}


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    head = ["contestant", "million tokens/s: median", "min", "max", "share of the copy"]
    rows = [_row(name, result["contestants"][name], result["ratios"]) for name in CONTESTANTS]
    parts = (markdown.table(head, rows), "\n".join(_comparisons(result)), _footer(result))
    return "\n\n".join(parts) + "\n"


def _row(name: str, found: Mapping[str, Any], ratios: Mapping[str, Any]) -> list[str]:
    rate = found["tokens_per_second"]
    share = ratios[f"{name} / copy"]["median"] if name != "copy" else 1.0
    return [name, *(f"{rate[key] / 1e6:,.1f}" for key in ("median", "min", "max")), f"{100 * share:.2f} %"]


def _comparisons(result: Mapping[str, Any]) -> list[str]:
    names = (*GOALS, "spanmask / lockstep")
    return [markdown.comparison(name, result["ratios"][name], result["goals"].get(name)) for name in names]


def _footer(result: Mapping[str, Any]) -> str:
    cold, warm = (result["compile_seconds"][state] for state in ("cold", "warm"))
    source, parameters = result["input"], result["parameters"]
    return (
        f"First call: {cold['first_call']:.1f} s where the kernels must be compiled, {warm['first_call']:.2f} s where they are in the "
        f"cache; importing them {warm['import']:.1f} s.\n\n"
        f"Input: {source['kind']}, {source['tokens']:,} tokens in {source['sequences']:,} sequences, "
        f"{100 * source['words_of_several_pieces']:.1f} % of the words of several pieces; {parameters['rounds']} rounds.\n"
        f"{markdown.measured_on(result)}"
    )
