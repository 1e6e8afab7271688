"""Initial weights. Apply them before spectral norm wraps the layer."""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import nn

Init = Literal["default", "orthogonal", "normal"]
Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def initialise(layer: Layer, init: Init) -> Layer:
    """Initialise the weight and return the layer; the bias is unchanged.

    `default`: PyTorch's. `orthogonal`: Saxe et al., arXiv 1312.6120. `normal`: N(0, 0.02), arXiv 1511.06434.
    """
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight)
    elif init == "normal":
        nn.init.normal_(layer.weight, 0.0, 0.02)
    return layer
