"""One contestant of `revisions`: does the same work through the public names of whichever spanmask is first on its path.

It imports nothing of this package, which may be of another revision. Each line on standard input asks for one turn; the answer is a line
with its seconds and how much it handled.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

Turn = Callable[[], int]

#: Rows that are masked in one call.
_ROWS = 8192
_MODEL = {"model": "mini", "batch_size": 4, "steps": 12, "save_every": 0, "log_every": 1, "threads": 2, "lr": 1e-3}


def preshard(text: str, folder: Path) -> Turn:
    """Return what writes the shards of a text, one job; bytes of the input."""
    import spanmask

    config = spanmask.PreshardConfig.of(seed=7)

    def turn() -> int:
        shutil.rmtree(folder / "again", ignore_errors=True)
        spanmask.preshard(text, folder / "again", config, jobs=1)
        return Path(text).stat().st_size

    return turn


def masking(text: str, folder: Path) -> Turn:
    """Return what masks the first rows' segments in memory; tokens."""
    import spanmask

    shards = _shards(text, folder)
    originals = [shards[number].original()[1:-1] for number in range(min(_ROWS, len(shards)))]
    ids = np.concatenate(originals)
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in originals])))
    config = spanmask.MaskingConfig(seed=7)
    # Whether glibc clears pages anew for each call depends on the largest block that presharding happened to free: make both alike.
    np.empty(31 << 20, np.uint8)

    def turn() -> int:
        spanmask.mask(ids, offsets, config)
        return len(ids)

    return turn


def stored_padded(text: str, folder: Path) -> Turn:
    """Return what takes an epoch of padded batches with stored masks; tokens."""
    return _epochs(text, folder, batch_size=256)


def stored_packed(text: str, folder: Path) -> Turn:
    """Return what takes an epoch of packed batches with stored masks; tokens."""
    return _epochs(text, folder, batch_size=64, layout="packed")


def fresh_packed(text: str, folder: Path) -> Turn:
    """Return what takes an epoch of packed batches, masked anew; tokens."""
    return _epochs(text, folder, batch_size=64, layout="packed", masks="fresh")


def training(text: str, folder: Path) -> Turn:
    """Return what trains a small model for a few steps, from nothing; tokens by the second that its metrics tell."""
    from spanmask.train import TrainConfig, train

    _shards(text, folder)
    config = TrainConfig.of("fast", **_MODEL)
    number = iter(range(1 << 30))

    def turn() -> int:
        finished = train(str(folder / "shards"), folder / f"run{next(number)}", config)
        return int((finished.metrics or {})["tokens"])

    return turn


def _shards(text: str, folder: Path):  # type: ignore[no-untyped-def]
    import spanmask

    spanmask.preshard(text, folder / "shards", spanmask.PreshardConfig.of(seed=7), jobs=1)
    return spanmask.open(folder / "shards")


def _epochs(text: str, folder: Path, **options: object) -> Turn:
    from spanmask.loading import ShardLoader

    tokens = int(sum(shard.tokens for shard in _shards(text, folder).split.shards))
    loader = ShardLoader(str(folder / "shards"), **options)  # type: ignore[arg-type]

    def turn() -> int:
        loader.set_epoch(0)
        for _ in loader:
            pass
        return tokens

    return turn


#: What can be asked for, by name.
WORK: dict[str, Callable[[str, Path], Turn]] = {
    "preshard": preshard,
    "masking": masking,
    "stored padded": stored_padded,
    "stored packed": stored_packed,
    "fresh packed": fresh_packed,
    "training": training,
}


def serve(name: str, text: str) -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        turn = WORK[name](text, Path(folder))
        turn()
        _say("ready")
        for _ in sys.stdin:
            began = time.perf_counter()
            amount = turn()
            _say({"seconds": time.perf_counter() - began, "amount": amount})


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
