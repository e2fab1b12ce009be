"""A plan as a file: all that workers, and whoever finishes their work, need to know; the inputs need not be listed again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.collector import held_off
from spanmask.config import ALGORITHM_VERSION, FORMAT_VERSION, Format, PreshardConfig, fingerprint
from spanmask.corpus.exclusion import read_exclusions
from spanmask.corpus.inputs import Exclusion, InputFile, Part
from spanmask.errors import ConfigError, MismatchError, ShardError
from spanmask.presharding.planning import Plan, Task
from spanmask.shard.manifest import build_vocabulary, describe_vocabulary
from spanmask.shard.stated import is_count, require
from spanmask.tokenization.tokenizer import tokenized_by
from spanmask.urls import AFRESH
from spanmask.vocab import Vocabulary

#: What a plan says of each file; its number is its place in the list, and all files have the same kept fields and exclusions.
_STATED = tuple(
    field.name for field in fields(InputFile) if field.compare and field.name not in ("index", "kept", "exclusions")
)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as its file holds it: JSON without a credential, and of the lists of excluded documents only where they are."""
    first = next(iter(plan.files), None)
    kept = None if first is None or first.kept is None else [[field.name, str(field.type)] for field in first.kept]
    return {
        "versions": _versions(plan.vocabulary),
        "config": plan.config.differing(),
        "vocabulary": describe_vocabulary(plan.vocabulary),
        "exclusions": [] if first is None else [one.path for one in first.exclusions],
        "kept": kept,
        "files": stated_files(plan.files),
        "tasks": [
            [task.disk_bytes, task.streamed, [[part.file.index, part.start, part.stop] for part in task.parts]]
            for task in plan.tasks
        ],
        "unigram": None if plan.unigram is None else plan.unigram.tolist(),
    }


def stated_files(files: Sequence[InputFile]) -> list[dict[str, Any]]:
    """Return what a plan says of its inputs, in order."""
    return [{name: getattr(file, name) for name in _STATED} for file in files]


def identity(config: PreshardConfig, vocabulary: Vocabulary, files: Sequence[InputFile]) -> dict[str, Any]:
    """Return what two runs must share for one to go on with the other's work."""
    return {
        "versions": _versions(vocabulary),
        "config": config.differing(),
        "vocabulary": vocabulary.sha256,
        "inputs": [_told(file.path, file.size, file.mtime_ns, file.pin) for file in files],
    }


def saved_identity(content: dict[str, Any]) -> dict[str, Any]:
    """Return the `identity` of what `plan_to_json` wrote; what is empty says that the content is damaged, or another release's."""
    try:
        inputs = [_told(file["path"], file["size"], file["mtime_ns"], file["pin"]) for file in content["files"]]
        return {
            "versions": content["versions"],
            "config": content["config"],
            "vocabulary": content["vocabulary"]["sha256"],
            "inputs": inputs,
        }
    except (LookupError, TypeError, AttributeError):
        return {}


def key_of(identity: dict[str, Any]) -> str:
    """Return the key of a plan; see `Plan`."""
    return fingerprint(identity)[:16]


def _told(path: str, size: int, mtime_ns: int, pin: str | None) -> dict[str, Any]:
    # By base names: the same files may be given as a folder or one by one.
    return {"name": os.path.basename(path), "size": size} | ({"mtime_ns": mtime_ns} if pin is None else {"pin": pin})


def _versions(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "algorithm": ALGORITHM_VERSION,
        "format": FORMAT_VERSION,
        "tokenized_by": tokenized_by(vocabulary),
        # Of equal rows another one may make other bytes.
        "pyarrow": pa.__version__,
    }


def require_writer(content: dict[str, Any], out: str) -> None:
    """Refuse to go on with the run of a plan under another pyarrow than it was planned with.

    Raises
    ------
    MismatchError
        It is another.
    """
    versions = content.get("versions")
    writer = versions.get("pyarrow") if isinstance(versions, dict) else None
    if writer not in (None, pa.__version__):
        raise another_writer(out, writer)


def another_writer(out: str, writer: str) -> MismatchError:
    """Return the refusal of whoever has another pyarrow than a run began with."""
    return MismatchError(
        f"{out}: a run under pyarrow {writer} is under way there, and here is {pa.__version__}, which writes other bytes: use the same on "
        "all machines"
    )


@held_off()
def plan_from_json(content: dict[str, Any], out: str, exclusions: Sequence[Exclusion] = ()) -> Plan:
    """Build what `plan_to_json` and JSON made of a plan. out: of its dataset. exclusions: of `listed_exclusions`, to run units.

    Raises
    ------
    MismatchError
        It is damaged, or other releases of spanmask or of a library made it.
    """
    try:
        vocabulary = build_vocabulary(content["vocabulary"])
        files = _files(content, tuple(exclusions))
        tasks = tuple(_task(number, item, files) for number, item in enumerate(content["tasks"]))
        config = PreshardConfig.from_json(content["config"])
        unigram = _unigram(content["unigram"], vocabulary)
        made_by = content["versions"]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, ConfigError, ShardError) as error:
        raise _damaged(out, error) from None
    if made_by != _versions(vocabulary):
        raise MismatchError(
            f"{out}: planned with {made_by}, and here are {_versions(vocabulary)}; use the same spanmask and libraries on all machines"
        )
    key = key_of(saved_identity(content))
    return Plan(config=config, vocabulary=vocabulary, files=files, tasks=tasks, unigram=unigram, out=out, key=key)


def stated_exclusions(content: dict[str, Any], out: str) -> tuple[Exclusion, ...]:
    """Return the lists of documents that a plan leaves out, without what they hold.

    Raises
    ------
    MismatchError
        The plan is damaged.
    """
    try:
        stated = PreshardConfig.from_json(content["config"]).corpus.exclude
        return tuple(
            Exclusion(field=one.partition("=")[0], path=os.fspath(path), stated=one, values=frozenset())
            for one, path in zip(stated, content["exclusions"], strict=True)
        )
    except (LookupError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise _damaged(out, error) from None


def listed_exclusions(content: dict[str, Any], out: str) -> tuple[Exclusion, ...]:
    """Read the lists of documents that a plan leaves out.

    Raises
    ------
    ConfigError
        One is not there.
    MismatchError
        One is not what it was, or the plan is damaged.
    """
    lists = stated_exclusions(content, out)
    if not lists:
        return ()
    corpus = PreshardConfig.from_json(content["config"]).corpus
    found = read_exclusions(replace(corpus, exclude=tuple(f"{one.field}={one.path}" for one in lists)))
    for one, wanted in zip(found, lists, strict=True):
        if one.stated.rpartition("#")[2] != wanted.stated.rpartition("#")[2]:
            raise MismatchError(f"{one.path}: not the list that the run was planned with ({wanted.stated}); restore it")
    return tuple(replace(one, stated=wanted.stated) for one, wanted in zip(found, lists, strict=True))


def _damaged(out: str, error: Exception) -> MismatchError:
    return MismatchError(f"{out}: the plan of its run is damaged ({error}); begin again {AFRESH}")


def _files(content: dict[str, Any], exclusions: tuple[Exclusion, ...]) -> tuple[InputFile, ...]:
    kept = content["kept"] and pa.schema([(str(name), pa.type_for_alias(kind)) for name, kind in content["kept"]])
    files = tuple(
        InputFile(index=index, kept=kept, exclusions=exclusions, **{**item, "format": Format(item["format"])})
        for index, item in enumerate(content["files"])
    )
    for file in files:
        require(type(file.path) is str and type(file.name) is str and is_count(file.size), "no file")
    return files


def _task(number: int, item: list[Any], files: Sequence[InputFile]) -> Task:
    disk_bytes, streamed, listed = item
    require(is_count(disk_bytes) and type(streamed) is bool and bool(listed), "no task")
    require(all(map(is_count, [value for part in listed for value in part])), "no part")
    parts = tuple(Part(file=files[index], start=start, stop=stop) for index, start, stop in listed)
    require(not streamed or (len(parts) == 1 and parts[0].file.is_line_stream), "no stream")
    return Task(number=number, parts=parts, streamed=streamed, disk_bytes=disk_bytes)


def _unigram(counts: Any, vocabulary: Vocabulary) -> npt.NDArray[np.int64] | None:
    if counts is None:
        return None
    require(len(counts) == len(vocabulary) and all(map(is_count, counts)), "no counts of ids")
    return np.array(counts, np.int64)
