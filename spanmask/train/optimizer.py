"""AdamW over gradients that lie in one buffer, so that ranks add them up, and clipping scales them, in one go."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from spanmask.train.config import Decay, Schedule, TrainConfig

#: AdamW's means of a parameter's gradients and of their squares, as torch calls them.
MOMENTS = ("exp_avg", "exp_avg_sq")
#: Gradients begin at multiples of so many numbers, 256 bytes: what vector loads of any device like.
_ALIGNMENT = 64


class FlatGradients:
    """One float32 buffer whose views are the parameters' gradients; backward passes add to them in place.

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
        parameters = list(model.parameters())
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


def make_optimizer(model: nn.Module, config: TrainConfig) -> AdamW:
    """Return AdamW with decoupled weight decay in one fused kernel; its learning rate is a 0-d tensor on the device."""
    parameters = list(model.parameters())
    rate = torch.tensor(config.lr, device=parameters[0].device)
    decayed = [p for p in parameters if config.decay is Decay.ALL or p.ndim > 1]
    plain = [p for p in parameters if config.decay is Decay.MATRICES and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=rate,
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
    """Give each parameter moments of zero after so many updates, and return them as `moments` does, to be filled."""
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(updates), device=parameter.device),
            **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
        }
    return moments(model, optimizer)
