"""A Dask cluster to run units on: the user's, by its scheduler's address, or one of processes of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from spanmask._lazy import told_by_extra
from spanmask.engines.dask_worker import PACKAGES, own_versions, versions_of
from spanmask.errors import ConfigError, MismatchError

#: Seconds that a scheduler is given to answer.
ANSWER = 30.0
#: What Dask sets in the environment of workers, and what it says of memory there unless its owner says else: that each block's is given
#: back to the system at once. It is taken anew for the next one, page by page, in a quarter of a unit's time.
_ENVIRONMENT, _TRIMMED = "distributed.nanny.pre-spawn-environ", ("MALLOC_TRIM_THRESHOLD_", 65536)
#: Seconds that closing may take: who was killed, or stands still, does not answer.
_CLOSING = 5.0


@contextmanager
def connected(scheduler: str | None, jobs: int) -> Iterator[Any]:
    """Yield a `distributed.Client`, and close what was opened for it.

    Parameters
    ----------
    scheduler
        Address (``tcp://…``, ``tls://…``) or the file that a scheduler wrote; None: a cluster of this machine is started.
    jobs
        Processes of that cluster.

    Raises
    ------
    ConfigError
        The ``dask`` extra is missing, or no scheduler answers.
    MismatchError
        A worker has other versions of what decides bytes.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise told_by_extra("the Dask engine", error) from None
    with _quietly(), ExitStack() as stack:
        client = _client(Client, scheduler) if scheduler else Client(stack.enter_context(_closing(_local(jobs))))
        stack.enter_context(_closing(client))
        _check_versions(client)
        yield client


@contextmanager
def _closing(opened: Any) -> Iterator[Any]:
    try:
        yield opened
    finally:
        opened.close(timeout=_CLOSING)


def _local(jobs: int) -> Any:
    """Start a cluster of processes of this machine, which none but this machine reaches."""
    import dask
    from distributed import LocalCluster

    given = dask.config.get(_ENVIRONMENT)
    with dask.config.set({_ENVIRONMENT: {name: given[name] for name in given if (name, given[name]) != _TRIMMED}}):
        return LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            # Else a port that two runs would want.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            # None, as workers of the local engine have none: the system ends what takes too much.
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Dask's log lines off the terminal: what matters of them is told as warnings and errors."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    before = {logger: logger.level for logger in map(logging.getLogger, names) if logger.level}
    try:
        for logger in before:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def _client(kind: Any, scheduler: str) -> Any:
    given = {"address": scheduler} if "://" in scheduler else {"scheduler_file": scheduler}
    # Dask waits for ever for a file that is not there.
    if "scheduler_file" in given and not Path(scheduler).is_file():
        raise ConfigError(
            f"scheduler is {scheduler}: neither an address (tcp://HOST:PORT) nor a file that is there; start one with "
            f"dask scheduler --scheduler-file {scheduler}",
            options=("scheduler",),
        )
    try:
        return kind(**given, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"scheduler is {scheduler}: no Dask scheduler answers there ({error}); check the address, and that it runs",
            options=("scheduler",),
        ) from None


def _check_versions(client: Any) -> None:
    told = client.get_versions(packages=list(PACKAGES))["workers"]
    for address, found in sorted(told.items()):
        differing = difference(versions_of(found["packages"]))
        if differing:
            raise MismatchError(
                f"worker {address} has {differing}; the bytes would be others: install the same on both"
            )


def difference(found: dict[str, str | None]) -> str | None:
    """Return how a worker's versions differ from those here; None where they do not."""
    return next(
        (
            f"{name} {found.get(name) or '(none)'}, and {version} is here"
            for name, version in own_versions().items()
            if found.get(name) != version
        ),
        None,
    )
