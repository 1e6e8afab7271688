"""DINOv2's small vision transformer: 384 features. Its distances agree better with human judgement than Inception's.

Network: Oquab et al., arXiv 2304.07193, as timm's vit_small_patch14_dinov2.lvd142m. Agreement with humans: Stein et
al., arXiv 2306.04675, measured at 224 × 224 as here. The network's native 518 × 518 would cost six times as much and
add nothing for small pictures.
"""

from __future__ import annotations

from ganealogy.evaluation.extractors import _timm

MODEL = "vit_small_patch14_dinov2.lvd142m"


def load(device: str = "cpu") -> _timm.TimmNetwork:
    """Raises: GanealogyError without timm or the weights (see _timm.py)."""
    return _timm.load("dinov2", MODEL, device, img_size=_timm.SIZE)
