"""What is predicted: every masked token by the MLM head, and those of them that a rule picks by the span boundary head (paper §3.2).

NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from spanmask.blocks import borders_of, count_up, offsets_of
from spanmask.config import MaskingConfig, Sampler, Scheme
from spanmask.errors import ConfigError
from spanmask.options import Options
from spanmask.records import Flags, MaskedBlock, Offsets, TokenIds


class Edges(StrEnum):
    """A span next to ``[CLS]`` or ``[SEP]``: ``use`` the special token as its boundary, or ``drop`` the span's SBO targets."""

    USE = "use"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class SboRule(Options):
    """Which masked tokens are SBO targets.

    Attributes
    ----------
    edges
        Whether a special token may be a span's boundary.
    max_span_offset
        Those at a smaller offset in their span are.
    """

    edges: Edges
    max_span_offset: int = 20

    def _check(self) -> None:
        self._require(lambda value: value >= 1, "1 or more, such as 20", "max_span_offset")


def default_rule(config: MaskingConfig) -> SboRule | None:
    """Return the rule that goes with a scheme and sampler; None for those whose spans are no spans of text (``word``, ``token``)."""
    if config.scheme in (Scheme.WORD, Scheme.TOKEN):
        return None
    return SboRule(edges=Edges.DROP if config.sampler is Sampler.REFERENCE else Edges.USE)


def resolve_rule(
    maskings: Sequence[MaskingConfig], *, wanted: bool | None, edges: Edges | None, max_span_offset: int
) -> SboRule | None:
    """Return which masked tokens are SBO targets, by what is asked for and the custom of the datasets' schemes.

    Parameters
    ----------
    maskings
        How each dataset was masked.
    wanted
        Whether there are such targets at all; None: as is the custom of the first.
    edges
        None: as is the custom of all.
    max_span_offset
        As of `SboRule`.

    Raises
    ------
    ConfigError
        Targets are wanted, and no custom, or more than one, says which.
    """
    customs = [default_rule(masking) for masking in maskings]
    if not (customs[0] is not None if wanted is None else wanted):
        return None
    found = {custom.edges for custom in customs if custom is not None} if edges is None else {edges}
    if len(found) != 1:
        raise ConfigError("the datasets' schemes do not tell which SBO targets are meant: give edges, use or drop")
    return SboRule(edges=found.pop(), max_span_offset=max_span_offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCounts:
    """SBO targets of S rows. sbo: (S,); masked tokens that are MLM targets only: at_edge in spans at an edge, beyond the largest offset."""

    sbo: Offsets
    at_edge: int
    beyond: int


def count_targets(block: MaskedBlock, rule: SboRule | None) -> TargetCounts:
    """Count the SBO targets of every row, and those left out; without a rule there are none of either."""
    if rule is None:
        return TargetCounts(sbo=np.zeros(len(block), np.int64), at_edge=0, beyond=0)
    sizes = block.spans.sizes
    kept = np.minimum(sizes, rule.max_span_offset)
    at_edge = 0
    if rule.edges is Edges.DROP:
        edge = spans_at_edge(block)
        at_edge = int(sizes[edge].sum())
        sizes[edge] = kept[edge] = 0
    before = offsets_of(kept)
    return TargetCounts(sbo=np.diff(before[block.spans.offsets]), at_edge=at_edge, beyond=int(sizes.sum() - before[-1]))


def spans_at_edge(block: MaskedBlock) -> Flags:
    """Return which of the N spans begin or end at a special token: ``[CLS]``, or ``[SEP]`` behind a segment of their row."""
    owner, starts, ends = block.spans.owners, block.spans.starts.astype(np.int64), block.spans.ends.astype(np.int64)
    last, border = (block.input_ids.lengths - 1)[owner], borders_of(block)[owner]
    flags: Flags = (starts == 1) | (ends == last) | (starts == border) | (ends == border - 1)
    return flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """M masked tokens, in order.

    row: (M,) their row in the block; position: (M,) in the row; labels: (M,) original ids; left, right: (M,) positions of the tokens
    outside the span; offset: (M,) from 0; sbo: (M,) whether it is an SBO target.
    """

    row: Offsets
    position: Offsets
    labels: TokenIds
    left: Offsets
    right: Offsets
    offset: Offsets
    sbo: Flags


def list_targets(block: MaskedBlock, rule: SboRule | None) -> Targets:
    """Return every masked token with its span's boundaries."""
    starts, ends = block.spans.starts.astype(np.int64), block.spans.ends.astype(np.int64)
    sizes = ends - starts
    offset = count_up(sizes)
    if rule is None:
        sbo = np.zeros(len(offset), np.bool_)
    else:
        sbo = offset < rule.max_span_offset
        if rule.edges is Edges.DROP:
            sbo &= ~np.repeat(spans_at_edge(block), sizes)
    return Targets(
        row=block.labels.owners,
        position=np.repeat(starts, sizes) + offset,
        labels=block.labels.values,
        left=np.repeat(starts - 1, sizes),
        right=np.repeat(ends, sizes),
        offset=offset,
        sbo=sbo,
    )
