"""The question: how fast is fine-tuning? ``python -m spanmask_bench.finetuning squadshifts.json --json FILE``.

Contestants take turns on the same windows of questions, from the same weights, with the same batch, AdamW, clipping and dropout, on two
threads: spanmask's own update on packed windows, and transformers' Trainer as its example of question answering runs it, which pads each
window to the longest there may be; and with its grouping by length, padded to the longest of a batch. Scores of the first windows are
compared before anything is measured. Tokens are counted without padding.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError
from spanmask.storage import digest

from . import child, markdown, peers, protocol

QUESTION = "How fast is fine-tuning?"
OURS, PADDED, GROUPED = "spanmask", "transformers", "transformers, grouped by length"
#: Layers, width, heads.
SIZES = {"minilm": (6, 384, 12), "tiny": (2, 128, 2)}
WINDOW, OVERLAP, BATCH, THREADS, SEED = 384, 128, 12, 2, 7
#: What is asked of the ratio of tokens/s, by the peer.
_ASKED = {PADDED: 2.2, GROUPED: 1.05}
GOALS = {f"{size}: {OURS} / {peer}": goal for size in SIZES for peer, goal in _ASKED.items()}
#: Steps of a turn, of each size.
_STEPS = {"minilm": 3, "tiny": 30}


def measure(*, path: str, rounds: int = 5, minutes: float = 5.5) -> dict[str, Any]:
    """Measure, each size in a process of its own.

    Parameters
    ----------
    path
        Questions in SQuAD's or MRQA's layout.
    rounds
        How often each contestant has a turn, after one to warm up; fewer where time is short.
    minutes
        What all may take.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``ceilings``, ``models``, ``ratios`` and ``goals``.

    Raises
    ------
    ConfigError
        The file, or the ``train``, ``bench`` or ``trainers`` extra is missing, or the peer computes other scores.
    CorpusError
        The file is damaged.
    """
    packages = ("torch", "transformers", "accelerate")
    peers.require(packages)
    threads = child.threads(THREADS)
    ceilings = child.call("ceilings", "measured", {"device": "cpu", "threads": THREADS}, threads)
    shares = {"minilm": 0.7 * minutes, "tiny": 0.3 * minutes}
    asked = {"path": path, "rounds": rounds}
    models = {
        size: child.call("finetuning", "run", {**asked, "size": size, "steps": _STEPS[size], "minutes": share}, threads)
        for size, share in shares.items()
    }
    ratios = {
        f"{size}: {OURS} / {peer}": protocol.ratio(
            found["contestants"][OURS]["rates"], found["contestants"][peer]["rates"]
        )
        for size, found in models.items()
        for peer in _ASKED
    }
    findings = {
        "input": {"name": Path(path).name, "sha256": digest(path)},
        "ceilings": ceilings,
        "models": models,
        "ratios": ratios,
        "goals": protocol.goals({name: ratio["median"] for name, ratio in ratios.items()}, GOALS),
    }
    parameters = {"rounds": rounds, "minutes": minutes, "window": WINDOW, "overlap": OVERLAP, "batch": BATCH}
    return protocol.record(QUESTION, parameters | {"threads": THREADS, "seed": SEED}, findings, packages)


@dataclass(frozen=True)
class Turn:
    """What a contestant did in a turn. squares: the sum of the squares of its windows' lengths, 0 where it is not known."""

    seconds: float
    tokens: int
    squares: int = 0


def run(*, path: str, size: str, steps: int, rounds: int, minutes: float) -> dict[str, Any]:
    """Measure one size in this process, in turns of so many steps; see `measure`."""
    import torch

    from spanmask.config import VocabularyConfig
    from spanmask.model import FineTuned, SpanBertConfig, SpanBertEncoder, SpanHead, export_finetuned
    from spanmask.probes.qa import QaConfig, cut_windows, read_questions
    from spanmask.tokenization import Tokenizer
    from spanmask.vocab import load_vocabulary

    from .baselines.hugging_face_finetuning import TrainerOnQuestions

    torch.set_num_threads(THREADS)
    vocabulary = load_vocabulary(VocabularyConfig(vocab="uncased"))
    cut = QaConfig(window=WINDOW, stride=OVERLAP, stride_is="overlap")  # type: ignore[arg-type]
    examples = cut_windows(read_questions(path), Tokenizer(vocabulary), cut).examples
    layers, hidden, heads = SIZES[size]
    torch.manual_seed(SEED)
    config = SpanBertConfig(
        vocab_size=len(vocabulary), layers=layers, hidden=hidden, heads=heads, intermediate=4 * hidden
    )
    model = FineTuned(SpanBertEncoder(config), SpanHead(config))
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        export_finetuned(model, Path(folder) / "model", vocabulary)
        padded, grouped = (
            TrainerOnQuestions(
                Path(folder) / "model", examples, width=width, batch_size=BATCH, scratch=Path(folder) / "scratch"
            )
            for width in (WINDOW, None)
        )
        ours = Ours(model, examples, vocabulary.special.pad)
        require_same(ours, padded)
        turns: dict[str, Callable[[int], Turn]] = {
            OURS: ours.turn,
            PADDED: lambda steps: Turn(*padded.turn(steps)),
            GROUPED: lambda steps: Turn(*grouped.turn(steps)),
        }
        # The Trainer prints a summary where this process's answer goes.
        with redirect_stdout(sys.stderr):
            taken = _in_turn(turns, steps, rounds, time.monotonic() + 60 * minutes)
    lengths = examples.input_ids.lengths
    return {
        "shape": {"layers": layers, "hidden": hidden, "heads": heads},
        "windows": len(lengths),
        "window_tokens": float(lengths.mean()),
        "steps": steps,
        "contestants": {name: _figures(found) for name, found in taken.items()},
        "flops_per_token": _flops_of(config, taken[OURS]),
    }


class Ours:
    """spanmask's update, on windows packed as they come."""

    def __init__(self, model: Any, examples: Any, pad_id: int) -> None:
        import torch

        from spanmask.probes.batching import Packer
        from spanmask.probes.qa.task import QuestionAnswering
        from spanmask.probes.training import FinetuneStep
        from spanmask.train.config import TrainConfig
        from spanmask.train.distributed import World

        config = TrainConfig.of(
            "paper", steps=100_000, warmup=1_000, lr=3e-5, clip=1.0, weight_decay=0.01, decay="matrices", seed=SEED
        )
        self._model, self._examples, self._pad_id = model, examples, pad_id
        self._packer = Packer(examples, width=WINDOW, pad_id=pad_id, bins=BATCH)
        # All of a task that an update asks for is its loss, which needs no files.
        self._step = FinetuneStep(model, QuestionAnswering, config, World(device=torch.device("cpu")))  # type: ignore[arg-type]
        self._number = 0

    def scores(self, which: list[int]) -> Any:
        """Return the scores of some windows at their tokens, (T, 2), without dropout."""
        import numpy as np
        import torch

        from spanmask.probes.batching import Packer
        from spanmask.probes.predicting import predict
        from spanmask.probes.qa.task import QuestionAnswering

        packer = Packer(self._examples.take(np.array(which)), width=WINDOW, pad_id=self._pad_id, bins=BATCH)
        task: Any = QuestionAnswering
        return torch.from_numpy(predict(self._model, task, packer, dtype=torch.float32))

    def turn(self, steps: int) -> Turn:
        """Take one update, and so many more; return what these took."""
        self._take()
        began = time.perf_counter()
        lengths = [self._take() for _ in range(steps)]
        taken = time.perf_counter() - began
        return Turn(taken, sum(int(one.sum()) for one in lengths), sum(int((one**2).sum()) for one in lengths))

    def _take(self) -> Any:
        from spanmask.probes.batching import examples_of

        self._number += 1
        which = examples_of(self._number, count=len(self._examples), batch_size=BATCH, seed=SEED)
        self._step(self._number, list(self._packer.batches(which)))
        return self._packer.lengths[which]


def require_same(ours: Any, peer: Any) -> None:
    """Refuse to measure where the first windows have other scores by the peer.

    Raises
    ------
    ConfigError
        They have.
    """
    first = list(range(8))
    apart = float((ours.scores(first) - peer.scores(first)).abs().max())
    if apart > 1e-4:
        raise ConfigError(f"scores of the first windows lie {apart:.2g} apart: the peer computes something else")


def _in_turn(
    turns: Mapping[str, Callable[[int], Turn]], steps: int, rounds: int, deadline: float
) -> dict[str, list[Turn]]:
    """Return a turn a round of each contestant, after one to warm up; a round is begun only if one as long as the last would fit."""
    taken: dict[str, list[Turn]] = {name: [] for name in turns}
    for turn in turns.values():
        turn(1)
    for _ in range(rounds):
        began = time.monotonic()
        for name, turn in turns.items():
            taken[name].append(turn(steps))
        if time.monotonic() + 1.1 * (time.monotonic() - began) > deadline:
            break
    return taken


def _figures(turns: list[Turn]) -> dict[str, Any]:
    rates = [turn.tokens / turn.seconds for turn in turns]
    return {
        "seconds": [turn.seconds for turn in turns],
        "tokens": [turn.tokens for turn in turns],
        "rates": rates,
        "tokens_per_second": protocol.spread(rates),
    }


def _flops_of(config: Any, turns: list[Turn]) -> float:
    """Return the FLOPs that a token needs, padding not counted."""
    from spanmask.loading.share import Counts
    from spanmask.train.metrics import flops

    tokens, squares = sum(turn.tokens for turn in turns), sum(turn.squares for turn in turns)
    return flops(config, Counts(tokens=tokens, mlm=0, sbo=0, sequences=0), squares) / tokens


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    ceiling = max(result["ceilings"]["flops_per_second"].values())
    rows = []
    for size, found in result["models"].items():
        for name, figures in found["contestants"].items():
            rate = figures["tokens_per_second"]
            share = rate["median"] * found["flops_per_token"] / ceiling
            rows.append([size, name, *(f"{rate[key]:,.0f}" for key in ("median", "min", "max")), f"{share:.0%}"])
    head = ["model", "contestant", "tokens/s: median", "min", "max", "of the machine's products"]
    ratios = [markdown.comparison(name, ratio, result["goals"].get(name)) for name, ratio in result["ratios"].items()]
    return "\n\n".join([markdown.table(head, rows, texts=2), "\n".join(ratios), f"{_footer(result)}\n"])


def _footer(result: Mapping[str, Any]) -> str:
    parameters, found = result["parameters"], next(iter(result["models"].values()))
    products = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in result["ceilings"]["flops_per_second"].items())
    return (
        f"Input: {result['input']['name']}, {found['windows']:,} windows of {found['window_tokens']:.0f} tokens at the mean and "
        f"{parameters['window']} at most, {parameters['batch']} a step; {parameters['threads']} threads. Products on this machine, "
        f"GFLOP/s: {products}.\n{markdown.measured_on(result)}"
    )


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.finetuning", description=__doc__)
    parser.add_argument("path", metavar="QUESTIONS.json")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default: 5)")
    parser.add_argument("--minutes", type=float, default=5.5, help="what all may take (default: 5.5)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    result = measure(path=asked.path, rounds=asked.rounds, minutes=asked.minutes)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
