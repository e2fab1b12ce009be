"""Read GLUE's official TSVs: a file of a task flows in, its `LabelledTexts` flow out.

Rows are cut at tabs and line feeds alone: a quotation mark is a character like others, and nothing is escaped. Files begin with a header,
but for CoLA's with labels; a byte order mark, as MRPC's have, is not part of it. A text may be empty: QQP has such questions.
"""

from __future__ import annotations

from os import PathLike, fspath

from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.probes.faults import FaultError
from spanmask.probes.glue.files import GlueFiles
from spanmask.probes.labelled import Collected, Fault, LabelledTexts
from spanmask.probes.opening import text_of
from spanmask.probes.scores.glue import GlueTask, fits
from spanmask.probes.scores.reading import lines_of


def read_glue(
    path: str | PathLike[str], task: GlueTask, *, labelled: bool = True, on_error: OnError = OnError.FAIL
) -> LabelledTexts:
    """Read a file of a task.

    Parameters
    ----------
    path
        One of the official TSVs.
    task
        What its columns are called. Rows are named by the column ``index``, or else numbered from 0, as `spanmask score` names them.
    labelled
        Whether the file has labels; else those that it has are not looked at.
    on_error
        Whether the first row that is not usable (see `Fault`) ends reading, or all such are left out and counted.

    Raises
    ------
    ConfigError
        There is no such file, it has other columns, or no row is left of it.
    CorpusError
        It is not UTF-8, or a row has more or fewer columns than it should, or a label that is none of the task's.
    StorageError
        It cannot be read.
    """
    name = fspath(path)
    lines = lines_of(text_of(name))
    names = list(task.header if labelled else ()) or (lines.pop(0).split("\t") if lines else [])
    wanted = (*task.texts, task.column) if labelled else task.texts
    if not set(wanted) <= set(names):
        expected = ", ".join(map(repr, wanted))
        raise ConfigError(
            f"{name}: the first line is {names!s:.80}, expected tab-separated columns, {expected} among them"
        )
    row_of = _Layout(names, task, labelled=labelled)
    collected = Collected(name, on_error, labelled=labelled)
    before = 1 if labelled and task.header else 2
    for number, line in enumerate(lines):
        with collected.refusing(number + before):
            collected.add(*row_of(line.split("\t"), number))
    return collected.labelled_texts()


def read_files(files: GlueFiles, task: GlueTask, on_error: OnError = OnError.FAIL) -> dict[str, LabelledTexts]:
    """Read all files of a task: ``train``, and the others by their names; errors are those of `read_glue`."""
    labelled = {"train": files.train, **files.evaluations}
    told = {name: read_glue(path, task, on_error=on_error) for name, path in labelled.items()}
    asked = {name: read_glue(path, task, labelled=False, on_error=on_error) for name, path in files.tests.items()}
    return told | asked


class _Layout:
    """Where the columns of a task are in a file; called with a row and its number, it returns index, texts and label."""

    def __init__(self, names: list[str], task: GlueTask, *, labelled: bool) -> None:
        self._width, self._labels = len(names), task.labels
        self._texts = [names.index(text) for text in task.texts]
        self._label = names.index(task.column) if labelled else None
        self._index = names.index("index") if "index" in names else None

    def __call__(self, row: list[str], number: int) -> tuple[str, tuple[str, ...], str | None]:
        if len(row) != self._width:
            raise FaultError(Fault.COLUMNS, f"{len(row)} columns, expected {self._width}")
        name = str(number) if self._index is None else row[self._index]
        label = None if self._label is None else row[self._label]
        if label is not None and not fits(label, self._labels):
            expected = " or ".join(self._labels) or "a number"
            raise FaultError(Fault.LABEL, f"the label is {label[:40]!r}, expected {expected}")
        return name, tuple(row[place] for place in self._texts), label
