"""Wait for a GPU, which runs behind the host."""

from __future__ import annotations

import torch


def synchronize(device: str) -> None:
    """Wait until the device has done all work that it was given, as a clock must. A CPU always has."""
    if device != "cpu":
        torch.accelerator.synchronize(device)
