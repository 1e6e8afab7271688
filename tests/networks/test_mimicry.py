"""Mimicry's networks: parameter counts, initial weights, and each forward pass against plain functions in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, interpolate, linear

from ganealogy.errors import GanealogyError
from ganealogy.networks import mimicry
from ganealogy.networks._build import parameter_count


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def convolution(inner: int, outer: int, kernel: int) -> int:
    return (inner * kernel**2 + 1) * outer


def test_parameter_counts_follow_from_the_published_layers() -> None:
    """G: linear 128 to 4x4x256, three blocks of 256, BatchNorm, 3x3. D: four blocks of 128, linear."""
    doubling = 2 * convolution(256, 256, 3) + convolution(256, 256, 1) + 2 * 2 * 256
    g_count = (128 + 1) * 16 * 256 + 3 * doubling + 2 * 256 + convolution(256, 3, 3)
    first = convolution(3, 128, 3) + convolution(128, 128, 3) + convolution(3, 128, 1)
    halving = 2 * convolution(128, 128, 3) + convolution(128, 128, 1)
    d_count = first + halving + 2 * 2 * convolution(128, 128, 3) + 129
    assert (d_count, g_count) == (1_053_825, 4_276_739)
    with torch.device("meta"):
        assert parameter_count(mimicry.generator(128, 3, 32, 128)) == g_count
        assert parameter_count(mimicry.discriminator(3, 32, 128)) == d_count
        assert parameter_count(mimicry.discriminator(3, 32, 128, norm="none", levels="unit")) == d_count


def varied(network: nn.Module) -> dict[str, Tensor]:
    """Give every parameter and statistic a value of its own, and return them: BatchNorm begins as the identity."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point() and not name.endswith(("_u", "_v")):
                value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value) / 3)
    return network.state_dict()


@pytest.mark.parametrize("levels", ["symmetric", "unit"])
def test_the_generator_equals_its_transcription(levels: mimicry.Levels, in_float64: None) -> None:
    G = mimicry.generator(7, 3, 16, 4, levels=levels)
    of, z = varied(G), torch.randn(5, 7)

    def conv(name: str, x: Tensor) -> Tensor:
        weight = of[f"{name}.weight"]
        return conv2d(x, weight, of[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(name: str, x: Tensor, training: bool) -> Tensor:
        mean, var = of[f"{name}.running_mean"].clone(), of[f"{name}.running_var"].clone()
        return batch_norm(x, mean, var, of[f"{name}.weight"], of[f"{name}.bias"], training, 0.1, 1e-5)

    def up(x: Tensor) -> Tensor:
        return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def forward(training: bool) -> Tensor:
        h = linear(z, of["linear.weight"], of["linear.bias"]).view(5, -1, 4, 4)
        for block in ("blocks.0", "blocks.1"):
            r = conv(f"{block}.conv1", up(norm(f"{block}.norm1", h, training).clamp(min=0)))
            r = conv(f"{block}.conv2", norm(f"{block}.norm2", r, training).clamp(min=0))
            h = r + conv(f"{block}.shortcut", up(h))
        h = conv("to_image", norm("norm", h, training).clamp(min=0))
        return torch.tanh(h) if levels == "symmetric" else torch.sigmoid(h) / 0.5 - 1

    for training in (False, True):
        expected = forward(training)  # before ours, which moves the statistics
        assert (G.train(training)(z) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("norm", ["none", "spectral"])
@pytest.mark.parametrize("levels", ["symmetric", "unit"])
def test_the_discriminator_equals_its_transcription(levels: mimicry.Levels, norm: str, in_float64: None) -> None:
    D = mimicry.discriminator(3, 16, 4, norm=norm, levels=levels).eval()  # type: ignore[arg-type]
    varied(D)
    of = {name: layer for name, layer in D.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    x = torch.rand(5, 3, 16, 16) * 2 - 1

    def weight(name: str) -> Tensor:
        layer = of[name]
        if norm == "none":
            return layer.weight
        raw, iteration = layer.parametrizations.weight.original, layer.parametrizations.weight[0]  # type: ignore[union-attr, index]
        return raw / (iteration._u @ raw.flatten(1) @ iteration._v)

    def conv(name: str, x: Tensor) -> Tensor:
        kernel = weight(name)
        return conv2d(x, kernel, of[name].bias, padding=kernel.shape[-1] // 2)

    h = x if levels == "symmetric" else x / 2 + 0.5
    r = conv("layers.0.conv2", conv("layers.0.conv1", h).clamp(min=0))
    h = avg_pool2d(r, 2) + conv("layers.0.shortcut", avg_pool2d(h, 2))
    h = h.clamp(min=0)  # in place in Mimicry, hence in front of the shortcut
    r = conv("layers.1.conv2", conv("layers.1.conv1", h).clamp(min=0))
    h = avg_pool2d(r, 2) + avg_pool2d(conv("layers.1.shortcut", h), 2)
    for block in ("layers.2", "layers.3"):
        h = h.clamp(min=0)
        h = conv(f"{block}.conv2", conv(f"{block}.conv1", h).clamp(min=0)) + h
    expected = linear(h.clamp(min=0).sum((2, 3)), weight("linear"), of["linear"].bias).view(-1)
    torch.testing.assert_close(D(x), expected, rtol=1e-11, atol=1e-12)


def test_initial_weights_are_glorots_and_biases_are_pytorchs() -> None:
    torch.manual_seed(0)
    G, D = mimicry.generator(128, 3, 32, 32), mimicry.discriminator(3, 32, 32, norm="none")
    block, same = G.blocks[0], D.layers[3]
    assert isinstance(block, mimicry.UpBlock) and isinstance(same, mimicry.SameSizeBlock)
    for layer, fans, gain in (
        (block.conv1, 9 * (64 + 64), 2**0.5),
        (same.conv2, 9 * (32 + 32), 2**0.5),
        (block.shortcut, 64 + 64, 1.0),
        (G.to_image, 9 * (64 + 3), 1.0),
        (G.linear, 128 + 64 * 16, 1.0),
    ):
        bound = gain * (6 / fans) ** 0.5
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.02)
    assert block.conv1.bias.abs().max().item() == pytest.approx((9 * 64) ** -0.5, rel=0.1)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (48, 3)])
def test_output_shapes_and_range(size: int, channels: int) -> None:
    images = mimicry.generator(9, channels, size, 4)(torch.randn(3, 9))
    assert images.shape == (3, channels, size, size) and images.abs().max() <= 1
    assert mimicry.discriminator(channels, size, 4)(images).shape == (3,)


def test_other_sizes_and_labels_are_refused() -> None:
    with pytest.raises(GanealogyError, match=r"mimicry: dataset\.image_size 30 is not 4, 5, 6 or 7 doubled"):
        mimicry.discriminator(3, 30, 4)
    with pytest.raises(GanealogyError, match="mimicry: has no class conditioning"):
        mimicry.generator(8, 3, 32, 8, 10)
