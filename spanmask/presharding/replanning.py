"""The plan of a finished dataset, made again: its manifest and its inputs in, what its run did out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spanmask.corpus.exclusion import with_exclusions
from spanmask.corpus.hashing import input_digest
from spanmask.corpus.inputs import InputFile, find_inputs
from spanmask.errors import ConfigError
from spanmask.escaping import first_of
from spanmask.presharding.locations import recalled_exclusions, recalled_inputs
from spanmask.presharding.planning import Plan, make_plan
from spanmask.shard.input_list import input_names
from spanmask.shard.manifest import MANIFEST, Manifest
from spanmask.shard.verify import Finding


def inputs_of(manifest: Manifest, inputs: Sequence[str | os.PathLike[str]], after: str) -> tuple[InputFile, ...]:
    """Return the files that are given, or those that this user made the dataset from. after: what they are named after on a command line.

    Raises
    ------
    ConfigError
        Where they lie is not known here, or one is missing.
    """
    known = [] if inputs else recalled_inputs(manifest)
    if known is None:
        names = first_of(input_names(manifest.inputs), 3)
        raise ConfigError(f"where its inputs lie is not known here; name them in order after {after}: {names}")
    corpus = manifest.config.corpus
    return find_inputs(inputs or [item["path"] for item in known], corpus.format, corpus.encoding).files


def other_inputs(manifest: Manifest, files: Sequence[InputFile]) -> list[Finding]:
    """Say if files are not called as the inputs of a dataset are."""
    if [Path(file.path).name for file in files] == [Path(item.name).name for item in manifest.inputs]:
        return []
    names = first_of(input_names(manifest.inputs), 3)
    return [Finding(path=MANIFEST, message=f"the inputs given are not its own: {names}; give those, in this order")]


def changed_inputs(
    manifest: Manifest,
    files: Sequence[InputFile],
    read: Sequence[InputFile],
    on_bytes: Callable[[int], object] = lambda _: None,
) -> list[Finding]:
    """Return which inputs of a dataset have another size, or those of them that are read whole another content."""
    chosen = {file.index for file in read}
    return [
        Finding(path=file.path, message="its content is not what the dataset was made from (SHA-256)")
        for file, item in zip(files, manifest.inputs, strict=True)
        if file.size != item.size
        or (file.index in chosen and input_digest(file, item.range_bytes, on_bytes) != item.sha256)
    ]


def plan_again(manifest: Manifest, files: Sequence[InputFile]) -> Plan:
    """Return the plan of a dataset from its inputs; raises as `make_plan` does, and where a list of excluded documents is another."""
    known = None if manifest.unigram is None else np.array(manifest.unigram, np.int64)
    return make_plan(manifest.config, manifest.vocabulary, with_exclusions(files, recalled_exclusions(manifest)), known)
