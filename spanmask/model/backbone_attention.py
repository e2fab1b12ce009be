"""Attention within the sequences of a pack, for encoders of transformers: sequence by sequence, as our own computes it on a processor.

transformers' encoders ask for attention by a name, and hand on what they were called with beside it: here who attends to whom. In layers
with a window a token attends to those near it alone, and of a long sequence only scores about the window are computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_utils import AttentionInterface

from spanmask.errors import ConfigError
from spanmask.model.attention import Neighbours

#: What the encoders ask for it by.
NAME = "spanmask"
#: Queries that are computed together, in windows: fewer have more keys each beside their own, more have more scores that count for nothing.
_WINDOWS = 4


def attend(  # noqa: PLR0913 - what transformers hands on
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - others' attention has a mask
    *,
    neighbours: Neighbours | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Map queries, keys and values (1, heads, T, width) of T tokens to (1, T, heads, width).

    neighbours: which tokens one after another are a part. sliding_window: a token attends to those less far away; None: to all of its
    sequence.

    Raises
    ------
    ConfigError
        Nothing says who attends to whom.
    """
    if neighbours is None:
        raise ConfigError(f"attention {NAME} is for packs: give the model another with set_attn_implementation('sdpa')")
    found, start = [], 0
    for size, apart in neighbours.parts:
        own = slice(start, start + size)
        part = query[:, :, own], key[:, :, own], value[:, :, own]
        if sliding_window is None or size <= sliding_window:
            found.append(
                functional.scaled_dot_product_attention(*part, attn_mask=apart, dropout_p=dropout, scale=scaling)
            )
        else:
            found.append(_in_windows(part, apart, sliding_window, dropout, scaling))
        start += size
    return torch.cat(found, dim=2).transpose(1, 2), None


def _in_windows(
    part: tuple[Tensor, Tensor, Tensor], apart: Tensor | None, window: int, dropout: float, scaling: float | None
) -> Tensor:
    """Return what `attend` does of a part, (1, heads, n, width), some queries at a time, with the keys that any of them attends to."""
    query, key, value = part
    size, found = query.shape[2], []
    places = torch.arange(size, device=query.device)
    for first in range(0, size, _WINDOWS * window):
        queries, keys = (
            slice(first, first + _WINDOWS * window),
            slice(max(first - window + 1, 0), first + (_WINDOWS + 1) * window),
        )
        beyond = (places[queries, None] - places[keys]).abs() >= window
        mask = torch.zeros(beyond.shape, dtype=query.dtype, device=query.device).masked_fill(beyond, -torch.inf)
        mask = mask if apart is None else mask + apart[queries, keys]
        chosen = query[:, :, queries], key[:, :, keys], value[:, :, keys]
        found.append(functional.scaled_dot_product_attention(*chosen, attn_mask=mask, dropout_p=dropout, scale=scaling))
    return torch.cat(found, dim=2)


AttentionInterface.register(NAME, attend)
