"""What float32 networks are computed in: `train.precision` and what it means on each device.

| name | on a GPU | on a CPU |
|---|---|---|
| fp32 | IEEE single precision, 24 bits of mantissa | the same |
| tf32 | convolutions and matrix products in TF32, 11 bits; needs an Ampere card or newer | fp32 |
| bf16 | networks under autocast, 8 bits; all else as tf32 | networks under autocast, all else fp32 |

A CPU has no TF32, and IEEE arithmetic is never worse, so `tf32` trains there in fp32: a preset that is made for GPUs
runs on a CPU too. A run's cost names what ran (`Players.arithmetic`), and the report shows it.

torch's defaults are a mixture: cuDNN's convolutions take TF32 for float32 and matrix products do not. Only torch's
older switches are used here: to read them after the newer ones (`fp32_precision`) were set is an error in torch 2.11 to
2.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]
"""What `settings.Precision` lets people write: no training should start anew because another setting changes."""

AMPERE = (8, 0)
"""Compute capability from which on a card has TF32."""


@contextmanager
def float32_as(precision: str) -> Iterator[None]:
    """Compute float32 convolutions and matrix products of a GPU in IEEE arithmetic (fp32) or in TF32 (tf32, bf16).

    The switches are the process's: a backward pass obeys those that are set while it runs, in whichever thread.
    """
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cublas.allow_tf32
    cudnn.allow_tf32 = cublas.allow_tf32 = precision != "fp32"
    try:
        yield
    finally:
        cudnn.allow_tf32, cublas.allow_tf32 = before


def autocast(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """Run networks in bfloat16 where the precision says so; their weights stay float32."""
    return torch.autocast(device_type, torch.bfloat16) if precision == "bf16" else nullcontext()


def of_penalties(precision: Precision, asked: Precision | None = None) -> Precision:
    """Return the precision of D's step where a penalty differentiates D: what the recipe asks for, else the protocol's.

    Second derivatives lose too much in bfloat16, so that `bf16` stands for `tf32` there unless the recipe asks for it.
    """
    return asked or ("tf32" if precision == "bf16" else precision)


def on(device: str | torch.device, precision: Precision) -> Precision:
    """Return what a precision comes to on a device: `tf32` is `fp32` where there is no TF32."""
    device = torch.device(device)
    if precision != "tf32":
        return precision
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE
    return "tf32" if has_tf32 else "fp32"
