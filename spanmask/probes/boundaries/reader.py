"""The linear reader: multinomial logistic regression with bias, from two states to a class of tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from spanmask.probes.boundaries.classes import Bits, Classes
from spanmask.probes.boundaries.config import BoundariesConfig
from spanmask.probes.boundaries.spans import Part
from spanmask.probes.boundaries.states import States
from spanmask.records import Offsets
from spanmask.train.distributed import device_of

#: Bytes of scores that are held at once, and spans that are scaled at once.
_SCORES, _SCALED = 32 << 20, 4096
#: What a feature's deviation is never divided by less than: one that is always the same tells nothing.
_FLAT = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a reader says of the n measured targets.

    bits: (n,) what each costs. guesses: (n,) the likeliest ids. decay, epochs: what was chosen; after 0 epochs a reader knows frequencies
    alone.
    """

    bits: Bits
    guesses: Offsets
    decay: float
    epochs: int


def read_tokens(
    states: States,
    numbers: Mapping[Part, Offsets],
    targets: Offsets,
    classes: Classes,
    config: BoundariesConfig,
    *,
    seed: int,
) -> Told:
    """Train a reader of states on one part, choose by another, and return what it says of the third.

    It begins with weights of 0 and the bias of a reader without states, so that it is worse than that one only by chance. States are
    scaled by mean and deviation of the part that is trained on. AdamW with a learning rate that falls linearly; after each pass over the
    spans the part that chooses is scored, and the best is kept.

    Parameters
    ----------
    states
        (N, F) of all spans.
    numbers
        By part, the spans that are read.
    targets
        (N,) the ids to tell.
    classes
        What is told apart.
    config
        How to train, and where.
    seed
        Of the order of spans.

    Returns
    -------
    Told
        Of the part that is measured, in its order.
    """
    device = device_of(config.device)
    parts = _scaled(states, numbers, device)
    labels = {part: torch.from_numpy(classes.of[targets[which]]).to(device) for part, which in numbers.items()}
    trained = [_trained(parts, labels, classes, config, decay=decay, seed=seed) for decay in config.decay]
    best = min(trained, key=lambda one: one.loss)
    bits, chosen = _said(parts[Part.MEASURED], labels[Part.MEASURED], best.weights, classes)
    return Told(
        bits=bits - classes.log_within[targets[numbers[Part.MEASURED]]],
        guesses=classes.likeliest[chosen],
        decay=best.decay,
        epochs=best.epochs,
    )


def _scaled(states: States, numbers: Mapping[Part, Offsets], device: torch.device) -> dict[Part, Tensor]:
    """Return the states of each part by the mean and deviation of what is trained on, some at a time: no table is in float64."""
    training = numbers[Part.TRAINING]
    mean = sum(block.sum(axis=0) for block in _blocks(states, training)) / len(training)
    deviation = np.sqrt(sum(np.square(block - mean).sum(axis=0) for block in _blocks(states, training)) / len(training))
    scale = np.where(deviation > _FLAT, 1 / np.maximum(deviation, _FLAT), 0)
    parts = {}
    for part, which in numbers.items():
        scaled = np.empty((len(which), states.shape[1]), np.float32)
        for number, block in enumerate(_blocks(states, which)):
            scaled[number * _SCALED :][: len(block)] = (block - mean) * scale
        parts[part] = torch.from_numpy(scaled).to(device)
    return parts


def _blocks(states: States, which: Offsets) -> Iterator[npt.NDArray[np.float64]]:
    for first in range(0, len(which), _SCALED):
        yield states[which[first : first + _SCALED]].astype(np.float64)


def scored_at_once(classes: int) -> int:
    """Return how many spans are scored at once: many of few classes, few of many."""
    return max(_SCORES // (8 * classes), 1)


class _Kept(NamedTuple):
    """The best reader of a training. loss: its mean bits on the part that chooses. weights: (F, K) and (K,)."""

    loss: float
    decay: float
    epochs: int
    weights: tuple[Tensor, Tensor]


def _trained(
    parts: Mapping[Part, Tensor],
    labels: Mapping[Part, Tensor],
    classes: Classes,
    config: BoundariesConfig,
    *,
    decay: float,
    seed: int,
) -> _Kept:
    states, own = parts[Part.TRAINING], labels[Part.TRAINING]
    matrix = torch.zeros(states.shape[1], len(classes), device=states.device, requires_grad=True)
    bias = torch.from_numpy(classes.log_shares * math.log(2)).float().to(states.device).requires_grad_()
    groups = [{"params": [matrix], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr)
    generator = torch.Generator().manual_seed(seed)

    def kept(epochs: int) -> _Kept:
        weights = matrix.detach().clone(), bias.detach().clone()
        bits, _ = _said(parts[Part.SELECTION], labels[Part.SELECTION], weights, classes)
        return _Kept(float(bits.mean()), decay, epochs, weights)

    best = kept(0)
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (1 - epoch / config.epochs)
        order = torch.randperm(len(states), generator=generator).to(states.device)
        for first in range(0, len(order), config.batch_size):
            which = order[first : first + config.batch_size]
            loss = functional.cross_entropy(torch.addmm(bias, states[which], matrix), own[which])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        best = min(best, kept(epoch + 1), key=lambda one: one.loss)
        if epoch + 1 - best.epochs >= config.patience:
            break
    return best


def _said(states: Tensor, labels: Tensor, weights: tuple[Tensor, Tensor], classes: Classes) -> tuple[Bits, Offsets]:
    """Return (n,) the bits of each class that is right, and the classes whose likeliest token is the likeliest of all."""
    matrix, bias = weights
    within = torch.from_numpy(classes.log_within[classes.likeliest]).to(states.device)
    bits, chosen = [], []
    with torch.no_grad():
        step = scored_at_once(len(classes))
        for first in range(0, len(states), step):
            part, own = (one[first : first + step] for one in (states, labels))
            logs = torch.addmm(bias, part, matrix).double().log_softmax(1) / math.log(2)
            bits.append(-logs.gather(1, own[:, None])[:, 0])
            chosen.append((logs + within).argmax(1))
    return torch.cat(bits).cpu().numpy(), torch.cat(chosen).cpu().numpy()
