"""What weights begin as. Applied to a layer before spectral norm wraps it."""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import nn

Init = Literal["default", "orthogonal", "normal"]
Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def initialised(layer: Layer, init: Init) -> Layer:
    """`default`: PyTorch's. `orthogonal`: Saxe et al., arXiv 1312.6120. `normal`: N(0, 0.02), as in DCGAN's paper.

    Biases stay as they are.
    """
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight)
    elif init == "normal":
        nn.init.normal_(layer.weight, 0.0, 0.02)
    return layer
