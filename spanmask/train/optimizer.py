"""AdamW over gradients that lie in one buffer, so that ranks add them up, and clipping scales them, in one go."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from spanmask.train.config import Decay, Schedule, TrainConfig

#: AdamW's means of a parameter's gradients and of their squares, as torch calls them.
MOMENTS = ("exp_avg", "exp_avg_sq")
#: Gradients begin at multiples of so many numbers, 256 bytes: what vector loads of any device like.
_ALIGNMENT = 64


class FlatGradients:
    """One float32 buffer whose views are the gradients of what is trained; backward passes add to them in place.

    Behind them are ``extra`` numbers that ride along when ranks add up.

    Attributes
    ----------
    everything
        (n + extra,)
    gradients
        (n,), zero between parameters.
    extra
        (extra,)
    """

    def __init__(self, model: nn.Module, extra: int) -> None:
        parameters = [parameter for _, parameter in trained(model)]
        starts, total = [], 0
        for parameter in parameters:
            starts.append(total)
            total += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
        self.everything = torch.zeros(total + extra, device=parameters[0].device)
        self.gradients, self.extra = self.everything[:total], self.everything[total:]
        for parameter, start in zip(parameters, starts, strict=True):
            parameter.grad = self.gradients[start : start + parameter.numel()].view_as(parameter)

    def clear(self) -> None:
        """Set all to zero."""
        self.everything.zero_()


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that updates change, with their names."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def make_optimizer(model: nn.Module, config: TrainConfig, share: Callable[[str], float] | None = None) -> AdamW:
    """Return AdamW with decoupled weight decay in one fused kernel; learning rates are 0-d tensors on the device.

    share: how many times the learning rate a parameter has, by its name; None: once. Each group of parameters tells its own.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained(model):
        decayed = config.decay is Decay.ALL or parameter.ndim > 1
        times = 1.0 if share is None else share(name)
        groups.setdefault((times, config.weight_decay if decayed else 0.0), []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "weight_decay": decay,
                "share": times,
                "lr": torch.tensor(times * config.lr, device=parameters[0].device),
            }
            for (times, decay), parameters in groups.items()
        ],
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of an update, counted from 1: up to the peak in the warm-up, at last down to 0 one past the last."""
    warmup = config.warmup or 0
    if step <= warmup:
        return config.lr * step / warmup
    cooldown = config.steps - warmup if config.schedule is Schedule.LINEAR else config.cooldown or 0
    return config.lr * min(config.steps - step + 1, cooldown + 1) / (cooldown + 1)


def moments(model: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """Return AdamW's two moments of each parameter, by ``name.exp_avg`` and ``name.exp_avg_sq``; none before the first update."""
    return {
        f"{name}.{moment}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        for moment in MOMENTS
        if parameter in optimizer.state
    }


def begin_moments(model: nn.Module, optimizer: AdamW, updates: int) -> dict[str, Tensor]:
    """Give each parameter that is trained moments of zero after so many updates, and return them as `moments` does, to be filled."""
    for _, parameter in trained(model):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(updates), device=parameter.device),
            **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
        }
    return moments(model, optimizer)
