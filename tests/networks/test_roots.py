"""celeba_dcgan and mlp: parameter counts, layers and initial weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.networks import celeba_dcgan, mlp, r3gan
from ganealogy.networks._build import parameter_count


def kinds(layers: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in layers.children()]


def test_celeba_dcgans_parameter_counts_are_as_documented() -> None:
    assert parameter_count(celeba_dcgan.discriminator(3, 32, 64)) == 167_809
    assert parameter_count(celeba_dcgan.generator(100, 3, 32, 64)) == 372_416


def test_celeba_dcgan_has_the_originals_layers() -> None:
    D, G = celeba_dcgan.discriminator(3, 32, 64), celeba_dcgan.generator(100, 3, 32, 64)
    normed = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds(D.layers) == ["Conv2d", "LeakyReLU", *normed, *normed]
    assert kinds(G.layers) == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 2 + ["ConvTranspose2d", "Tanh"]
    assert (D.linear.in_features, G.linear.out_features) == (2048, 2048)
    assert [layer.bias for layer in [*D.layers, *G.layers] if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)] == [
        None
    ] * 6


def test_celeba_dcgans_initial_weights_are_n_0_002() -> None:
    torch.manual_seed(0)
    for network in (celeba_dcgan.discriminator(3, 32, 64), celeba_dcgan.generator(100, 3, 32, 64)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.07)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (64, 1)])
def test_celeba_dcgans_output_shapes(size: int, channels: int) -> None:
    images = celeba_dcgan.generator(9, channels, size, 4)(torch.randn(3, 9))
    assert images.shape == (3, channels, size, size) and images.abs().max() <= 1
    assert celeba_dcgan.discriminator(channels, size, 4)(images).shape == (3,)


def test_mlps_parameter_counts_are_as_documented() -> None:
    assert parameter_count(mlp.discriminator(1, 28, 64)) == 267_009
    assert parameter_count(mlp.generator(64, 1, 28, 64)) == 283_920


def test_mlp_has_the_originals_layers() -> None:
    D, G = mlp.discriminator(1, 28, 64), mlp.generator(64, 1, 28, 64)
    assert kinds(D.layers) == ["Flatten", "Linear", "LeakyReLU", "Linear", "LeakyReLU", "Linear"]
    assert kinds(G.layers) == ["Linear", "ReLU", "Linear", "ReLU", "Linear", "Tanh", "Unflatten"]
    assert all(layer.negative_slope == 0.2 for layer in D.layers if isinstance(layer, nn.LeakyReLU))


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (30, 3)])
def test_mlps_output_shapes(size: int, channels: int) -> None:
    images = mlp.generator(9, channels, size, 4)(torch.randn(3, 9))
    assert images.shape == (3, channels, size, size) and images.abs().max() <= 1
    assert mlp.discriminator(channels, size, 4)(images).shape == (3,)


@pytest.mark.parametrize("module", [celeba_dcgan, mlp, r3gan])
def test_labels_are_refused_without_class_conditioning(module) -> None:
    with pytest.raises(GanealogyError, match="has no class conditioning; set labels: false, or use dcgan or sngan"):
        module.generator(8, 3, 32, 8, 10)
    with pytest.raises(GanealogyError, match="has no class conditioning"):
        module.discriminator(3, 32, 8, 10)
