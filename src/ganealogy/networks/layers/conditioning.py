"""Class conditioning: by BatchNorm's scale and shift in G, by a projection in D.

Shapes: N images, C channels, K classes; labels are (N,) int64.
"""

from __future__ import annotations

import torch
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.networks.layers.spectral import spectral_norm


class ConditionalBatchNorm2d(nn.Module):
    """BatchNorm with a scale and shift per class, initially 1 and 0 (de Vries et al., arXiv 1707.00683)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels = channels
        self.normalise = nn.BatchNorm2d(channels, affine=False)
        self.affine = nn.Embedding(classes, 2 * channels)
        with torch.no_grad():
            self.affine.weight[:, :channels] = 1
            self.affine.weight[:, channels:] = 0

    def forward(self, features: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """(N, C, H, W), (N,) → (N, C, H, W)."""
        scale, shift = self.affine(require_labels(labels))[:, :, None, None].split(self.channels, dim=1)
        return self.normalise(features) * scale + shift


class Projection(nn.Module):
    """D's conditional term: inner product of features and label embedding (arXiv 1802.05637, equation 3)."""

    def __init__(self, channels: int, classes: int, spectral: bool) -> None:
        super().__init__()
        embedding = nn.Embedding(classes, channels)
        nn.init.xavier_uniform_(embedding.weight)  # torch's N(0, 1) would dominate the unconditional logits
        self.embedding = spectral_norm(embedding) if spectral else embedding

    def forward(self, features: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Features (N, C), labels (N,) → (N,), the summand of the logits."""
        return (self.embedding(require_labels(labels)) * features).sum(dim=1)


def batch_norm(channels: int, classes: int) -> nn.Module:
    """Return a BatchNorm, conditional if `classes` > 0."""
    return ConditionalBatchNorm2d(channels, classes) if classes else nn.BatchNorm2d(channels)


def apply_layer(layer: nn.Module, features: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """Apply `layer` to (N, C, H, W), with the labels if it is conditional."""
    return layer(features, labels) if isinstance(layer, ConditionalBatchNorm2d) else layer(features)


def require_labels(labels: torch.Tensor | None) -> torch.Tensor:
    if labels is None:
        raise ValueError("this network is class-conditional: it needs labels")
    return labels


def refuse_classes(network: str, classes: int) -> int:
    """Return 0. Raises: GanealogyError if `classes` > 0, for networks without class conditioning."""
    if classes:
        raise GanealogyError(f"{network}: has no class conditioning; set labels: false, or use dcgan or sngan")
    return 0
