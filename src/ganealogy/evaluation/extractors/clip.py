"""CLIP's image embedding, 512 numbers, by its ViT-B/32: learnt from captions and not from ImageNet's classes.

Network: Radford et al., arXiv 2103.00020, as timm's vit_base_patch32_clip_quickgelu_224.openai: OpenAI trained with the
activation QuickGELU, and the variant without it in its name gives other features from the same weights.
"""

from __future__ import annotations

from ganealogy.evaluation.extractors import _timm

MODEL = "vit_base_patch32_clip_quickgelu_224.openai"


def load(device: str = "cpu") -> _timm.TimmNetwork:
    """Raises: GanealogyError without timm or the weights (see timm_network.py)."""
    return _timm.load("clip", MODEL, device)
