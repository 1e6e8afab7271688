"""Arithmetic of float32 networks: `train.precision` on each device.

| name | on a GPU | on a CPU |
|---|---|---|
| fp32 | IEEE single precision, 24 bits of mantissa | the same |
| tf32 | convolutions and matrix products in TF32, 11 bits; needs an Ampere GPU or newer | fp32 |
| bf16 | networks under autocast, 8 bits; the rest as tf32 | networks under autocast, the rest fp32 |

A CPU has no TF32, and IEEE arithmetic is at least as accurate, so `tf32` trains there in fp32, and presets for GPUs run
on a CPU. A run's cost names the arithmetic used (`GAN.describe_precision`), and the report shows it.

By default torch uses TF32 for convolutions and IEEE for matrix products. Only torch's older switches are used here:
reading them after the newer ones (`fp32_precision`) were set is an error in torch 2.11 to 2.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from ganealogy.record_types import Precision

AMPERE = (8, 0)
"""Lowest compute capability with TF32."""
WITHOUT_FLOAT64 = frozenset({"mps"})
"""Kinds of devices that have no float64: Apple's GPUs."""


@contextmanager
def float32_as(precision: str) -> Iterator[None]:
    """Compute float32 convolutions and matrix products on a GPU in IEEE arithmetic (fp32) or in TF32 (tf32, bf16).

    The switches are global. A backward pass uses those that are set while it runs.
    """
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cublas.allow_tf32
    cudnn.allow_tf32 = cublas.allow_tf32 = precision != "fp32"
    try:
        yield
    finally:
        cudnn.allow_tf32, cublas.allow_tf32 = before


def autocast(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """Return a context in which networks run in bfloat16 if the precision is bf16; weights stay float32."""
    return torch.autocast(device_type, torch.bfloat16) if precision == "bf16" else nullcontext()


def of_penalties(precision: Precision, override: Precision | None = None) -> Precision:
    """Return the precision of a D step in which a penalty differentiates D: the recipe's override or the protocol's.

    Second derivatives lose too much accuracy in bfloat16, so `bf16` becomes `tf32` unless the recipe overrides it.
    """
    return override or ("tf32" if precision == "bf16" else precision)


def on(device: str | torch.device, precision: Precision) -> Precision:
    """Return the precision used on a device: `tf32` becomes `fp32` if it has no TF32."""
    device = torch.device(device)
    if precision != "tf32":
        return precision
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE
    return "tf32" if has_tf32 else "fp32"


def widest(device: str | torch.device) -> torch.dtype:
    """Return the widest float type of a device: float64, or float32 where it has none."""
    return torch.float32 if torch.device(device).type in WITHOUT_FLOAT64 else torch.float64


def place(module: nn.Module, device: str | torch.device) -> nn.Module:
    """Move a module to a device; its float64 buffers become the device's widest type."""
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.dtype is torch.float64:
                part._buffers[name] = buffer.to(widest(device))
    return module.to(device)
