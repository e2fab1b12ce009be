"""Which files a corpus is made of, standard input among them: paths as they were given flow in, `InputFile` flows out."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from spanmask.config import CorpusConfig, Format
from spanmask.corpus.inputs import InputFile, Inputs, find_inputs
from spanmask.errors import ConfigError
from spanmask.places import RemotePlace
from spanmask.presharding.state import FOLDER, STDIN_FOLDER
from spanmask.storage import digest, make_folder, publish

STDIN = "-"
#: Bytes of standard input in which an object of JSON lines is looked for, and how one begins: with a name, or with nothing.
_HEAD_BYTES = 1 << 16
_JSON_OBJECT = re.compile(rb"""\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\})""")

#: Told which files will be read, and what in folders will not.
OnInputs = Callable[[Inputs], None]

#: One path or several.
Paths = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]


def each_of(paths: Paths) -> list[str | os.PathLike[str]]:
    """Return the paths as a list, of a single one too."""
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)


def find_files(
    paths: Sequence[str | os.PathLike[str]], folder: Path | RemotePlace, config: CorpusConfig, on_inputs: OnInputs
) -> tuple[InputFile, ...]:
    """Return the files that paths stand for; ``-`` is standard input, which is saved in a folder.

    Raises
    ------
    ConfigError
        A path cannot be used, or an input lies in the folder.
    StorageError
        The file system refused.
    """
    if STDIN in paths:
        if isinstance(folder, RemotePlace):
            raise ConfigError(
                f"{STDIN}: standard input is kept in the folder of --out until all is done; save it as a file, and give that"
            )
        paths = [_saved(folder, config.format) if path == STDIN else path for path in paths]
    inputs = find_inputs(paths, config.format, config.encoding)
    for file in inputs.files:
        path = Path(file.path)
        if path.is_relative_to(folder) and not path.is_relative_to(Path(folder, FOLDER, STDIN_FOLDER)):
            raise ConfigError(f"{file.path}: an input lies in --out {folder}; choose another --out")
    on_inputs(inputs)
    return inputs.files


def _saved(folder: Path, format: Format) -> Path:  # noqa: A002
    """Save standard input, so that it can be read in parts and again."""
    suffix = ".txt" if format in (Format.AUTO, Format.TEXT) else f".{format}"
    head = sys.stdin.buffer.read(_HEAD_BYTES)
    if format is Format.AUTO and _JSON_OBJECT.match(head):
        raise ConfigError(
            f"{STDIN}: standard input begins with a JSON object, and has no name to tell JSON lines from text: give --format jsonl, or text"
        )
    path = folder / FOLDER / STDIN_FOLDER / f"stdin{suffix}"
    make_folder(path.parent)

    def save(file: IO[bytes]) -> None:
        file.write(head)
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)

    publish(path, save)
    # A time that its content decides: another text on standard input is then another input, the same text the same.
    nanoseconds = int(digest(str(path))[:15], 16)
    os.utime(path, ns=(nanoseconds, nanoseconds))
    return path
