"""Pairs of entities of the stories that ship, in each layout: which of two words stands first says the relation."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import torch
from probes.ordering import SIZES, vocabulary

from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export
from spanmask.probes.scores.semeval import RELATIONS
from spanmask.vocab import Vocabulary

#: Entities and their types.
PEOPLE = ("raven", "cat", "usher", "man", "king", "lady")
PLACES = ("house", "door", "pit", "bell", "sea", "chamber")
WORDS = ("night", "heart", "the", "of", "was", "and", "dark", "old", "death", "time", "soul", "voice")


def rows(count: int, seed: int, *, longest: int = 14) -> list[dict[str, Any]]:
    """Pairs of a person and a place in words drawn at random; ``before`` where the person comes first."""
    rng, found = random.Random(seed), []
    for number in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randint(4, longest))]
        first, second = sorted(rng.sample(range(len(words)), 2))
        person, place = (first, second) if rng.random() < 0.5 else (second, first)
        words[person], words[place] = rng.choice(PEOPLE), rng.choice(PLACES)
        found.append({"id": f"{seed}-{number}", "words": words, "person": person, "place": place})
    return found


def label_of(row: dict[str, Any], names: tuple[str, str]) -> str:
    return names[row["person"] > row["place"]]


def tacred(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "relation": label_of(row, ("per:place", "no_relation")),
        "token": row["words"],
        "subj_start": row["person"],
        "subj_end": row["person"],
        "obj_start": row["place"],
        "obj_end": row["place"],
        "subj_type": "PERSON",
        "obj_type": "LOCATION",
        **changes,
    }


def opennre(row: dict[str, Any], names: tuple[str, str] = ("before", "behind"), **changes: Any) -> dict[str, Any]:
    ends = {
        role: {"name": row["words"][row[key]], "pos": [row[key], row[key] + 1]}
        for role, key in (("h", "person"), ("t", "place"))
    }
    return {"token": row["words"], **ends, "relation": label_of(row, names), **changes}


def semeval(row: dict[str, Any], number: int) -> str:
    tagged = list(row["words"])
    for tag, key in (("e1", "person"), ("e2", "place")):
        tagged[row[key]] = f"<{tag}>{tagged[row[key]]}</{tag}>"
    label = label_of(row, (f"{RELATIONS[number % 2]}(e1,e2)", "Other"))
    return f'{number}\t"{" ".join(tagged)}"\n{label}\nComment: of nothing.\n\n'


def write_tacred(path: Path, count: int, seed: int, **options: Any) -> Path:
    path.write_text(json.dumps([tacred(row) for row in rows(count, seed, **options)]), "utf-8")
    return path


def write_opennre(path: Path, count: int, seed: int, **options: Any) -> Path:
    path.write_text("".join(json.dumps(opennre(row, **options)) + "\n" for row in rows(count, seed)), "utf-8")
    return path


def write_semeval(path: Path, count: int, seed: int) -> Path:
    told = "".join(semeval(row, number) for number, row in enumerate(rows(count, seed), 8001))
    path.write_bytes(told.replace("\n", "\r\n").encode())
    return path


@cache
def with_unused() -> Vocabulary:
    """The stories' vocabulary, with unused entries behind it."""
    entries = (*vocabulary().entries, *(f"[unused{number}]" for number in range(24)))
    return Vocabulary(name="stories", entries=entries, cased=False)


def relation_model(folder: Path, seed: int = 0) -> Path:
    """Write a model of random weights over that vocabulary."""
    torch.manual_seed(seed)
    export(SpanBertForPreTraining(SpanBertConfig.of(vocab_size=len(with_unused()), **SIZES)), folder, with_unused())
    return folder
