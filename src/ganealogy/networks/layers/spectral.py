"""Spectral norm: a layer's weight divided by its largest singular value (Miyato et al., arXiv 1802.05957)."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

Layer = TypeVar("Layer", bound=nn.Module)


class _WithoutNumbers(_SpectralNorm):
    def _power_method(self, weight_mat: torch.Tensor, n_power_iterations: int) -> None: ...


def spectral_norm(layer: Layer) -> Layer:
    """`layer` with torch's spectral norm on its weight: one power iteration in each training forward pass.

    On the meta device, where the plan builds networks to look at them, there is nothing to iterate on, and torch's
    fifteen first iterations would take seconds.
    """
    weight = layer.weight
    if isinstance(weight, torch.Tensor) and weight.is_meta:
        parametrize.register_parametrization(layer, "weight", _WithoutNumbers(weight), unsafe=True)
    else:
        parametrizations.spectral_norm(layer)
    return layer
