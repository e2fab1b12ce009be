"""The question: how fast are passages cut into windows? ``python -m spanmask_bench.windows dev-v1.1.json --json FILE``.

Contestants, in turn, on the same questions in memory and one thread: ``spanmask.probes.qa.cut_windows`` with a tokenizer that has seen
nothing, and with one that has seen these texts; and transformers' fast tokenizer with its example's labels. Ours makes what the peer makes:
the ids of each window, whose question it is, the place in the passage of each of its tokens, and the answer's first and last token. All of
it is held against the peer's before anything is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spanmask.errors import ConfigError
from spanmask.storage import digest

from . import child, markdown, peers, protocol
from .baselines.hugging_face_windows import PACKAGE, Asked, FastWindows, Labelled

QUESTION = "How fast are passages cut into windows?"
VOCABULARIES = ("cased", "uncased")
WINDOW, OVERLAP = 384, 128
OURS, SEEN = "spanmask", "spanmask, seen before"
#: What is asked of median ratios of windows/s.
GOALS = {f"{name}: {OURS} / {PACKAGE}": 40.0 for name in VOCABULARIES}


def measure(*, path: str, vocabularies: Sequence[str] = VOCABULARIES, rounds: int = 5) -> dict[str, Any]:
    """Measure, in child processes of one thread.

    Parameters
    ----------
    path
        Questions in SQuAD's or MRQA's layout.
    vocabularies
        BERT's that are measured with.
    rounds
        How often each contestant runs, after one call to warm up.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``cases`` by vocabulary, ``ratios`` and ``goals``.

    Raises
    ------
    ConfigError
        The file or the ``bench`` extra is missing, or the peer finds other windows.
    CorpusError
        The file is damaged.
    """
    peers.require([PACKAGE])
    cases = {
        name: child.call("windows", "run", {"path": path, "vocabulary": name, "rounds": rounds})
        for name in vocabularies
    }
    ratios = {
        f"{vocabulary}: {ours} / {PACKAGE}": protocol.ratio(
            case["contestants"][PACKAGE]["seconds"], case["contestants"][ours]["seconds"]
        )
        for vocabulary, case in cases.items()
        for ours in (OURS, SEEN)
    }
    findings = {
        "input": {"name": Path(path).name, "sha256": digest(path)},
        "cases": cases,
        "ratios": ratios,
        "goals": protocol.goals({name: ratio["median"] for name, ratio in ratios.items()}, GOALS),
    }
    parameters = {"rounds": rounds, "window": WINDOW, "overlap": OVERLAP}
    return protocol.record(QUESTION, parameters, findings, [PACKAGE, "tokenizers"])


def run(*, path: str, vocabulary: str, rounds: int) -> dict[str, Any]:
    """Measure with one vocabulary in this process; see `measure`."""
    from spanmask.config import VocabularyConfig
    from spanmask.probes.qa import QaConfig, Windows, cut_windows, read_questions
    from spanmask.probes.qa.config import Stride
    from spanmask.tokenization import Tokenizer
    from spanmask.vocab import load_vocabulary

    known, questions = load_vocabulary(VocabularyConfig(vocab=vocabulary)), read_questions(path)
    config = QaConfig(window=WINDOW, stride=OVERLAP, stride_is=Stride.OVERLAP)
    asked, peer = (
        _asked(questions),
        FastWindows(dict(known.ids), cased=bool(known.cased), window=WINDOW, overlap=OVERLAP),
    )
    seen = Tokenizer(known)
    fresh = [seen]

    def cut(tokenizer: Tokenizer) -> tuple[Windows, Any]:
        windows = cut_windows(questions, tokenizer, config)
        return windows, windows.byte_ranges()

    require_same(questions, *cut(seen), peer.cut(asked))
    contestants: dict[str, Callable[[], object]] = {
        OURS: lambda: cut(fresh[0]),
        SEEN: lambda: cut(seen),
        PACKAGE: lambda: peer.cut(asked),
    }
    with protocol.pinned() as is_pinned:
        taken = protocol.interleave(contestants, rounds, {OURS: lambda: fresh.__setitem__(0, Tokenizer(known))})
    windows, ranges = cut(seen)
    for found in taken.values():
        found["windows_per_second"] = protocol.spread(protocol.rates(len(windows), found["seconds"]))
    sizes = {
        "questions": len(questions),
        "passages": len(questions.passages),
        "windows": len(windows),
        "tokens": len(ranges),
    }
    return {"pinned": is_pinned, **sizes, "contestants": taken}


def _asked(questions: Any) -> Asked:
    passages = questions.passages.to_pylist()
    return Asked(
        questions=questions.texts.to_pylist(),
        passages=[passages[number] for number in questions.passage_of.tolist()],
        answers=[(start, end) for start, end in questions.spans.tolist()],
    )


def require_same(questions: Any, windows: Any, ranges: Any, theirs: Sequence[Labelled]) -> None:
    """Refuse to measure where the peer's windows are not ours.

    Raises
    ------
    ConfigError
        They are not: ids, questions, places or labels differ.
    """
    from spanmask.tokenization.whole_documents import byte_places

    examples, number, base = windows.examples, 0, 0
    offsets, labels = examples.input_ids.offsets, [examples.targets[name] for name in ("starts", "ends")]
    points = [byte_places(text) for text in questions.passages.to_pylist()]
    for batch in theirs:
        owners = batch.encoded["overflow_to_sample_mapping"]
        for place, ids in enumerate(batch.encoded["input_ids"]):
            second = int(examples.second_starts[number])
            of = points[questions.passage_of[base + owners[place]]]
            characters = np.array(batch.encoded["offset_mapping"][place][second:-1], np.int64).reshape(-1, 2)
            same = (
                examples.groups[number] == base + owners[place]
                and examples.input_ids[number].tolist() == ids
                and (int(labels[0][number]), int(labels[1][number])) == batch.labels[place]
                and np.array_equal(of[characters], ranges[offsets[number] + second : offsets[number + 1] - 1])
            )
            if not same:
                raise ConfigError(f"window {number:,} is not the peer's; it cannot be measured beside")
            number += 1
        base += max(owners, default=-1) + 1
    if number != len(windows):
        raise ConfigError(f"{len(windows):,} windows, and {number:,} of the peer's; it cannot be measured beside")


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = [
        [vocabulary, name, *(f"{found['windows_per_second'][key]:,.0f}" for key in ("median", "min", "max"))]
        for vocabulary, case in result["cases"].items()
        for name, found in case["contestants"].items()
    ]
    head = ["vocabulary", "contestant", "windows/s: median", "min", "max"]
    ratios = [markdown.comparison(name, ratio, result["goals"].get(name)) for name, ratio in result["ratios"].items()]
    return "\n\n".join([markdown.table(head, rows, texts=2), "\n".join(ratios), f"{_footer(result)}\n"])


def _footer(result: Mapping[str, Any]) -> str:
    case, parameters = next(iter(result["cases"].values())), result["parameters"]
    return (
        f"Input: {result['input']['name']}, {case['questions']:,} questions on {case['passages']:,} passages, {case['windows']:,} windows "
        f"of at most {parameters['window']} tokens that share {parameters['overlap']}; {parameters['rounds']} rounds.\n"
        f"{markdown.measured_on(result)}"
    )


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.windows", description=__doc__)
    parser.add_argument("path", metavar="QUESTIONS.json")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant runs (default: 5)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    result = measure(path=asked.path, rounds=asked.rounds)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
