"""DINOv2's small vision transformer: 384 features, by which distances agree better with people than by Inception's.

Network: Oquab et al., arXiv 2304.07193, as timm's vit_small_patch14_dinov2.lvd142m. The claim: Stein et al., arXiv
2306.04675, who measure at 224 × 224, as here: the weights' own 518 would cost six times as much, and small pictures
have nothing to show there.
"""

from __future__ import annotations

from ganealogy.evaluation.extractors import _timm

MODEL = "vit_small_patch14_dinov2.lvd142m"


def load(device: str = "cpu") -> _timm.TimmNetwork:
    """Raises: GanealogyError without timm or the weights (see timm_network.py)."""
    return _timm.load("dinov2", MODEL, device, img_size=_timm.SIZE)
