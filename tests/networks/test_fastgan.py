"""FastGAN's generator against a plain transcription; its noise, excitations and counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate
from torch.nn.utils.parametrizations import _SpectralNorm

from ganealogy.errors import GanealogyError
from ganealogy.networks import fastgan
from ganealogy.networks._build import parameter_count
from ganealogy.networks.layers import spectral
from ganealogy.networks.layers.noise import Noise

Normalise = Callable[[nn.BatchNorm2d, torch.Tensor], torch.Tensor]


def trained(size: int) -> nn.Module:
    """Return a generator in float64 with arbitrary weights and statistics, and without parametrizations."""
    torch.manual_seed(size)
    network = fastgan.generator(5, 3, size, 4).double()
    spectral.fold(network.eval())
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, Noise):
                part.strength.copy_(torch.randn(()))
            if isinstance(part, nn.BatchNorm2d):
                part.weight.normal_(1, 0.3)
                part.bias.normal_(0, 0.3)
                part.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network


def by_statistics(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    return (x - mean.view(1, -1, 1, 1)) / (variance.view(1, -1, 1, 1) + 1e-5).sqrt()


def by_batch(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean((0, 2, 3), keepdim=True)
    return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()


def transcribed(network: nn.Module, size: int, z: torch.Tensor, normalise: Normalise, fresh: bool) -> torch.Tensor:
    """Compute the images as the paper's figures 3 and 4 do, with the weights in the order of use."""
    parts = list(network.blocks.modules())
    kernels = iter([part.weight for part in parts if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)])
    norms = iter([part for part in parts if isinstance(part, nn.BatchNorm2d)])
    noises = iter([part for part in parts if isinstance(part, Noise)])

    def noisy(x: torch.Tensor) -> torch.Tensor:
        noise = next(noises)
        return x + noise.strength * (torch.randn(len(x), 1, *x.shape[2:], dtype=x.dtype) if fresh else noise.fixed)

    def gated(x: torch.Tensor) -> torch.Tensor:
        norm = next(norms)
        x = normalise(norm, x) * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
        half = x.shape[1] // 2
        return x[:, :half] * torch.sigmoid(x[:, half:])

    def excited(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        pooled = nn.AdaptiveAvgPool2d(4)(coarse)
        first, second = [
            part.weight for part in network.excitations[str(fine.shape[-1])].modules() if isinstance(part, nn.Conv2d)
        ]
        inner = conv2d(pooled, first)
        return fine * torch.sigmoid(conv2d(inner * torch.sigmoid(inner), second))

    maps = {4: gated(conv_transpose2d(z.view(*z.shape, 1, 1), next(kernels)))}
    for side in [side for side in (8, 16, 32, 64, 128) if side <= size]:
        x = interpolate(maps[side // 2], scale_factor=2, mode="nearest")
        if side in (8, 32, 128):
            x = gated(noisy(conv2d(x, next(kernels), padding=1)))
            x = gated(noisy(conv2d(x, next(kernels), padding=1)))
        else:
            x = gated(conv2d(x, next(kernels), padding=1))
        if side == 64 or side == size < 64:
            x = excited(x, maps[4])
        if side == 128:
            x = excited(x, maps[8])
        maps[side] = x
    return torch.tanh(conv2d(maps[size], network.to_image.weight, padding=1))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_images_equal_a_transcription(size: int, training: bool) -> None:
    network = trained(size).train(training)
    z = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        torch.manual_seed(1)
        expected = transcribed(network, size, z, by_batch if training else by_statistics, fresh=training)
        torch.manual_seed(1)
        torch.testing.assert_close(network(z), expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01


def test_a_map_excites_the_one_with_sixteen_times_its_side() -> None:
    with torch.device("meta"):
        sources = {size: fastgan.generator(8, 3, size, 4).sources for size in (16, 32, 64, 128, 256, 512)}
    assert sources[16] == {16: 4} and sources[32] == {32: 4}
    assert sources[64] == {64: 4} and sources[128] == {64: 4, 128: 8}
    assert sources[512] == {64: 4, 128: 8, 256: 16, 512: 32}


def test_noise_is_fresh_in_training_and_fixed_in_evaluation() -> None:
    network = trained(32)
    z = torch.randn(7, 5, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(network(z), network(z))
        torch.testing.assert_close(network(z)[2:4], network(z[2:4]), rtol=0, atol=1e-12)
        network.train()
        assert not torch.equal(network(z), network(z))
    assert not any(part.strength for part in fastgan.generator(5, 3, 32, 4).modules() if isinstance(part, Noise))


def test_parameter_counts_follow_from_the_blocks() -> None:
    def normalised(c_in: int, c_out: int, kernel: int) -> int:
        return c_in * 2 * c_out * kernel**2 + 2 * 2 * c_out  # a GLU halves the channels after BatchNorm

    def thorough(c_in: int, c_out: int) -> int:
        return normalised(c_in, c_out, 3) + normalised(c_out, c_out, 3) + 2

    blocks = normalised(128, 256, 4) + thorough(256, 128) + normalised(128, 64, 3) + thorough(64, 32)
    count = blocks + 256 * 32 * 16 + 32 * 32 + 32 * 3 * 9
    assert count == 2_271_588
    with torch.device("meta"):
        assert parameter_count(fastgan.generator(128, 3, 32, 64)) == count


def test_every_convolution_has_spectral_norm() -> None:
    network = fastgan.generator(8, 3, 128, 4)
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == 1 + 2 + 1 + 2 + 1 + 2 + 2 * 2 + 1
    assert sum(isinstance(part, _SpectralNorm) for part in network.modules()) == len(layers)
    assert all(layer.bias is None for layer in layers)


@pytest.mark.parametrize(("width", "size"), [(1, 32), (7, 32), (4, 20), (4, 48), (4, 80)])
def test_output_shapes_and_range_at_odd_widths_and_sizes(width: int, size: int) -> None:
    images = fastgan.generator(6, 1, size, width)(3 * torch.randn(3, 6))
    assert images.shape == (3, 1, size, size) and images.abs().max() <= 1


def test_what_is_unsupported_is_refused() -> None:
    with pytest.raises(GanealogyError, match=r"fastgan: dataset\.image_size 36 is not 4, 5, 6 or 7 doubled"):
        fastgan.generator(6, 3, 36, 8)
    with pytest.raises(GanealogyError, match="fastgan: has no class conditioning"):
        fastgan.generator(6, 3, 32, 8, 10)
