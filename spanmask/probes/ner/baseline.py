"""What tags come to without a model: the floor that a figure stands on. That of ``O`` alone is 0: it finds no span."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from spanmask.probes.scores.columns import OUTSIDE, Sentence


def most_frequent_tags(train: Iterable[Sentence], evaluate: Iterable[Sentence]) -> list[list[str]]:
    """Return for each word to be tagged the tag that it has most often in training, O for one that is not there.

    Of tags that are as frequent the one that comes first in training is taken. Words are told apart by case.

    Parameters
    ----------
    train
        Sentences whose tags are known, in one scheme, as `spanmask.probes.ner.read_tagged` has them.
    evaluate
        Those to be tagged; their tags are not looked at.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            counts[word][tag] += 1
    best = {word: held.most_common(1)[0][0] for word, held in counts.items()}
    return [[best.get(word, OUTSIDE) for word in sentence.words] for sentence in evaluate]
