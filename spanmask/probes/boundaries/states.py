"""The states of a frozen encoder at the boundaries of spans, and what they are put beside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from spanmask.blocks import offsets_of, take
from spanmask.errors import ConfigError
from spanmask.model.config import SpanBertConfig
from spanmask.model.dropout import without_dropout
from spanmask.model.encoder import SpanBertEncoder
from spanmask.probes.batching import Packer
from spanmask.probes.boundaries.spans import Ids, Spans
from spanmask.probes.examples import Examples
from spanmask.records import Ragged

#: (N, 2·H): the state before each span, then that behind it.
States = npt.NDArray[np.float32]
#: Bytes of states that are held, at most, and how many such tables there are at a time: as they come, and as a reader scales them.
_MOST, _TABLES = 8 << 30, 2


def require_memory(spans: Spans, config: SpanBertConfig) -> None:
    """Refuse more states than are held.

    Raises
    ------
    ConfigError
        There would be.
    """
    each = _TABLES * 2 * config.hidden * 4
    size = len(spans) * each
    if size > _MOST:
        raise ConfigError(
            f"the states of {len(spans):,} spans, {2 * config.hidden} numbers each, take {size / 1e9:.1f} GB, scaled ones too, and "
            f"{_MOST / 1e9:.1f} are held: give {_MOST // each:,} spans or fewer",
            options=("spans",),
        )


def require_room(spans: Spans, config: SpanBertConfig) -> None:
    """Refuse rows that are longer than a model takes.

    Raises
    ------
    ConfigError
        One is.
    """
    longest = int(spans.visible.lengths.max())
    if longest > config.max_positions:
        raise ConfigError(
            f"rows have up to {longest} tokens, and the model {config.max_positions} positions: preshard the text with "
            f"--max-tokens {config.max_positions}"
        )


def boundary_states(
    encoder: SpanBertEncoder,
    spans: Spans,
    rows: Ragged[Ids],
    *,
    pad_id: int,
    bins: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> States:
    """Return the states of the last layer at the two tokens beside each span, (N, 2·H) in the order of the spans.

    Parameters
    ----------
    encoder
        On any device; nothing of it is dropped or trained.
    spans
        N of them.
    rows
        What the encoder reads: ``spans.masked`` or ``spans.visible``.
    pad_id
        The vocabulary's padding.
    bins
        Bins that are computed at once.
    on_progress
        Told how many rows are done, and of how many.
    """
    examples = Examples(
        input_ids=Ragged(offsets=rows.offsets, values=rows.values.astype(np.uint32)),
        second_starts=spans.second_starts,
        groups=np.arange(len(rows)),
        targets={},
    )
    packer = Packer(examples, width=int(rows.lengths.max()), pad_id=pad_id, bins=bins)
    of_row = Ragged(offsets=offsets_of(np.bincount(spans.rows, minlength=len(rows))), values=np.arange(len(spans)))
    states = np.empty((len(spans), 2 * encoder.config.hidden), np.float32)
    device, done = next(encoder.parameters()).device, 0
    with without_dropout(encoder), torch.no_grad():
        for batch in packer.batches(np.arange(len(rows))):
            hidden = encoder(batch.packed.to(device))
            there = take(of_row, batch.which)
            firsts = batch.firsts.numpy()[there.owners]
            sides = [firsts + one[there.values] for one in (spans.lefts, spans.rights)]
            slots = torch.from_numpy(np.stack(sides, axis=1)).to(device)
            states[there.values] = hidden[slots].flatten(1).float().cpu().numpy()
            done += len(batch.which)
            if on_progress is not None:
                on_progress(done, len(rows))
    return states


def static_states(encoder: SpanBertEncoder, spans: Spans) -> States:
    """Return what an encoder's table of words has of the two tokens beside each span, (N, 2·H): nothing else, not even positions."""
    words = encoder.embeddings.words.weight.detach().cpu()
    found: States = words[torch.from_numpy(spans.boundaries())].flatten(1).numpy()
    return found


def draw_by(seed: int) -> None:
    """Have what torch draws from here on be a function of a seed."""
    torch.manual_seed(seed)


def random_encoder(config: SpanBertConfig, seed: int) -> SpanBertEncoder:
    """Return an encoder of a shape whose weights are drawn anew, a function of the seed."""
    draw_by(seed)
    return SpanBertEncoder(config)
