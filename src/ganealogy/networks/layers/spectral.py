"""Spectral norm: a layer's weight divided by its largest singular value (Miyato et al., arXiv 1802.05957)."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

Layer = TypeVar("Layer", bound=nn.Module)


class _WithoutPowerIteration(_SpectralNorm):
    def _power_method(self, weight_mat: torch.Tensor, n_power_iterations: int) -> None: ...


def spectral_norm(layer: Layer) -> Layer:
    """Return the layer with torch's spectral norm on its weight: one power iteration per training forward pass.

    On the meta device, used by the plan, the power iteration is left out: torch's fifteen initial ones take seconds.
    """
    weight = layer.weight
    if isinstance(weight, torch.Tensor) and weight.is_meta:
        parametrize.register_parametrization(layer, "weight", _WithoutPowerIteration(weight), unsafe=True)
    else:
        parametrizations.spectral_norm(layer)
    return layer


def fold(network: nn.Module) -> nn.Module:
    """Put the normalised weights of a network in evaluation mode in the place of their parametrizations; return it."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return network
