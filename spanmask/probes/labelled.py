"""Texts, or pairs of texts, with their labels: what files of GLUE and of users come to, whatever their layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum

from spanmask.config import OnError
from spanmask.probes.faults import FaultError, Faults
from spanmask.probes.selection import lowest, parted, selected
from spanmask.records import Offsets


class Fault(StrEnum):
    """What is wrong with a row that is left out."""

    COLUMNS = "columns"
    JSON = "malformed_json"
    FIELD = "field"
    EMPTY_TEXT = "empty_text"
    LABEL = "label"
    UNKNOWN_LABEL = "label_not_in_training"
    INDEX_TWICE = "index_twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTexts:
    """N texts, or pairs of them, in the order of their file.

    texts: N times one text or two. labels: N, as the file has them; None where nothing is said of them. names: N, what predictions are
    listed by. left_out: how many rows were left out, by fault.
    """

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...] | None
    names: tuple[str, ...]
    left_out: dict[Fault, int]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def keys(self) -> list[bytes]:
        """What tells each from others wherever it stands: its texts."""
        return ["\t".join(row).encode() for row in self.texts]

    @property
    def firsts(self) -> list[bytes]:
        """What those have in common that should not be parted: the first text, such as a premise that many hypotheses follow."""
        return [row[0].encode() for row in self.texts]

    def take(self, which: Offsets) -> LabelledTexts:
        """Return some texts, (n,) by their numbers, in that order; nothing is left out of these."""
        chosen = which.tolist()
        return LabelledTexts(
            texts=tuple(self.texts[number] for number in chosen),
            labels=None if self.labels is None else tuple(self.labels[number] for number in chosen),
            names=tuple(self.names[number] for number in chosen),
            left_out={},
        )


def joined(parts: Sequence[LabelledTexts]) -> LabelledTexts:
    """Return the labelled texts of several files, one or more, as one; names get the file's number in front."""
    return LabelledTexts(
        texts=tuple(row for part in parts for row in part.texts),
        labels=tuple(label for part in parts for label in part.labels or ()),
        names=tuple(f"{number}:{name}" for number, part in enumerate(parts) for name in part.names),
        left_out=dict(sum((Counter(part.left_out) for part in parts), Counter[Fault]())),
    )


def divided(whole: LabelledTexts, share: float, most: int | None) -> tuple[LabelledTexts, LabelledTexts]:
    """Return what is trained on, and what chooses: by a hash of each row's first text, so that all rows with it stay together.

    Parameters
    ----------
    whole
        All rows with labels.
    share
        About how large a part chooses.
    most
        Rows that both are made of, those of the lowest hashes of all their texts; None: all.

    Raises
    ------
    ConfigError
        No row is left to train on or to choose by.
    """
    if most is not None:
        whole = whole.take(lowest(whole.keys, most))
    chosen = selected(whole.firsts, share)
    trained, choosing = parted(chosen, "rows", "rows", ", those with the same first text together")
    return whole.take(trained), whole.take(choosing)


class Collected:
    """What was read of a file so far; rows that are not usable end reading, or are counted."""

    def __init__(self, path: str, on_error: OnError, *, labelled: bool) -> None:
        self._faults, self._labelled = Faults(path, on_error, "row"), labelled
        self._texts: list[tuple[str, ...]] = []
        self._labels: list[str] = []
        self._names: dict[str, None] = {}

    def add(self, name: str, texts: tuple[str, ...], label: str | None) -> None:
        """Add a row."""
        if name in self._names:
            raise FaultError(Fault.INDEX_TWICE, f"index {name[:40]!r} stands twice, expected another in each row")
        self._names[name] = None
        self._texts.append(texts)
        if label is not None:
            self._labels.append(label)

    def refusing(self, line: int) -> AbstractContextManager[None]:
        """Take a row's fault for an error of the file, or count it."""
        return self._faults.refusing(line)

    def labelled_texts(self) -> LabelledTexts:
        """Return what was read.

        Raises
        ------
        ConfigError
            No row is left.
        """
        self._faults.require(self._texts)
        return LabelledTexts(
            texts=tuple(self._texts),
            labels=tuple(self._labels) if self._labelled else None,
            names=tuple(self._names),
            left_out=dict(self._faults.left_out),
        )
