"""CELL/devices.json: on which devices, and in what precision, a cell was computed so far, those that it was begun on elsewhere too."""

from __future__ import annotations

from spanmask.probes.boundaries.config import BoundariesConfig
from spanmask.probes.writing import as_json
from spanmask.reproduction.cells import Cell, Work
from spanmask.reproduction.grid import RUN_FOLDER, Grid
from spanmask.storage import publish_bytes
from spanmask.train.config import Device, Precision
from spanmask.train.record import read_record

DEVICES = "devices.json"


def computed_on(grid: Grid, cell: Cell) -> list[str]:
    """Write down that a cell is computed by this process, and return on what it was so far; nothing of one that computes no model.

    Raises
    ------
    ConfigError
        The file is damaged.
    StorageError
        The file system refused.
    """
    from spanmask.train.distributed import device_of
    from spanmask.train.updating import computing_of

    known = _asked(grid, cell)
    if known is None:
        return []
    policy, wanted = known
    path, before = grid.place(cell) / DEVICES, list[str]()
    # Without a run there is nothing to go on with.
    if path.exists() and (grid.place(cell) / RUN_FOLDER).exists():
        before = read_record(
            path, lambda content: list(content["devices"]), by="spanmask reproduce", advice="remove the cell's folder"
        )
    devices = [*dict.fromkeys([*before, ", ".join(computing_of(wanted, device_of(policy)))])]
    publish_bytes(path, as_json({"devices": devices}))
    return devices


def _asked(grid: Grid, cell: Cell) -> tuple[Device, Precision] | None:
    """Return where a cell is to be computed, and in what."""
    if cell.work in (Work.TRAINING, Work.HELD_OUT):
        config = grid.training(grid.arm_of(cell), cell.seed)
        return config.device, config.dtype
    if cell.probe is None:
        return None
    if cell.probe.fine_tuning is not None:
        return cell.probe.fine_tuning.device, cell.probe.fine_tuning.dtype
    return (cell.probe.asking.device, Precision.FP32) if isinstance(cell.probe.asking, BoundariesConfig) else None
