"""Where a run writes its dataset: the state of what is under way there, and who may write at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from spanmask import remote
from spanmask.errors import ConfigError, MismatchError, SpanmaskError
from spanmask.folders import made_for
from spanmask.places import RemotePlace
from spanmask.presharding.remote_state import RemoteState
from spanmask.presharding.state import RunState, finisher, joined, locked, require_same, require_under_way
from spanmask.shard.manifest import MANIFEST
from spanmask.storage import refuse_url

#: A dataset's folder, absolute, or the prefix of an object store that it goes to.
Out = Path | RemotePlace
State = RunState | RemoteState

#: Why and what else, where a dataset may be read, but is not written.
_INSTEAD = {
    "hf": "each object would be a commit of its own; write to a folder, and upload that (hf upload-large-folder)",
    "memory": "it would be gone with this process; give a folder, or a URL of an object store",
}


def out_of(out: str | os.PathLike[str]) -> Out:
    """Return where a dataset is written, from a path or URL.

    Raises
    ------
    ConfigError
        It is a URL of another kind, or names no bucket, or holds a password.
    """
    if remote.is_url(out):
        url = remote.url_of(out)
        instead = _INSTEAD.get(url.partition(":")[0])
        if instead:
            raise ConfigError(f"{url}: {instead}")
        return RemotePlace(url)
    refuse_url(out, "out")
    return Path(out).absolute()


def state_of(out: Out) -> State:
    """Return the state of what is under way there."""
    return RunState(out) if isinstance(out, Path) else RemoteState(out)


def mark_of(out: str | os.PathLike[str]) -> object:
    """Return what is another once a dataset was written there, None where there is none."""
    place = out_of(out)
    if isinstance(place, Path):
        path = place / MANIFEST
        return path.stat().st_mtime_ns if path.exists() else None
    return remote.find(f"{place.url}/{MANIFEST}")


@contextmanager
def written(out: Out, begun: str = "", *, patience: float = 0) -> Iterator[None]:
    """Write a dataset: in a folder as the only process, to an object store beside whoever has the same plan.

    begun: what the plan says if this call begins it (`RemoteState.abandon`). patience: seconds to wait for another process.

    Raises
    ------
    MismatchError
        Another process is writing the folder.
    """
    if isinstance(out, Path):
        with made_for(out, out), locked(out, patience=patience):
            yield
        return
    try:
        yield
    except MismatchError:
        raise  # What stands there is another's.
    except SpanmaskError:
        with suppress(SpanmaskError):
            RemoteState(out).abandon(begun)
        raise


def abandon(out: Out, begun: str) -> None:
    """Remove what a call left that failed before anything was done, as `written` does, where that is over."""
    with suppress(SpanmaskError), written(out):
        if isinstance(out, Path):
            RunState(out).abandon()
        else:
            RemoteState(out).abandon(begun)


def shared(out: Out, plan: str) -> AbstractContextManager[State]:
    """Be one of several processes that run units of a plan, by its key, and yield the state of its run.

    Raises
    ------
    MismatchError
        A process that writes it alone is at work, or no run of the plan is under way.
    """
    return joined(out, plan) if isinstance(out, Path) else _shared(out, plan)


def finishing(out: Out) -> AbstractContextManager[State]:
    """Be the one of several processes that finishes their work, in a folder, and yield its state; in a store many may do the same.

    Raises
    ------
    MismatchError
        A process that writes it alone is at work.
    """
    return finisher(out) if isinstance(out, Path) else nullcontext(RemoteState(out))


@contextmanager
def _shared(out: RemotePlace, plan: str) -> Iterator[State]:
    state = RemoteState(out)
    require_under_way(state)
    require_same(state, plan)
    yield state
