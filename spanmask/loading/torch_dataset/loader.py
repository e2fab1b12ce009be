"""`ShardLoader`: batches of tensors with a state to resume from."""

from __future__ import annotations

import inspect
import resource
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from spanmask.errors import ConfigError, ShardError, SpanmaskError, StorageError
from spanmask.loading.config import LoadConfig
from spanmask.loading.position import Position, read_state
from spanmask.loading.prefetching import Ahead
from spanmask.loading.stream import Stream
from spanmask.loading.torch_dataset.sharing import Iterations
from spanmask.loading.torch_dataset.tensors import Datasets, Tensors, Transfer, open_datasets, share_of, to_tensors
from spanmask.options import require_known
from spanmask.processes import PATIENCE, ending_still, is_stopped
from spanmask.shard.reader import ShardSet

#: Shards that an error names, besides the first.
_TOLD_SHARDS = 5


class ShardLoader(IterableDataset[Tensors]):
    """Batches of tensors, in an order that is known beforehand.

    A batch has the arrays of `spanmask.batches.PaddedBatch` or `PackedBatch` by their names and in their shapes, those of SBO targets as
    ``sbo_left``, ``sbo_right``, ``sbo_offsets`` and ``sbo_labels``.

    One iteration yields the batches of an epoch, from where the loader stands to the epoch's end; the next goes on with the next epoch.
    `state_dict` tells where it stands, counting the batches that were handed out and no others; loaded into a loader of any batch size,
    world size or number of workers, the stream of samples goes on there.

    It may also be given to `torch.utils.data.DataLoader` or torchdata's `StatefulDataLoader`, with ``batch_size=None``. With workers of
    theirs, persistent or not, each iteration is the next epoch, also after one that was broken off, unless `set_epoch` or
    `load_state_dict` said otherwise; only `StatefulDataLoader` knows which batches were handed out, so `state_dict` here is then an error.

    No batch is without a target, for the mean over none is no number: where no row of it has a masked token, as on a rank that the epoch's
    last rows did not reach, its first token is one, as its own label. The model sees that token, so next to nothing is learnt from it.
    Another rank's row in its stead would count twice, and a row without spans would still be without.

    It can be pickled, and goes on where it was, with counters and caches anew.

    Parameters
    ----------
    datasets
        A folder that ``spanmask preshard`` wrote, an open `ShardSet`, or several.
    batch_size
        Rows, or bins, of a batch, on each rank.
    split
        Of folders: ``train`` or ``validation``.
    verify
        Of folders: when checksums are compared; see `spanmask.open`.
    mmap
        Of folders: whether shards are mapped, or read into the memory of each process; see `spanmask.open`.
    rank, world
        Which part of each global batch is meant. By default, torch's process group says; without one, all of it.
    workers
        Processes that make batches; 0: this one.
    prefetch
        Batches that a thread makes ahead; by default 2 where batches go to a CUDA device, else 0.
    device
        Where batches go: through pinned memory, on a stream of their own, when it is a CUDA device.
    details
        Whether padded batches tell weights, rows and datasets.
    options
        As of `LoadConfig`: layout, seed, order, masks, last and so on.

    Raises
    ------
    ConfigError, MismatchError
        Options do not fit, or datasets do not go together.
    """

    def __init__(  # noqa: PLR0913 - the one door
        self,
        datasets: Datasets,
        *,
        batch_size: int,
        split: str = "train",
        verify: str = "first",
        mmap: bool = True,
        rank: int | None = None,
        world: int | None = None,
        workers: int = 0,
        prefetch: int | None = None,
        device: torch.device | str | None = None,
        details: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if workers < 0:
            raise ConfigError(f"workers is {workers}: give 0 or more")
        require_known(options, [*LoadConfig.option_names(), *inspect.signature(ShardLoader).parameters])
        self.config = LoadConfig.of(batch_size=batch_size, **options)
        self._datasets = open_datasets(datasets, split, verify, mmap=mmap)
        self._share = share_of(rank, world)
        self._workers = workers
        target = None if device is None else torch.device(device)
        self._transfer = Transfer(target)
        on_cuda = target is not None and target.type == "cuda"
        self._prefetch = (2 if on_cuda else 0) if prefetch is None else prefetch
        self._details = details
        self.stream = Stream(self._datasets, self.config, self._share)
        self._position, self._ahead = Position(), 0
        self._iterations = Iterations()
        self._loaded = False

    @property
    def epoch(self) -> int:
        """The epoch under way, or the next one to begin."""
        return self._place().epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; workers of a DataLoader begin their next iteration there."""
        self._go_to(Position(epoch=epoch), 0)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands: after the last batch that was handed out.

        Raises
        ------
        ConfigError
            Workers of a DataLoader made batches, and only that knows which were handed out.
        """
        if get_worker_info() is None and self._iterations.following() is not None:
            raise ConfigError(
                "worker processes of a DataLoader made the batches, and only it knows which it handed out: save the state of torchdata's "
                "StatefulDataLoader, or take ShardLoader(workers=…) without a DataLoader around it"
            )
        return self._position.to_state(self.config.layout, self.stream.settings, self._ahead)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where a state says; takes no longer for a larger dataset.

        Raises
        ------
        ConfigError
            It is no loader's state.
        MismatchError
            It belongs to another stream of samples.
        """
        settings, samples = self.stream.settings, self.stream.samples
        self._go_to(*read_state(state, self.config.layout, settings, samples=samples))

    def __len__(self) -> int:
        """Return how many batches are left of the epoch; `TypeError` where they are packed; see `steps_per_epoch`."""
        left = self.stream.batches_left(self._place())
        if left is None:
            raise TypeError(
                "the number of packed batches is known only once they are packed: steps_per_epoch() packs their lengths"
            )
        return left

    def steps_per_epoch(self) -> int:
        """Return how many batches the whole epoch under way has, on each rank; packing differs a little from one to the next.

        Where they are packed, this reads the lengths of all rows.
        """
        return self.stream.batches_in(self._place().epoch)

    def __iter__(self) -> Iterator[Tensors]:
        info = get_worker_info()
        # Workers join at once: a generator would do so at the first batch, and some workers never make one.
        return self._handed_out() if info is None else self._join(info.id, info.num_workers, info.seed - info.id)

    def _go_to(self, position: Position, ahead: int) -> None:
        self._position, self._ahead = position, ahead
        self._loaded = get_worker_info() is not None
        if not self._loaded:
            self._iterations.tell(position)

    def _place(self) -> Position:
        """Return where the loader stands, or where workers of a DataLoader go on if they iterated."""
        following = None if get_worker_info() else self._iterations.following()
        return following or self._position

    def _handed_out(self) -> Iterator[Tensors]:
        self._go_to(self._place(), self._ahead)
        epoch = self._position.epoch
        for tensors, after in self._delivered():
            self._position, self._ahead = after, 0
            self._iterations.move(after)
            yield tensors
        if self._position.epoch == epoch:
            self.set_epoch(epoch + 1)

    def _join(self, number: int, workers: int, seed: int) -> Iterator[Tensors]:
        """Return a worker's batches of the iteration that is due."""
        begin = self._iterations.join(number, seed, self._position.epoch if self._loaded else None)
        if not self._loaded:
            self._position, self._ahead = begin, 0
        self._loaded = False
        return self._as_worker(self._position, self._ahead or number, workers)

    def _as_worker(self, begin: Position, first: int, workers: int) -> Iterator[Tensors]:
        """Yield a worker's batches; its state counts the batches that the others make before its next one, and never leaves the epoch."""
        for delivered in self.stream.batches(begin, first=first, step=workers):
            ended = delivered.after.epoch > begin.epoch
            self._position = self.stream.end(begin.epoch) if ended else delivered.after
            self._ahead = workers - 1
            yield to_tensors(delivered.batch, targets=delivered.counts.mlm, details=self._details)

    def _delivered(self) -> Iterator[tuple[Tensors, Position]]:
        """Yield batches with the position after each, made here, by a thread, or by workers."""
        begun = Ahead(self._begun, self._prefetch) if self._prefetch else self._begun()
        for tensors, copied, after in begun:
            self._transfer.finish(tensors, copied)
            yield tensors, after

    def _begun(self) -> Iterator[tuple[Tensors, torch.cuda.Event | None, Position]]:
        source = _Batches(self.stream, self._position, self._ahead, self._details)
        for tensors, after in self._from_workers(source) if self._workers else source.made():
            yield *self._transfer.begin(tensors), after

    def _from_workers(self, source: _Batches) -> Iterator[tuple[Tensors, Position]]:
        _require_descriptors(self._workers)
        others = set(active_children())
        batches = iter(DataLoader(source, batch_size=None, num_workers=self._workers))
        workers = set(active_children()) - others
        try:
            with (
                ending_still([worker.pid or 0 for worker in workers]) as still,
                _telling_of_dead_workers(workers, still, self._datasets),
            ):
                for tensors, (epoch, window, unit) in batches:
                    yield tensors, Position(epoch=epoch, window=window, unit=unit)
        finally:
            # Python waits for them when it ends, and they never would.
            _end({worker for worker in workers if is_stopped(worker.pid or 0)})


def _require_descriptors(workers: int) -> None:
    """Refuse workers where so few files may be open that torch loses their batches, and waits for them for ever.

    Raises
    ------
    StorageError
        The limit is below 24, and 4 for each worker.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 24 + 4 * workers
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise StorageError(
            f"{workers} worker processes of the loader need {needed} file descriptors, and this process may have {limit}: "
            "raise the limit of open files (ulimit -n), or give fewer workers"
        )


@contextmanager
def _telling_of_dead_workers(
    workers: set[BaseProcess], still: list[int], datasets: Sequence[ShardSet]
) -> Iterator[None]:
    """Turn what torch says of a worker that is gone into one error. still: those that were ended because they stood still.

    It is met as such, or first as a socket of the worker's that is closed, reset, or not there. An error that a worker raised is another
    matter, and torch says "in DataLoader worker process" of it.
    """
    try:
        yield
    except (OSError, EOFError, RuntimeError) as error:
        gone = not isinstance(error, RuntimeError) or "DataLoader worker (pid" in str(error)
        if not gone or "in DataLoader worker process" in str(error):
            raise
        _end(workers)
        if any(worker.exitcode == -signal.SIGBUS for worker in workers):
            _tell_of_cut_shards(datasets, error)
        told = f"a worker process of the loader died, perhaps for want of memory ({error or type(error).__name__})"
        if still:
            told = f"worker process {still[0]} of the loader was stopped and not continued for {PATIENCE:.0f} s"
        raise SpanmaskError(
            f"{told}: go on from state_dict(), which counts the batches that were handed out, with fewer workers"
        ) from error


def _tell_of_cut_shards(datasets: Sequence[ShardSet], error: Exception) -> None:
    """Name the shards that somebody cut, if any: a map of one ends the process that touches what is gone.

    Raises
    ------
    ShardError
        There are some.
    """
    cut = [(shards.root, record, size) for shards in datasets for record, size in shards.resized()]
    if not cut:
        return
    (root, record, size), *others = cut
    also = ", ".join(f"{other.path} of {where}" for where, other, _ in others[:_TOLD_SHARDS])
    also += f" and {len(others) - _TOLD_SHARDS} more" * (len(others) > _TOLD_SHARDS)
    raise ShardError(
        f"{size:,} bytes, and the manifest of {root} says {record.bytes:,}{'; of other sizes, too: ' * bool(also)}{also}. Where a shard is "
        "cut while a worker process of the loader has it mapped, the system ends that process (SIGBUS). Restore it (spanmask repair); "
        "replace shards by renaming, never write to them; where others do, copy the dataset, or give mmap=False. Then go on from "
        "state_dict(), which counts the batches that were handed out",
        path=record.path,
    ) from error


def _end(workers: set[BaseProcess]) -> None:
    """End worker processes, and take away the names of shared memory that they were killed over: torch's own is gone an instant later."""
    with _told_of_no_death():
        for worker in workers:
            worker.kill()
            worker.join()
            for memory in Path("/dev/shm").glob(f"torch_{worker.pid}_*"):  # noqa: S108
                memory.unlink(missing_ok=True)


@contextmanager
def _told_of_no_death() -> Iterator[None]:
    """Take away torch's signal handler, which raises an error for workers that have died, while the body runs.

    It would do so in the midst of `join`, too: between the system's word that a worker has ended, which it gives once, and Python's note
    of it; the worker would then be taken for one that runs for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    taken = False
    while not taken:
        # What is told of by now is told first.
        with suppress(RuntimeError):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            taken = True
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


class _Batches(IterableDataset[Any]):
    """The batches from a position on, all here, or in the worker processes of a `ShardLoader` every so many."""

    def __init__(self, stream: Stream, begin: Position, ahead: int, details: bool) -> None:
        super().__init__()
        self._stream, self._begin, self._ahead, self._details = stream, begin, ahead, details

    def made(self, number: int = 0, workers: int = 1) -> Iterator[tuple[Tensors, Position]]:
        """Yield the batches of one worker among as many, with the position after each."""
        for delivered in self._stream.batches(self._begin, first=self._ahead + number, step=workers):
            yield to_tensors(delivered.batch, targets=delivered.counts.mlm, details=self._details), delivered.after

    def __iter__(self) -> Iterator[tuple[Tensors, tuple[int, int, int]]]:
        info = get_worker_info()
        number, workers = (0, 1) if info is None else (info.id, info.num_workers)
        for tensors, after in self.made(number, workers):
            yield tensors, (after.epoch, after.window, after.unit)
