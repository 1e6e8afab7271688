"""Clocks and the matrix peak on the processor or on a card, whose work goes on after a call has returned."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from measuring import claims


def wait(device: str) -> None:
    """Until the card has done all that it was asked for."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def block(step: Callable[[], object], steps: int, device: str = "cpu") -> Callable[[], float]:
    """A contender for `claims.in_turns`: seconds a step of `steps`, the card's work included."""

    def run() -> float:
        wait(device)
        return claims.timed(lambda: ([step() for _ in range(steps)], wait(device))) / steps

    return run


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16; every card that is meant here does."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


def matrix_peak(dtype: torch.dtype, size: int, device: str = "cpu") -> float:
    """Operations a second of this machine's best matrix product.

    As `torch.mm`, size x size, and as a 3x3 convolution: two libraries, and on AMD's processors the first one's fp32
    runs at less than half of what the second reaches. Whether a card takes float32 for TF32 is the caller's choice.
    """
    matrix = torch.randn(size, size).to(device, dtype)
    image = torch.randn(8, size // 8, 32, 32).to(device, dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(size // 8, size // 8, 3, 3).to(device, dtype).to(memory_format=torch.channels_last)
    products = {
        2 * size**3: lambda: torch.mm(matrix, matrix),
        2 * 8 * 30 * 30 * (size // 8) ** 2 * 9: lambda: F.conv2d(image, kernel),
    }
    at_once = 1 if device == "cpu" else 10  # a card is not timed by the moment
    with torch.inference_mode():
        best = []
        for operations, product in products.items():
            timed = block(product, at_once, device)
            best.append(operations / min(timed() for _ in range(8)))
        return max(best)
