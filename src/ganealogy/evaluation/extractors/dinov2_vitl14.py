"""DINOv2's large vision transformer: 1024 features, of which FD-DINOv2 is published (Stein et al., arXiv 2306.04675).

As dinov2, which is the small one: other features, so compare distances of one of them only.
"""

from __future__ import annotations

from ganealogy.evaluation.extractors import _timm

MODEL = "vit_large_patch14_dinov2.lvd142m"


def load(device: str = "cpu") -> _timm.TimmNetwork:
    """Raises: GanealogyError without timm or the weights (see _timm.py)."""
    return _timm.load("dinov2_vitl14", MODEL, device, img_size=_timm.SIZE)
