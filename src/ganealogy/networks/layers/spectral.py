"""Spectral norm: a layer's weight divided by its largest singular value (Miyato et al., arXiv 1802.05957)."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrizations

Layer = TypeVar("Layer", bound=nn.Module)


def spectral_norm(layer: Layer) -> Layer:
    """torch's, one power iteration a training forward pass; on the meta device, the layer itself.

    Meta tensors are the plan's way of counting parameters. torch's fifteen first iterations take seconds on them, and
    spectral norm has no parameters.
    """
    if getattr(layer.weight, "is_meta", False):
        return layer
    parametrizations.spectral_norm(layer)  # in place
    return layer
