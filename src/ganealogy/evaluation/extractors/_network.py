"""What the extractors that run a network share: pictures in batches, one channel as three, where weights are kept.

N pictures of H × W pixels and C channels in, d features out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from ganealogy.runtime.precision import float32_as


class NetworkExtractor:
    """A network's features of pictures. A subclass gives `name`, `dimension`, `batches` and `forward`."""

    name: str
    network = True
    dimension: int
    batches: ClassVar[dict[str, int]]
    """Images a step, by kind of device."""
    layouts: ClassVar[dict[str, torch.memory_format]] = {}
    """How maps lie in memory, by kind of device; channels_last where none is given."""

    def __init__(self, model: nn.Module, device: str, **protocol: Any) -> None:
        """`protocol`: weights_sha256, resize, and whatever else makes the numbers what they are."""
        self.device = torch.device(device)
        self.layout = self.layouts.get(self.device.type, torch.channels_last)
        self.model = model.eval().to(device=device, memory_format=self.layout)  # type: ignore[call-overload]
        self.protocol: dict[str, Any] = {"precision": "fp32", **protocol}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W), float levels 0..255 → (n, d)."""
        raise NotImplementedError

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 1 or 3) → (N, d); one channel is repeated to three."""
        batch = self.batches[self.device.type]
        parts = [self._features(images[start : start + batch]) for start in range(0, len(images), batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    @torch.inference_mode()
    def _features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(np.array(images)).to(self.device).permute(0, 3, 1, 2)  # (n, C, H, W)
        x = pixels.expand(-1, 3, -1, -1).float()
        # Another precision would be another protocol, and other algorithms other last bits.
        with float32_as("fp32"), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            features: NDArray[np.float32] = self.forward(x).float().cpu().numpy()
        return features


def resized(x: torch.Tensor, side: int, mode: str = "bilinear", *, antialias: bool = False) -> torch.Tensor:
    """(n, 3, H, W) → (n, 3, side, side) in channels_last, torch's F.interpolate without aligned corners.

    Colour by colour, which takes half the time and gives the same numbers.
    """
    x = F.interpolate(x.contiguous(), (side, side), mode=mode, align_corners=False, antialias=antialias)
    return x.contiguous(memory_format=torch.channels_last)


def weights_path(file: str) -> Path:
    """Where weights that no package carries are kept: in the main workspace, so that experiments share them."""
    return Path(os.environ.get("DVC_ROOT") or ".") / "build" / "weights" / file
