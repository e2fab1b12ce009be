"""How much room a run's shards will take, and whether the disk has it: an estimate from the inputs' sizes, before anything is read."""

from __future__ import annotations

import shutil
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from fractions import Fraction
from pathlib import Path

from spanmask.config import PreshardConfig
from spanmask.corpus.inputs import InputFile
from spanmask.errors import StorageError
from spanmask.presharding.planning import Plan, Task
from spanmask.presharding.receipt import unit_order
from spanmask.presharding.unigrams import text_bytes
from spanmask.presharding.units import END
from spanmask.storage import AGAIN, reporting
from spanmask.vocab import Vocabulary

#: Bytes of shards a byte of text: 0.52 to 0.63 for English prose, with sequences of 512 and of 128 tokens.
_A_BYTE = Fraction(3, 5)
#: How many times that it is where ids take four bytes, and where rows carry their word starts.
_WIDE, _WORDS = Fraction(17, 10), Fraction(3, 2)
#: An estimate is refused only where this share of it has no room either: much of a file may be no text, or compress badly.
_SURE = Fraction(1, 2)


def estimated_bytes(config: PreshardConfig, vocabulary: Vocabulary, files: Sequence[InputFile]) -> int:
    """Return about how many bytes the shards of files will have; kept columns are not counted."""
    size = _A_BYTE * sum(map(text_bytes, files))
    if vocabulary.dtype.itemsize > 2:
        size *= _WIDE
    if config.corpus.words_field is not None or not vocabulary.tells_words:
        size *= _WORDS
    return int(size)


def check_space(folder: Path, plan: Plan, done: Iterable[str]) -> None:
    """Warn where what is left of a plan may not fit on the disk of a folder. done: units that are there.

    Raises
    ------
    StorageError
        It cannot fit.
    """
    units = defaultdict[int, set[int]](set)
    for task, block in map(unit_order, done):
        units[task].add(block)
    step, whole = plan.config.output.shard_bytes, sum(task.disk_bytes for task in plan.tasks)
    left = (
        whole
        and sum(
            task.disk_bytes * (1 - _share_done(task, units.get(task.number, frozenset()), step)) for task in plan.tasks
        )
        / whole
    )
    needed = int(estimated_bytes(plan.config, plan.vocabulary, plan.files) * left)
    with reporting(folder, "look at"):
        free = shutil.disk_usage(folder).free
    if needed <= free:
        return
    told = f"{folder}: about {told_bytes(needed)} of shards are to be written, and {told_bytes(free)} are free there"
    if needed * _SURE > free:
        raise StorageError(f"{told}; make room, or choose another --out, and {AGAIN}")
    warnings.warn(f"{told}: it may not fit", stacklevel=2)


def _share_done(task: Task, blocks: Set[int], step: int) -> float:
    """Return about which share of a task is done. blocks: those that are; step: bytes of text of a streamed task's."""
    if not task.streamed or END in blocks:
        return float(bool(blocks))
    return min(len(blocks) * step / max(1, text_bytes(task.parts[0].file)), 1.0)


def told_bytes(size: int) -> str:
    """Return a size in the unit that it is told in."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
