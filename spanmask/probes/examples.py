"""A task's examples as a model reads them, whatever the task; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import take
from spanmask.records import Offsets, Ragged, TokenIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """N examples, ``[CLS] first [SEP]`` or ``[CLS] first [SEP] second [SEP]`` each.

    input_ids: (T,), special tokens included. second_starts: (N,) int32, the position in its example from which on tokens are of type 1;
    the example's length where there is no second part. groups: (N,) int64, which unit of the task (a question, a document) an example
    belongs to. targets: what is to be learnt, by the names that the task's loss knows, (N,) or (N, …) each; empty where nothing is.
    """

    input_ids: Ragged[TokenIds]
    second_starts: npt.NDArray[np.int32]
    groups: npt.NDArray[np.int64]
    targets: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.input_ids)

    def take(self, which: Offsets) -> Examples:
        """Return some examples, (n,) by their numbers, in that order."""
        return Examples(
            input_ids=take(self.input_ids, which),
            second_starts=self.second_starts[which],
            groups=self.groups[which],
            targets={name: values[which] for name, values in self.targets.items()},
        )
