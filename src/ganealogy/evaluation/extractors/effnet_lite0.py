"""EfficientNet-Lite0 trained on ImageNet: 1280 features after average pooling (`networks/layers/effnet_lite0.py`).

Input as in its training: (x − 127) / 128 at 224 × 224; effnet_lite0_64 has a smaller one.
"""

from __future__ import annotations

import torch

from ganealogy.evaluation.extractors._network import NetworkExtractor, resized
from ganealogy.networks.layers.effnet_lite0 import SHA256, effnet_lite0

BATCHES = {"cpu": 16, "cuda": 256}
"""Batch size. Feature maps should fit into a CPU's cache: batches of 64 are two to three times slower."""
LAYOUTS: dict[str, torch.memory_format] = {}
"""See NetworkExtractor.layouts; `benchmarks/gpu_day/probe.py` sets it to time both formats on a GPU."""


class EffnetLite0(NetworkExtractor):
    name = "effnet_lite0"
    side = 224
    """Input size in pixels."""
    dimension = 1280
    batches = BATCHES
    layouts = LAYOUTS

    def __init__(self, device: str) -> None:
        """Raises: GanealogyError when the package's weights file is absent or its sha256 differs."""
        resize = f"bilinear to {self.side}, antialiased where it shrinks"
        super().__init__(effnet_lite0(), device, weights_sha256=SHA256, resize=resize)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = resized(x, self.side, antialias=max(x.shape[2:]) > self.side)
        return self.model.extract_features(((x - 127) / 128).contiguous(memory_format=self.layout)).mean((2, 3))


def load(device: str = "cpu") -> EffnetLite0:
    """Raises: GanealogyError when the package's weights file is absent or its sha256 differs."""
    return EffnetLite0(device)
