"""Small documents of one rule for coreference: who is named alike is one, in columns as LitBank has them."""

from __future__ import annotations

import random
from pathlib import Path

from spanmask.probes.scores.conll import write_conll

#: Who and what documents are of, with words of the stories' vocabulary.
NAMES = ("raven", "cat", "bell", "pit", "usher", "eye", "heart", "door")
VERBS = ("was", "had", "heard", "saw", "opened", "said")
OTHERS = ("night", "house", "death", "time", "soul", "voice")

Mention = tuple[int, int]


def story(seed: int, sentences: int = 6, *, singletons: bool = True) -> tuple[list[list[str]], list[list[Mention]]]:
    """Return the words of each sentence, such as “the raven saw a cat .”, and an entity for each of NAMES that stands there."""
    rng = random.Random(seed)
    found: list[list[str]] = []
    entities: dict[str, list[Mention]] = {}
    place = 0
    for _ in range(sentences):
        one, other = rng.sample(NAMES, 2)
        words = ["the", one, rng.choice(VERBS), *rng.choices(OTHERS, k=rng.randint(0, 2)), "the", other, "."]
        entities.setdefault(one, []).append((place, place + 1))
        entities.setdefault(other, []).append((place + len(words) - 3, place + len(words) - 2))
        place += len(words)
        found.append(words)
    return found, [mentions for mentions in entities.values() if singletons or len(mentions) > 1]


def write_stories(path: Path, first: int, count: int, **options: bool) -> Path:
    """Write stories of seeds from one on."""
    write_conll(path, {f"(story_{seed}); part 000": story(seed, **options) for seed in range(first, first + count)})
    return path
