"""EfficientNet-Lite0 on 64 × 64 pixels instead of 224 × 224: a tenth of the cost, for small pictures.

The network and its weights are those of effnet_lite0. The features are others: compare distances of one size only.
"""

from __future__ import annotations

from typing import ClassVar

from ganealogy.evaluation.extractors.effnet_lite0 import EffnetLite0


class EffnetLite0At64(EffnetLite0):
    name = "effnet_lite0_64"
    side = 64
    batches: ClassVar[dict[str, int]] = {"cpu": 64, "cuda": 1024}


def load(device: str = "cpu") -> EffnetLite0At64:
    """Raises: GanealogyError when the package's weights file is absent or its sha256 differs."""
    return EffnetLite0At64(device)
