"""Tensors that anyone may have written, held against the model they are for before that is built."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from spanmask.errors import ConfigError
from spanmask.model.config import SpanBertConfig
from spanmask.model.naming import Shapes, State
from spanmask.model.pretraining import SpanBertForPreTraining
from spanmask.storage import reporting, require_file

#: What a weight may be stored as.
_FLOATS = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)


def read_tensors(path: Path) -> State:
    """Return the tensors of a safetensors file by name; their memory is the file's, mapped.

    Raises
    ------
    ConfigError
        The file is missing, none, or broken.
    StorageError
        The file system refused.
    """
    require_file(path)
    with reporting(path, "read"):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ConfigError(f"{path}: not a whole safetensors file ({error}); copy it again") from None


def build(config: SpanBertConfig) -> SpanBertForPreTraining:
    """Return a new model, its weights drawn from torch's global generator.

    Raises
    ------
    ConfigError
        This machine has less memory than its weights need.
    """
    require_memory(config, shapes_of(config))
    return SpanBertForPreTraining(config)


def require_memory(config: SpanBertConfig, shapes: Shapes) -> None:
    """Refuse tensors of these shapes, which belong to a model of this configuration, if they do not fit.

    Raises
    ------
    ConfigError
        This machine has less memory.
    """
    needed = 4 * sum(math.prod(shape) for shape in shapes.values())
    there = machine_bytes()
    if needed > there:
        raise ConfigError(
            f"the model's weights need {needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f}: "
            f"make it smaller ({config.layers} layers, width {config.hidden}, {config.vocab_size:,} entries)"
        )


def machine_bytes() -> int:
    """Return the size of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def shapes_of(config: SpanBertConfig) -> Shapes:
    """Return the shapes of a pre-trained model's tensors by name, without memory for any."""
    return module_shapes(lambda: SpanBertForPreTraining(config))


def module_shapes(make: Callable[[], nn.Module]) -> Shapes:
    """Return the shapes of the tensors of what is made, by name, without memory for any."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}


def require_layers(place: str | Path, layers: int, state: State) -> None:
    """Refuse a model of more layers than there are tensors, before so much as their names are made.

    Raises
    ------
    ConfigError
        There are fewer.
    """
    if layers > len(state):
        raise ConfigError(
            f"{place}: a model of {layers:,} layers, and {len(state):,} tensors: they belong to another model"
        )


def require_whole(place: str | Path, lost: Sequence[str]) -> None:
    """Refuse a model that lacks tensors it needs. lost: our names of those.

    Raises
    ------
    ConfigError
        It does.
    """
    if lost:
        raise ConfigError(f"{place}: it lacks {', '.join(lost[:3])} ({len(lost)} tensors); save the model again")


def require_shapes(place: str | Path, state: State, shapes: Shapes, said: str) -> None:
    """Refuse tensors of other shapes than those of the same names, and such as are no floats. said: what wants the shapes.

    Raises
    ------
    ConfigError
        One is.
    """
    for name, shape in shapes.items():
        tensor = state.get(name)
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            raise ConfigError(
                f"{place}: {name} has shape {tuple(tensor.shape)}, and {said} says {shape}; save the model again"
            )
        if tensor.dtype not in _FLOATS:
            raise ConfigError(f"{place}: {name} is of {tensor.dtype}, which is no weight; save the model as float32")


def require_finite(place: str | Path, state: State) -> None:
    """Refuse tensors that hold NaN or an infinity: every loss would be NaN.

    Raises
    ------
    ConfigError
        One does.
    """
    for name, tensor in state.items():
        if not all(map(math.isfinite, torch.aminmax(tensor.float()))):
            raise ConfigError(f"{place}: {name} holds NaN or an infinity; take a model from before it went wrong")
