"""What is asked of a run: inputs, place and configuration; what stands there already is held against it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from uuid import uuid4

from spanmask.config import PreshardConfig
from spanmask.corpus.exclusion import read_exclusions, with_exclusions
from spanmask.corpus.inputs import Exclusion, InputFile, Inputs
from spanmask.errors import MismatchError
from spanmask.presharding.destinations import Out, out_of, state_of
from spanmask.presharding.existing import check_out, differences, finished_dataset, refusal
from spanmask.presharding.finding import STDIN, OnInputs, Paths, each_of, find_files
from spanmask.presharding.plan_file import (
    identity,
    key_of,
    plan_from_json,
    plan_to_json,
    require_writer,
    saved_identity,
    stated_files,
)
from spanmask.presharding.planning import Plan, make_plan
from spanmask.presharding.remote_state import BEGUN
from spanmask.presharding.space import check_space
from spanmask.shard.manifest import Manifest
from spanmask.vocab import load_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a run is to do.

    config: as it is stored, which has the digests of the lists of excluded documents. begun: of this request alone; a plan in an object
    store says by it which one began it.
    """

    out: Out
    paths: tuple[str | os.PathLike[str], ...]
    config: PreshardConfig
    exclusions: tuple[Exclusion, ...]
    overwrite: bool
    rehash: bool
    on_inputs: OnInputs
    begun: str = field(default_factory=lambda: uuid4().hex)

    @classmethod
    def of(
        cls,
        inputs: Paths,
        out: str | os.PathLike[str],
        config: PreshardConfig,
        *,
        overwrite: bool = False,
        rehash: bool = False,
        on_inputs: OnInputs | None = None,
    ) -> Self:
        """Return the request of a call as `preshard` takes it; raises ConfigError where its place or lists cannot be used."""
        place = out_of(out)
        check_out(place)
        config, exclusions = with_lists(config)
        return cls(
            out=place,
            paths=tuple(each_of(inputs)),
            config=config,
            exclusions=exclusions,
            overwrite=overwrite,
            rehash=rehash,
            on_inputs=on_inputs or _ignore,
        )

    @property
    def has_stdin(self) -> bool:
        """Whether standard input is one of the inputs."""
        return STDIN in self.paths

    def look(self) -> tuple[tuple[InputFile, ...], Manifest | None]:
        """Return the inputs, and the dataset asked for where it stands there finished; raises as `preshard` does."""
        files = find_files(self.paths, self.out, self.config.corpus, self.on_inputs)
        finished = finished_dataset(self.out, self.config, files, overwrite=self.overwrite, rehash=self.rehash)
        return with_exclusions(files, self.exclusions), finished

    def saved(self, files: tuple[InputFile, ...]) -> Plan | None:
        """Return the plan of a run that was begun there with the same inputs and configuration, if one was.

        Raises
        ------
        MismatchError
            It was, and has work that another pyarrow did.
        """
        state = state_of(self.out)
        content = state.saved_plan()
        wanted = identity(self.config, load_vocabulary(self.config.vocabulary), files)
        if content is None or saved_identity(content) != wanted:
            if content is not None and not state.may_discard(overwrite=self.overwrite):
                require_writer(content, str(self.out))
            return None
        # They may lie elsewhere on this machine than where the plan was made.
        return plan_from_json({**content, "files": stated_files(files)}, os.fspath(self.out), self.exclusions)

    def begin(self, files: tuple[InputFile, ...]) -> Plan:
        """Make the plan of a run, and save it where no other run would lose its work by that; raises as `preshard` does."""
        plan = make_plan(self.config, load_vocabulary(self.config.vocabulary), files)
        wanted = identity(plan.config, plan.vocabulary, plan.files)
        plan = replace(plan, out=os.fspath(self.out), key=key_of(wanted))
        state, content = state_of(self.out), plan_to_json(plan)
        saved = state.saved_plan()
        if saved is None or saved_identity(saved) != wanted:
            if saved is not None and not state.may_discard(overwrite=self.overwrite):
                require_writer(saved, str(self.out))
                raise MismatchError(refusal(self.out, "an unfinished run", differences(saved_identity(saved), wanted)))
            # In an object store without a plan nothing is ours, and what comes there meanwhile is another's.
            if isinstance(self.out, Path):
                state.discard()
        if isinstance(self.out, Path):
            check_space(self.out, plan, state.units())
        else:
            content[BEGUN] = self.begun
        state.start(content)
        return plan


def _ignore(_: Inputs) -> None:
    return None


def with_lists(config: PreshardConfig) -> tuple[PreshardConfig, tuple[Exclusion, ...]]:
    """Read the lists of documents to exclude; return the configuration as it is stored, which has their digests, and the lists."""
    lists = read_exclusions(config.corpus)
    return replace(config, corpus=replace(config.corpus, exclude=tuple(one.stated for one in lists))), lists
