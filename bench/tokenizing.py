"""The question: how fast is tokenizing.

Contestants, in turn, on the same text: ``Tokenizer.encode`` of an Arrow array with a tokenizer that has seen no word yet; the same one
again, its word table warm; and the ``tokenizers`` library as `baselines.library_tokenizer` has it at its best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import child, markdown, peers, protocol

QUESTION = "How fast is tokenizing?"
#: What is asked of the figures: median ratios to the library, one core, fresh word table.
GOALS = {
    "prose, cased": 40.0,
    "prose, uncased": 30.0,
    "Chinese, cased": 10.0,
    "Chinese, uncased": 10.0,
    "Greek, cased": 10.0,
    "Greek, uncased": 10.0,
}
TEXTS = ("prose", "Chinese", "Greek")
VOCABULARIES = ("cased", "uncased")
CONTESTANTS = ("spanmask", "spanmask, warm", "tokenizers")


def measure(
    *, paths: Sequence[str] = (), vocabularies: Sequence[str] = VOCABULARIES, rounds: int = 7, megabytes: float = 16
) -> dict[str, Any]:
    """Measure, in child processes of one thread.

    Parameters
    ----------
    paths
        Files to take prose from; by default the stories that ship with spanmask.
    vocabularies
        Those to measure with.
    rounds
        How often each contestant runs, after one call to warm up.
    megabytes
        Of prose at most; of made-up text a quarter of that.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``cases`` by text and vocabulary, and ``goals``.

    Raises
    ------
    ConfigError
        There is no text in the files, or they cannot be read.
    """
    peers.require(["tokenizers"])
    parameters = {"rounds": rounds, "megabytes": megabytes}
    cases = {}
    for vocabulary in vocabularies:
        for text in TEXTS:
            case = {**parameters, "text": text, "paths": list(paths), "vocabulary": vocabulary}
            found = child.call("tokenizing", "run", case)
            cases[f"{text}, {found['vocabulary']}"] = found
    ratios = {name: case["ratios"]["spanmask / tokenizers"]["median"] for name, case in cases.items()}
    findings = {"cases": cases, "goals": protocol.goals(ratios, GOALS)}
    return protocol.record(QUESTION, parameters, findings, ["tokenizers"])


def run(*, text: str, paths: list[str], vocabulary: str, rounds: int, megabytes: float) -> dict[str, Any]:
    """Measure one case in this process; see `measure`."""
    from spanmask.config import VocabularyConfig
    from spanmask.errors import ConfigError
    from spanmask.vocab import load_vocabulary

    from .baselines.library_tokenizer import fastest

    source = _text(text, paths, int(megabytes * protocol.MEGABYTE))
    words = load_vocabulary(VocabularyConfig(vocab=vocabulary))
    if words.tokenizer is not None:
        raise ConfigError(f"{words.name}: the library tokenizes for spanmask too; give a WordPiece vocabulary")
    with protocol.pinned() as is_pinned:
        library, tried = fastest(words, source.documents)
        ours = _Ours(words, source.documents)
        tokens = require_equal(ours.ids(), library.ids())
        contestants = {"spanmask": ours.encode, "spanmask, warm": ours.encode, "tokenizers": library.encode}
        taken = protocol.interleave(contestants, rounds, {"spanmask": ours.renew})
    return {
        "input": source.described,
        "vocabulary": words.name,
        "pinned": is_pinned,
        "tokens": tokens,
        "construct_seconds": protocol.spread(ours.construct_seconds),
        "peer": {**library.described, "tried": tried},
        **_figures(taken, source.size),
    }


def _text(name: str, paths: list[str], limit: int) -> Any:
    from . import texts

    made_up: dict[str, Callable[[int], texts.Text]] = {"Chinese": texts.chinese, "Greek": texts.greek}
    return made_up[name](limit // 4) if name in made_up else texts.read(paths, limit)


class _Ours:
    """Our tokenizer and its input."""

    def __init__(self, vocabulary: Any, documents: list[str]) -> None:
        import pyarrow as pa

        self._vocabulary = vocabulary
        self._texts = pa.array(documents, pa.string())
        self.construct_seconds: list[float] = []
        self.renew()

    def renew(self) -> None:
        """Put a tokenizer in place that has seen no word yet."""
        self.construct_seconds.append(protocol.seconds(self._construct))

    def _construct(self) -> None:
        import spanmask

        self._tokenizer = spanmask.Tokenizer(self._vocabulary)

    def encode(self) -> None:
        self._tokenizer.encode(self._texts)

    def ids(self) -> Any:
        return self._tokenizer.encode(self._texts).token_ids


def require_equal(ours: Any, theirs: Any) -> int:
    """Hold two arrays of ids against each other, and return how many there are.

    Raises
    ------
    AssertionError
        They differ.
    """
    import numpy as np

    if len(ours) != len(theirs):
        raise AssertionError(f"spanmask has {len(ours)} tokens, and the library {len(theirs)}")
    different = np.flatnonzero(ours != theirs)
    if len(different):
        place = different[0]
        raise AssertionError(f"token {place} is {ours[place]} for spanmask, and {theirs[place]} for the library")
    return len(ours)


def _figures(taken: Mapping[str, dict[str, Any]], size: int) -> dict[str, Any]:
    rates = {name: protocol.rates(size, found["seconds"]) for name, found in taken.items()}
    contestants = {name: {**taken[name], "bytes_per_second": protocol.spread(rates[name])} for name in taken}
    ratios = {f"{of} / tokenizers": protocol.ratio(rates[of], rates["tokenizers"]) for of in CONTESTANTS[:2]}
    return {"contestants": contestants, "ratios": ratios}


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    head = ["text, vocabulary", "contestant", "MB/s: median", "min", "max", "times the library"]
    rows = [row for name, case in result["cases"].items() for row in _rows(name, case)]
    comparisons = [
        markdown.comparison(
            f"{name}: spanmask / tokenizers", case["ratios"]["spanmask / tokenizers"], result["goals"].get(name)
        )
        for name, case in result["cases"].items()
    ]
    return "\n\n".join((markdown.table(head, rows, texts=2), "\n".join(comparisons), _footer(result))) + "\n"


def _rows(name: str, case: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            contestant,
            *markdown.megabytes(case["contestants"][contestant]["bytes_per_second"]),
            f"{case['ratios'][f'{contestant} / tokenizers']['median']:.1f}" if contestant != "tokenizers" else "1.0",
        ]
        for contestant in CONTESTANTS
    ]


def _footer(result: Mapping[str, Any]) -> str:
    cases = result["cases"]
    inputs = {name.partition(",")[0]: case["input"] for name, case in cases.items()}
    described = "; ".join(f"{name}: {_described(source)}" for name, source in inputs.items())
    chosen = "; ".join(f"{name}: `{case['peer']['method']}` of {case['peer']['cut']}" for name, case in cases.items())
    construct = max(case["construct_seconds"]["median"] for case in cases.values())
    return (
        f"Texts: {described}. {result['parameters']['rounds']} rounds.\n"
        f"The library's fastest way: {chosen}. Making a `Tokenizer`, which no figure includes: {construct:.2f} s.\n"
        f"{markdown.measured_on(result)}"
    )


def _described(source: Mapping[str, Any]) -> str:
    what = ", ".join(source["names"]) if source["kind"] == "text" else f"made up ({source['law']})"
    return f"{what}, {source['bytes'] / protocol.MEGABYTE:,.1f} MB in {source['documents']:,} documents"
