"""Timing and the matrix peak on a CPU or GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from measuring import claims


def wait(device: str) -> None:
    """Wait until the GPU has finished all submitted work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def block(step: Callable[[], object], steps: int, device: str = "cpu") -> Callable[[], float]:
    """Return a contender for `claims.in_turns`: seconds per step over `steps` steps, including the GPU's work."""

    def run() -> float:
        wait(device)
        return claims.timed(all_steps) / steps

    def all_steps() -> None:
        for _ in range(steps):
            step()
        wait(device)

    return run


def has_bf16() -> bool:
    """Return whether this processor multiplies bfloat16. All supported GPUs do."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


def matrix_peak(dtype: torch.dtype, size: int, device: str = "cpu") -> float:
    """Return the operations per second of the faster of `torch.mm`, size x size, and a 3x3 convolution.

    They use two libraries; on AMD processors fp32 in the first is less than half as fast as in the second. The caller
    sets whether a GPU computes float32 in TF32.
    """
    matrix = torch.randn(size, size).to(device, dtype)
    image = torch.randn(8, size // 8, 32, 32).to(device, dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(size // 8, size // 8, 3, 3).to(device, dtype).to(memory_format=torch.channels_last)
    products = {
        2 * size**3: lambda: torch.mm(matrix, matrix),
        2 * 8 * 30 * 30 * (size // 8) ** 2 * 9: lambda: F.conv2d(image, kernel),
    }
    at_once = 1 if device == "cpu" else 10  # one product is too short to time on a GPU
    with torch.inference_mode():
        best = []
        for operations, product in products.items():
            timed = block(product, at_once, device)
            best.append(operations / min(timed() for _ in range(8)))
        return max(best)
