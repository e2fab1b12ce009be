"""The question: how fast is tokenizing, beside whatever gives the same ids fastest.

Contestants, in turn, on the same text and one thread: those of `baselines.fast_tokenizers`. Their ids are held against the ``tokenizers``
library's on all texts before anything is timed; where one differs it is not timed. Each in three states: a tokenizer that has seen nothing
(``cold``), the same then on text it has not seen (``new``), and on that again (``seen``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from . import child, exactness, peers, protocol, texts
from .baselines.fast_tokenizers import CONTESTANTS, LIBRARY, OURS, Contestant
from .tokenizer_files import KINDS, SHARES, SPECIALS

QUESTION = "How fast is tokenizing?"
STATES = ("cold", "new", "seen")
VOCABULARIES = ("cased", "uncased", "gpt-2", "llama-3", "xlm-r")
TEXTS = ("prose", *texts.NAMES)
#: Texts that show how scripts without spaces or accents fare with BERT's vocabularies alone; to the others they are mixed text.
_OF_BERT = ("Chinese", "Greek")
#: Seconds that a call shall take at most, by which slow contestants are given less text; and bytes of text that ways are tried with.
CALL_SECONDS, TRIED_BYTES = 0.15, 500_000
#: What is compared within a run beside contestants: a text with the prose of the same vocabulary, and vocabularies with BERT's.
COMPARED = {
    **{
        f"{text}, {name}, cold / prose": (f"{text}, {name}", f"prose, {name}")
        for name in VOCABULARIES[2:]
        for text in ("code", "mixed")
    },
    **{f"prose, {name}, cold / cased": (f"prose, {name}", "prose, cased") for name in VOCABULARIES[2:]},
}
#: What is asked of median ratios of rates.
GOALS = {
    **{f"prose, {name}, cold: {OURS} / {LIBRARY}": goal for name, goal in (("cased", 40.0), ("uncased", 30.0))},
    **{f"{text}, {name}, cold: {OURS} / {LIBRARY}": 10.0 for name in VOCABULARIES[:2] for text in _OF_BERT},
    **{
        f"prose, {name}, {state}: {OURS} / nanotoken": goal
        for name in VOCABULARIES[:2]
        for state, goal in (("new", 1.3), ("seen", 1.0))
    },
    **{
        name: goal
        for kind in ("gpt-2", "llama-3")
        for name, goal in {
            f"prose, {kind}, cold / cased": 0.6,
            f"prose, {kind}, cold: {OURS} / gigatoken": 0.6,
            f"prose, {kind}, seen: {OURS} / gigatoken": 0.4,
            f"prose, {kind}, cold: {OURS} / {LIBRARY}": 25.0,
            f"code, {kind}, cold / prose": 0.4,
            f"mixed, {kind}, cold / prose": 0.4,
        }.items()
    },
    "prose, xlm-r, cold / cased": 0.35,
    f"prose, xlm-r, cold: {OURS} / tokie": 1.5,
    f"prose, xlm-r, seen: {OURS} / tokie": 1.5,
    f"prose, xlm-r, cold: {OURS} / {LIBRARY}": 15.0,
}


def measure(
    *,
    paths: Sequence[str] = (),
    vocabularies: Sequence[str] = VOCABULARIES,
    rounds: int = 7,
    megabytes: float = 16,
    training_megabytes: float = 20,
) -> dict[str, Any]:
    """Measure, in child processes of one thread.

    Parameters
    ----------
    paths
        Files to take prose from; by default the stories that ship with spanmask.
    vocabularies
        Those to measure with: what `tokenizer_files.prepare` takes.
    rounds
        How often each contestant runs in each state, after one round to warm up.
    megabytes
        Of prose at most, to warm up with and to measure on alike; of the other texts a quarter of that.
    training_megabytes
        Of prose at most, to train tokenizers on that do not ship with spanmask.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``vocabularies`` by name, ``cases`` by text and vocabulary, ``ratios`` and
        ``goals``.

    Raises
    ------
    ConfigError
        There is no text in the files, they cannot be read, or the ``bench`` extra is missing.
    """
    peers.require([LIBRARY, *sorted({KINDS[name].trainer for name in vocabularies if name in KINDS} - {LIBRARY})])
    parameters = {"rounds": rounds, "megabytes": megabytes, "training_megabytes": training_megabytes}
    found: dict[str, dict[str, Any]] = {"vocabularies": {}, "cases": {}}
    for vocabulary in vocabularies:
        source = {"vocabulary": vocabulary, "paths": list(paths), "megabytes": training_megabytes}
        file = child.call("tokenizer_files", "prepare", source)
        asked = {**parameters, "paths": list(paths), "names": list(_texts_of(vocabulary)), "path": file["path"]}
        of_vocabulary = child.call("tokenizing", "run", asked)
        name = file["described"]["name"]
        found["vocabularies"][name] = {**file["described"], **of_vocabulary["beside"]}
        found["cases"] |= {f"{text}, {name}": case for text, case in of_vocabulary["cases"].items()}
    ratios = _ratios(found["cases"])
    goals = protocol.goals({name: ratio["median"] for name, ratio in ratios.items()}, GOALS)
    packages = [each.package for name, each in CONTESTANTS.items() if name != OURS and not peers.missing([name])]
    return protocol.record(QUESTION, parameters, {**found, "ratios": ratios, "goals": goals}, packages)


def _texts_of(vocabulary: str) -> tuple[str, ...]:
    return tuple(name for name in TEXTS if vocabulary not in VOCABULARIES[2:] or name not in _OF_BERT)


def run(
    *, path: str, paths: list[str], names: list[str], rounds: int, megabytes: float, training_megabytes: float
) -> dict[str, Any]:
    """Measure all texts with one tokenizer.json in this process; see `measure`."""
    parts = {name: _parts(name, paths, megabytes, training_megabytes) for name in names}
    readers, refused = exactness.readers_of(path)
    differences: dict[str, list[dict[str, Any]]] = {}
    cases = {}
    with protocol.pinned() as is_pinned:
        exact = {name: exactness.exact(readers, path, name, part, differences) for name, part in parts.items()}
        for name, part in parts.items():
            contestants = {each: readers[each] for each in exact[name]["contestants"]}
            taken = _timed(contestants, path, part, rounds)
            described = {"warm_up": part.warm_up.described, "measured": part.measured.described}
            cases[name] = {"input": described, "tokens": exact[name]["tokens"], "contestants": taken}
    return {"beside": {"pinned": is_pinned, "refused": refused, "differences": differences}, "cases": cases}


def _parts(name: str, paths: list[str], megabytes: float, training_megabytes: float) -> texts.Parts:
    """Return a text, divided, without documents that name a special token, which spanmask alone reads as text."""
    limit = megabytes if name == "prose" else megabytes / 4
    training = training_megabytes * SHARES.get(name, 0.0)
    return texts.parts(
        name,
        paths,
        training=int(training * protocol.MEGABYTE),
        limit=int(limit * protocol.MEGABYTE),
        without=SPECIALS,
    )


class _Measured:
    """A contestant in its fastest way, and the texts it is given."""

    def __init__(self, contestant: Contestant, path: str, part: texts.Parts) -> None:
        self._load = partial(contestant.load, path)
        self.way, self.tried = _fastest(contestant, self._load, texts.first(part.measured.documents, TRIED_BYTES))
        limit = int(CALL_SECONDS * self.tried[self.way] * protocol.MEGABYTE)
        chosen = contestant.ways[self.way]
        self._call, self._tokenizer, self._found = chosen.call, self._load(), None
        halves = [texts.first(half.documents, limit) for half in (part.warm_up, part.measured)]
        self._warm_up, self._measured = map(chosen.given, halves)
        self.bytes = dict(
            zip(("cold", "new"), (sum(len(text.encode()) for text in half) for half in halves), strict=True)
        )
        self.bytes["seen"] = self.bytes["new"]
        self.construct_seconds: list[float] = []

    def renew(self) -> None:
        """Put a tokenizer in place that has seen no text."""
        self.forget()
        self.construct_seconds.append(protocol.seconds(self._make))

    def _make(self) -> None:
        self._tokenizer = self._load()

    def forget(self) -> None:
        """Give back what the last call returned, which shall be on nobody's clock."""
        self._found = None

    def warm_up(self) -> None:
        self._found = self._call(self._tokenizer, self._warm_up)

    def encode(self) -> None:
        self._found = self._call(self._tokenizer, self._measured)


def _fastest(contestant: Contestant, load: Callable[[], Any], documents: list[str]) -> tuple[str, dict[str, float]]:
    """Return the fastest way for these documents, and MB/s of all: the better of two calls."""
    size, tried = sum(len(document.encode()) for document in documents), {}
    for name, way in contestant.ways.items():
        tokenizer, given = load(), way.given(documents)
        taken = min(protocol.seconds(partial(way.call, tokenizer, given)) for _ in range(2))
        tried[name] = size / protocol.MEGABYTE / taken
    return max(tried, key=lambda name: tried[name]), tried


def _timed(
    contestants: Mapping[str, Contestant], path: str, part: texts.Parts, rounds: int
) -> dict[str, dict[str, Any]]:
    """Return what each took, by state; one that remembers nothing is in no state, and has ``any`` alone."""
    measured = {name: _Measured(contestant, path, part) for name, contestant in contestants.items()}
    calls: dict[tuple[str, str], tuple[Callable[[], object], Callable[[], object]]] = {}
    for name, each in measured.items():
        if contestants[name].remembers:
            calls[name, "cold"] = (each.warm_up, each.renew)
            calls[name, "new"] = calls[name, "seen"] = (each.encode, each.forget)
        else:
            calls[name, "any"] = (each.encode, each.forget)
    named = {f"{name}, {state}": call for (name, state), call in calls.items()}
    taken = protocol.interleave(
        {key: call for key, (call, _) in named.items()}, rounds, {key: before for key, (_, before) in named.items()}
    )
    found: dict[str, dict[str, Any]] = {}
    for name, state in calls:
        each = measured[name]
        of_state = taken[f"{name}, {state}"]
        size = each.bytes["new" if state == "any" else state]
        rates = protocol.spread(protocol.rates(size, of_state["seconds"]))
        entry = found.setdefault(name, {"way": each.way, "tried": each.tried, "states": {}})
        entry["states"][state] = {**of_state, "bytes": size, "bytes_per_second": rates}
    for name, each in measured.items():
        if each.construct_seconds:
            found[name]["construct_seconds"] = protocol.spread(each.construct_seconds)
    return found


def state_of(contestant: Mapping[str, Any], state: str) -> Mapping[str, Any]:
    """Return what a contestant took in a state, or in any where it remembers nothing."""
    states: Mapping[str, Mapping[str, Any]] = contestant["states"]
    return states.get(state) or states["any"]


def _rates(case: Mapping[str, Any], name: str, state: str) -> list[float]:
    found = state_of(case["contestants"][name], state)
    return protocol.rates(found["bytes"], found["seconds"])


def _ratios(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return ratios of rates, round by round: spanmask to each other contestant in each state, and what is `COMPARED`."""
    pairs = {
        f"{name}, {state}: {OURS} / {each}": (_rates(case, OURS, state), _rates(case, each, state))
        for name, case in cases.items()
        for state in STATES
        for each in case["contestants"]
        if each != OURS
    }
    for name, (of, to) in COMPARED.items():
        if of in cases and to in cases:
            pairs[name] = (_rates(cases[of], OURS, "cold"), _rates(cases[to], OURS, "cold"))
    return {name: protocol.spread(protocol.ratio(*pair)["rounds"]) for name, pair in pairs.items()}
