"""What a machine can do at most, measured in the same command: dense products, and copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .protocol import seconds

#: Rows, inner width and columns of products on CUDA: a large square, and what a base and a large model's layers are made of.
_SHAPES = {
    "square": (8192, 8192, 8192),
    "base, up": (32_768, 768, 3072),
    "base, down": (32_768, 3072, 768),
    "large, up": (16_384, 1024, 4096),
    "large, down": (16_384, 4096, 1024),
}
_CPU_SHAPES = {"square": (1024, 1024, 1024), "mini, up": (4096, 256, 1024), "mini, down": (4096, 1024, 256)}
_REPEATS = 20


def measured(*, device: str, threads: int) -> dict[str, Any]:
    """Return FLOP/s of products by their name (bfloat16 on CUDA, float32 on CPU), bytes/s of a copy, and the device's name."""
    torch.set_num_threads(threads)
    cuda = device == "cuda"
    shapes = _SHAPES if cuda else _CPU_SHAPES
    kind = torch.bfloat16 if cuda else torch.float32
    return {
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "flops_per_second": {name: _product(shape, device, kind) for name, shape in shapes.items()},
        "copy_bytes_per_second": _copy(device, (1 << 30) if cuda else (64 << 20)),
    }


def _product(shape: tuple[int, int, int], device: str, kind: torch.dtype) -> float:
    rows, inner, columns = shape
    # Random numbers: products of zeros take less power, and so run faster.
    left, right = (torch.randn(size, device=device, dtype=kind) for size in ((rows, inner), (inner, columns)))
    out = torch.empty(rows, columns, device=device, dtype=kind)
    return 2.0 * rows * inner * columns / _seconds(lambda: torch.mm(left, right, out=out), device)


def _copy(device: str, size: int) -> float:
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2.0 * size / _seconds(lambda: target.copy_(source), device)


def _seconds(function: Callable[[], object], device: str) -> float:
    """Return the seconds of one call, the best of three runs of several."""

    def run() -> None:
        for _ in range(_REPEATS):
            function()
        if device == "cuda":
            torch.cuda.synchronize()

    run()
    return min(seconds(run) for _ in range(3)) / _REPEATS
