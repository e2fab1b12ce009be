"""Where GLUE's files lie: a folder with ``CoLA/``, ``MNLI/`` and so on, as the official download has them, or one such folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from spanmask.errors import ConfigError
from spanmask.probes.scores.glue import TASKS

#: What a model that was trained on MNLI is asked besides, and its file in a submission.
_DIAGNOSTIC, _AX = Path("diagnostic", "diagnostic.tsv"), "AX.tsv"


@dataclass(frozen=True, slots=True, kw_only=True)
class GlueFiles:
    """The files of a task.

    evaluations: with labels, by name, such as ``dev``. tests: without labels, by name, such as ``test``. submitted: of each of these the
    file of its predictions, such as ``CoLA.tsv``.
    """

    train: Path
    evaluations: dict[str, Path]
    tests: dict[str, Path]
    submitted: dict[str, str]


def find_files(data: str | PathLike[str], task: str) -> GlueFiles:
    """Return the files of a task; those without labels may be missing.

    Parameters
    ----------
    data
        A folder of GLUE, or of the task.
    task
        One of `spanmask.probes.scores.glue.TASKS`.

    Raises
    ------
    ConfigError
        There is no such task or folder, or files with labels are missing.
    """
    if task not in TASKS:
        raise ConfigError(f"no task {task!r} of GLUE, expected one of {', '.join(TASKS)}")
    told = TASKS[task]
    folder = _folder(Path(data), task)
    lacking = _lacks(folder, task)
    if lacking:
        raise ConfigError(f"{data}: {lacking}; give the folder that has {told.folder}/ with the official files")
    tests = {f"test{part}": folder / f"test{part}.tsv" for part in told.parts}
    submitted = {f"test{part}": f"{told.folder}{end}.tsv" for part, end in told.parts.items()}
    if task == "mnli":
        tests[_DIAGNOSTIC.stem], submitted[_DIAGNOSTIC.stem] = folder.parent / _DIAGNOSTIC, _AX
    there = {name: path for name, path in tests.items() if path.is_file()}
    return GlueFiles(
        train=folder / "train.tsv",
        evaluations={f"dev{part}": folder / f"dev{part}.tsv" for part in told.parts},
        tests=there,
        submitted={name: submitted[name] for name in there},
    )


def lacking_in(data: str | PathLike[str]) -> dict[str, str]:
    """Return what a folder of GLUE lacks, by task, in words: ``no QNLI/train.tsv``; nothing of tasks that are there.

    Raises
    ------
    ConfigError
        No task is there.
    """
    lacking = {task: _lacks(Path(data) / TASKS[task].folder, task) for task in TASKS}
    if all(lacking.values()):
        folders = ", ".join(f"{told.folder}/" for told in TASKS.values())
        raise ConfigError(
            f"{data}: none of {folders} there with train.tsv and dev.tsv; give the folder of GLUE that has them"
        )
    return {task: words for task, words in lacking.items() if words}


def _lacks(folder: Path, task: str) -> str:
    told = TASKS[task]
    wanted = ["train.tsv", *(f"dev{part}.tsv" for part in told.parts)]
    missing = [f"{told.folder}/{name}" for name in wanted if not (folder / name).is_file()]
    return f"no {', '.join(missing)}" if missing else ""


def _folder(data: Path, task: str) -> Path:
    """Return a task's folder: in that of GLUE, or what is given itself."""
    own = data / TASKS[task].folder
    return data if not own.is_dir() and (data / "train.tsv").is_file() else own
