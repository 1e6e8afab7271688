"""Base class of extractors that run a network: batches, grey to RGB, memory layout, and the path of weights.

N pictures of H × W pixels and C channels; d features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from ganealogy.record_types import MetricProtocol
from ganealogy.runtime.precision import float32_as
from ganealogy.workspace import WEIGHTS, main_root


class NetworkExtractor:
    """Extracts a network's features. Subclasses define `name`, `dimension`, `batches` and `forward`."""

    name: str
    network = True
    dimension: int
    batches: ClassVar[dict[str, int]]
    """Batch size per kind of device."""
    layouts: ClassVar[dict[str, torch.memory_format]] = {}
    """Memory format per kind of device; channels_last by default."""

    def __init__(self, model: nn.Module, device: str, **protocol: Any) -> None:
        """`protocol`: weights_sha256, resize, and whatever else determines the features."""
        self.device = torch.device(device)
        self.layout = self.layouts.get(self.device.type, torch.channels_last)
        self.model = model.eval().to(device=device, memory_format=self.layout)  # type: ignore[call-overload]
        self.protocol: MetricProtocol = {"precision": "fp32", **protocol}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float levels 0..255 (n, 3, H, W) → (n, d)."""
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
        # TF32 would be another protocol, and non-deterministic algorithms would change the last bits.
        with float32_as("fp32"), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            features: NDArray[np.float32] = self.forward(x).float().cpu().numpy()
        return features


def resized(x: torch.Tensor, side: int, mode: str = "bilinear", *, antialias: bool = False) -> torch.Tensor:
    """(n, 3, H, W) → (n, 3, side, side) in channels_last, by F.interpolate without aligned corners.

    Interpolates in contiguous format, which takes half the time of channels_last and gives the same numbers.
    """
    x = F.interpolate(x.contiguous(), (side, side), mode=mode, align_corners=False, antialias=antialias)
    return x.contiguous(memory_format=torch.channels_last)


def weights_path(file: str) -> Path:
    """Return the path of weights that no package contains: in the main workspace, so that experiments share them."""
    return main_root() / WEIGHTS / file
