"""Who can read a tokenizer, and who of those has the ``tokenizers`` library's ids: looked at before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import peers, texts
from .baselines.fast_tokenizers import CONTESTANTS, LIBRARY, OURS, Contestant, Flat, Way


def readers_of(path: str) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Return those that can read a tokenizer.json, and why the others cannot."""
    readers, refused = {}, {}
    for name, contestant in CONTESTANTS.items():
        try:
            if peers.missing([name]):
                raise ModuleNotFoundError("not installed")
            contestant.load(path)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # What panics in Rust is no Exception.
            if name in (OURS, LIBRARY):
                raise
            refused[name] = str(error).partition("\n")[0]
        else:
            readers[name] = contestant
    return readers, refused


def exact(
    readers: Mapping[str, Contestant],
    path: str,
    name: str,
    part: texts.Parts,
    differences: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """Return who has the library's ids for a text in every way it is called, and put the first difference of the others down.

    Raises
    ------
    AssertionError
        spanmask is one of the others.
    """
    documents = [*part.warm_up.documents, *part.measured.documents]
    library = readers[LIBRARY]
    wanted = _ids(library, library.ways["encode_batch_fast"], path, documents)
    same = []
    for each, contestant in readers.items():
        found = [first_difference(wanted, _ids(contestant, way, path, documents)) for way in contestant.ways.values()]
        different = [difference for difference in found if difference]
        if not different:
            same.append(each)
            continue
        if each == OURS:
            raise AssertionError(f"{name}: spanmask differs from the library: {different[0]}")
        differences.setdefault(each, []).append({"text": name, **different[0]})
    return {"contestants": same, "tokens": len(wanted[0])}


def _ids(contestant: Contestant, way: Way, path: str, documents: list[str]) -> Flat:
    return way.flat(way.call(contestant.load(path), way.given(documents)))


def first_difference(wanted: Flat, found: Flat) -> dict[str, Any] | None:
    """Return in which document ids differ first, at which token, and a few ids there of both; None where they do not."""
    bounds = [np.concatenate([[0], np.cumsum(counts)]) for _, counts in (wanted, found)]
    if np.array_equal(wanted[1], found[1]) and np.array_equal(wanted[0], found[0]):
        return None
    for document in range(len(wanted[1])):
        left, right = (
            ids[ends[document] : ends[document + 1]] for (ids, _), ends in zip((wanted, found), bounds, strict=True)
        )
        if not np.array_equal(left, right):
            shared = min(len(left), len(right))
            places = np.flatnonzero(left[:shared] != right[:shared])
            at = int(places[0]) if len(places) else shared
            return {
                "document": document,
                "token": at,
                "ids": right[at : at + 4].tolist(),
                "wanted": left[at : at + 4].tolist(),
            }
    raise AssertionError("unequal ids are unequal in some document")
