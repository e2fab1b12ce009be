"""What a model says of examples that it is not trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spanmask.blocks import take
from spanmask.model.dropout import without_dropout
from spanmask.probes.batching import Batch, Packing
from spanmask.probes.examples import Examples
from spanmask.probes.tasks import Outputs, Reading, Rows, arguments
from spanmask.records import Ragged
from spanmask.train.evaluation import AbandonedError
from spanmask.train.updating import forward_of
from spanmask.train.watching import Watch


def predict(
    model: nn.Module, task: Reading, packing: Packing, *, dtype: torch.dtype, watch: Watch | None = None
) -> Outputs:
    """Return what a model says of examples, float32, in their order, as the task's `spanmask.probes.tasks.Rows` has it.

    Parameters
    ----------
    model
        It is in training mode again afterwards if it was before.
    task
        What its head is of.
    packing
        What makes batches of the examples, or groups.
    dtype
        What is computed in.
    watch
        Asked whether to go on, and told how many examples, or groups, are done.

    Raises
    ------
    AbandonedError
        The watch was stopping.
    """
    watch = watch or Watch()
    forward, device = forward_of(model, dtype), next(model.parameters()).device
    collected, done = _COLLECTED[task.rows](packing.examples), 0
    with without_dropout(model), torch.no_grad():
        for batch in packing.batches(np.arange(len(packing))):
            if watch.stopping():
                raise AbandonedError
            collected.add(batch, forward(*arguments(task, batch.to(device), device)))
            done += batch.units
            watch.evaluating(done, len(packing))
    return collected.rows()


class _OfExamples:
    """Scores of examples, as they come, in the examples' order."""

    def __init__(self, examples: Examples) -> None:
        self._places = Ragged(offsets=np.arange(len(examples) + 1), values=np.arange(len(examples)))
        self._found = np.empty((0, 0), np.float32)

    def add(self, batch: Batch, scores: Tensor) -> None:
        """Take the scores of a batch."""
        if not len(self._found):
            self._found = np.empty((self._places.offsets[-1], scores.shape[1]), np.float32)
        self._found[take(self._places, batch.which).values] = scores.float().cpu().numpy()

    def rows(self) -> Outputs:
        """Return all that were taken."""
        return self._found


class _OfTokens(_OfExamples):
    """Scores of tokens, without padding."""

    def __init__(self, examples: Examples) -> None:
        super().__init__(examples)
        offsets = examples.input_ids.offsets
        self._places = Ragged(offsets=offsets, values=np.arange(offsets[-1]))

    def add(self, batch: Batch, scores: Tensor) -> None:
        """Take the scores of a batch."""
        super().add(batch, scores[(batch.owners < len(batch.which)).to(scores.device)])


class _OfGroups:
    """Rows of groups, which come in order."""

    def __init__(self, examples: Examples) -> None:
        self._groups, self._found = examples.groups, list[Outputs]()

    def add(self, batch: Batch, scores: Tensor) -> None:
        """Take the rows of a group."""
        rows = scores.float().cpu().numpy()
        self._found.append(np.insert(rows, 0, self._groups[batch.which[0]], axis=1))

    def rows(self) -> Outputs:
        """Return all that were taken."""
        return np.concatenate(self._found) if self._found else np.empty((0, 0), np.float32)


_COLLECTED: dict[Rows, type[_OfExamples] | type[_OfGroups]] = {
    Rows.TOKEN: _OfTokens,
    Rows.EXAMPLE: _OfExamples,
    Rows.GROUP: _OfGroups,
}
