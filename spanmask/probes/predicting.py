"""What a model says of examples that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from spanmask.blocks import take
from spanmask.model.dropout import without_dropout
from spanmask.probes.batching import Batch, Packer
from spanmask.probes.tasks import Outputs
from spanmask.records import Ragged
from spanmask.train.evaluation import AbandonedError
from spanmask.train.updating import forward_of
from spanmask.train.watching import Watch


def predict(
    model: nn.Module,
    packer: Packer,
    *,
    tokenwise: bool,
    dtype: torch.dtype,
    watch: Watch | None = None,
) -> Outputs:
    """Return a model's scores in the order of the examples, float32: (T, K) of each token, or (N, K) of each example.

    Parameters
    ----------
    model
        It is in training mode again afterwards if it was before.
    packer
        What packs the examples.
    tokenwise
        Whether scores are of tokens.
    dtype
        What is computed in.
    watch
        Asked whether to go on, and told how many examples are done.

    Raises
    ------
    AbandonedError
        The watch was stopping.
    """
    watch = watch or Watch()
    forward, device = forward_of(model, dtype), next(model.parameters()).device
    offsets = packer.examples.input_ids.offsets if tokenwise else np.arange(len(packer) + 1)
    rows = Ragged(offsets=offsets, values=np.arange(offsets[-1]))
    found, done = np.empty((0, 0), np.float32), 0
    with without_dropout(model), torch.no_grad():
        for batch in packer.batches(np.arange(len(packer))):
            if watch.stopping():
                raise AbandonedError
            scores = _scores(batch.to(device), forward, tokenwise=tokenwise)
            if not len(found):
                found = np.empty((offsets[-1], scores.shape[1]), np.float32)
            found[take(rows, batch.which).values] = scores
            done += len(batch.which)
            watch.evaluating(done, len(packer))
    return found


def _scores(batch: Batch, forward: Callable[..., torch.Tensor], *, tokenwise: bool) -> Outputs:
    """Return the scores of a batch in its examples' order, without padding."""
    scores = forward(batch.packed, batch.firsts)
    if tokenwise:
        scores = scores[batch.owners < len(batch.which)]
    found: Outputs = scores.float().cpu().numpy()
    return found
