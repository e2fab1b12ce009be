"""Examples of a task, and some of them in another order."""

from __future__ import annotations

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.probes import Examples
from spanmask.records import Ragged


def test_some_examples_are_those_of_their_numbers_in_the_order_asked_for() -> None:
    examples = Examples(
        input_ids=Ragged(offsets=offsets_of([3, 0, 2, 4]), values=np.arange(9, dtype=np.uint16)),
        second_starts=np.array([2, 0, 1, 4], np.int32),
        groups=np.array([7, 8, 8, 9]),
        targets={"starts": np.array([1, 2, 3, 4])},
    )
    some = examples.take(np.array([3, 1, 0]))
    assert [some.input_ids[place].tolist() for place in range(len(some))] == [[5, 6, 7, 8], [], [0, 1, 2]]
    assert some.second_starts.tolist() == [4, 0, 2]
    assert some.groups.tolist() == [9, 8, 7]
    assert some.targets["starts"].tolist() == [4, 2, 1]
    assert len(examples.take(np.array([], np.int64))) == 0
