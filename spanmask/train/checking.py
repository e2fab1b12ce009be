"""A run's checkpoint, its parts held against each other before anything is built of them: right digests do not make it a right one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError, MismatchError, SpanmaskError
from spanmask.model.config import SpanBertConfig
from spanmask.model.fitting import require_finite, require_layers, require_shapes, shapes_of
from spanmask.model.naming import Shapes, State
from spanmask.train.checkpoint import ADVICE, MODEL, OPTIMIZER, STATE, Checkpoint, read_checkpoint
from spanmask.train.metrics import is_meter_state
from spanmask.train.optimizer import MOMENTS

#: What a run goes on from, and what it must be; where its stream stands is looked at by that.
_KINDS = {"vocabulary": str, "datasets": list, "model": dict, "stream": dict, "meter": dict}
#: What runs of before do not tell.
_NEWER = {"new_heads": list, "dropped_rows": int, "backbone": dict}


def read_run_checkpoint(folder: Path, *, optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint of a run. optimizer: whether that part is wanted, too.

    Raises
    ------
    ConfigError
        A file is missing, or the state is none of a run's, or tensors are not those of the model that it states, or not finite.
    MismatchError
        A file is not what was written.
    StorageError
        The file system refused.
    """
    checkpoint = read_checkpoint(folder, optimizer=optimizer)
    config = _model_of(folder / STATE, checkpoint.state)
    require_layers(folder, config.layers, checkpoint.model)
    shapes, trained = _shapes_of(folder / STATE, checkpoint.state.get("backbone"), config)
    require_tensors(folder, checkpoint, shapes, STATE, optimizer=optimizer, trained=trained)
    return checkpoint


def _shapes_of(
    path: Path, backbone: dict[str, Any] | None, config: SpanBertConfig
) -> tuple[Shapes, Collection[str] | None]:
    """Return the shapes of the tensors of a model of ours, or of transformers, and the names of those that updates change; None: all."""
    if backbone is None:
        return shapes_of(config), None
    from spanmask.model import backbone_shapes

    return backbone_shapes(backbone, config, path)


def require_tensors(
    folder: Path,
    checkpoint: Checkpoint,
    shapes: Shapes,
    said: str,
    *,
    optimizer: bool = True,
    trained: Collection[str] | None = None,
) -> None:
    """Refuse a checkpoint that is none of a model of these shapes.

    said: what states them. optimizer: whether that part was read. trained: names of the tensors that updates change; None: all.

    Raises
    ------
    ConfigError
        Tensors are others, or not finite.
    """
    _require(folder / MODEL, checkpoint.model, shapes, said)
    if optimizer:
        of_moments = {
            f"{name}.{moment}": shape
            for name, shape in shapes.items()
            if trained is None or name in trained
            for moment in MOMENTS
        }
        _require(folder / OPTIMIZER, checkpoint.optimizer, of_moments, said)
        _require_squares(folder / OPTIMIZER, checkpoint.optimizer)


def read_chosen(found: Mapping[int, Path], step: int, *, optimizer: bool = True) -> Checkpoint:
    """Read one of a run's checkpoints, by step; where it is damaged, name the latest before it that is whole.

    Raises
    ------
    ConfigError, MismatchError, StorageError
        As of `read_run_checkpoint`.
    """
    try:
        return read_run_checkpoint(found[step], optimizer=optimizer)
    except (ConfigError, MismatchError) as error:
        before = next((found[one] for one in sorted(found, reverse=True) if one < step and _is_whole(found[one])), None)
        if before is None:
            raise
        advice = f"{before.name} before it is whole: remove {found[step].name} to go on from there"
        raise type(error)(str(error).replace(ADVICE, advice)) from error


def _is_whole(folder: Path) -> bool:
    try:
        read_run_checkpoint(folder)
    except SpanmaskError:
        return False
    return True


def _model_of(path: Path, state: dict[str, Any]) -> SpanBertConfig:
    """Return the shape that a state tells, having made sure that it tells all else, too."""
    kinds = _KINDS | {name: kind for name, kind in _NEWER.items() if name in state}
    wrong = [name for name, kind in kinds.items() if not isinstance(state.get(name), kind)]
    if not wrong:
        wrong += [] if all(isinstance(name, str) for name in state["datasets"]) else ["datasets"]
        wrong += [] if is_meter_state(state["meter"]) else ["meter"]
    if wrong:
        raise ConfigError(f"{path}: its {', '.join(wrong)}: not what spanmask train writes; {ADVICE}")
    try:
        return SpanBertConfig.from_json(state["model"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; {ADVICE}") from None


def _require(path: Path, state: State, shapes: Shapes, said: str) -> None:
    if state.keys() != shapes.keys():
        name = min(state.keys() ^ shapes.keys())
        told = "has" if name in state else "lacks"
        raise ConfigError(f"{path}: it {told} {name}, unlike the model that {said} states; {ADVICE}")
    require_shapes(path, state, shapes, said)
    require_finite(path, state)


def _require_squares(path: Path, moments: State) -> None:
    for name, tensor in moments.items():
        if name.endswith(MOMENTS[1]) and bool(tensor.float().amin() < 0):
            raise ConfigError(f"{path}: {name} holds a mean of squares below 0; {ADVICE}")
