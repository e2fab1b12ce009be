"""Spans as the tags of a scheme, and which scheme a file's tags are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spanmask.probes.ner.config import TagScheme
from spanmask.probes.scores.columns import OUTSIDE, PREFIXES, parted
from spanmask.probes.scores.ner import Span, spans_of

#: What the tags of each scheme may begin with.
ALLOWED = {
    TagScheme.AUTO: PREFIXES,
    TagScheme.IOB1: ("B", "I"),
    TagScheme.IOB2: ("B", "I"),
    TagScheme.IOBES: PREFIXES,
}
#: Of two that fit a file as well the first is taken: a file without spans fits all.
_SCHEMES = (TagScheme.IOB2, TagScheme.IOB1, TagScheme.IOBES)


def tags_of(spans: Sequence[Span], words: int, scheme: TagScheme = TagScheme.IOB2) -> list[str]:
    """Return the tags of a sentence.

    Parameters
    ----------
    spans
        In order; none shares a word with another.
    words
        How many the sentence has.
    scheme
        Which, not auto.
    """
    tags = [OUTSIDE] * words
    before = ("", -1, -1)
    for kind, first, last in spans:
        touches = before[0] == kind and before[2] == first - 1
        prefixes = ["I"] * (last - first + 1)
        if scheme is not TagScheme.IOB1 or touches:
            prefixes[0] = "B"
        if scheme is TagScheme.IOBES:
            prefixes[-1] = "E" if last > first else "S"
        tags[first : last + 1] = [f"{prefix}-{kind}" for prefix in prefixes]
        before = (kind, first, last)
    return tags


def scheme_of(sentences: Iterable[Sequence[str]]) -> tuple[TagScheme, int]:
    """Return the scheme from which tags differ least when their spans are written in it, and in how many words they do."""
    differing = dict.fromkeys(_SCHEMES, 0)
    for tags in sentences:
        spans = spans_of(tags)
        for scheme in _SCHEMES if spans else ():
            differing[scheme] += irregular(tags, spans, scheme)
    best = min(_SCHEMES, key=lambda scheme: differing[scheme])
    return best, differing[best]


def irregular(tags: Sequence[str], spans: Sequence[Span], scheme: TagScheme) -> int:
    """Return how many tags a scheme has otherwise for the same spans."""
    written = tags_of(spans, len(tags), scheme)
    return sum(parted(tag) != parted(other) for tag, other in zip(tags, written, strict=True))
