"""CLIP's image embedding (ViT-B/32): 512 features, trained on captions instead of ImageNet's classes.

Network: Radford et al., arXiv 2103.00020, as timm's vit_base_patch32_clip_quickgelu_224.openai. OpenAI trained with
QuickGELU; timm's variant without `quickgelu` in its name computes other features from the same weights.
"""

from __future__ import annotations

from ganealogy.evaluation.extractors import _timm

MODEL = "vit_base_patch32_clip_quickgelu_224.openai"


def load(device: str = "cpu") -> _timm.TimmNetwork:
    """Raises: GanealogyError without timm or the weights (see _timm.py)."""
    return _timm.load("clip", MODEL, device)
