"""StyleGAN2's networks against a plain transcription of the authors' code, in float64; initialisation and counts."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from ganealogy.errors import GanealogyError
from ganealogy.networks import stylegan2
from ganealogy.networks._build import parameter_count
from ganealogy.networks.layers.noise import Noise

MAPPING_GAIN = 0.01
LATENT = 6


def lrelu(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.2 * x) * sqrt(2)


def filtered(x: torch.Tensor, before: int, after: int, gain: float = 1.0) -> torch.Tensor:
    """Pad with zeros and filter by [1, 3, 3, 1], channel by channel."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = (torch.outer(taps, taps) * gain / 64)[None, None]
    x = pad(x, (before, after, before, after))
    return torch.cat([conv2d(x[:, c : c + 1], kernel) for c in range(x.shape[1])], dim=1)


def stuffed(x: torch.Tensor) -> torch.Tensor:
    """Return a map with twice the sides and a zero after each value."""
    wide = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
    wide[:, :, ::2, ::2] = x
    return wide


def modulated(layer: stylegan2.Modulated, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Convolve each image with weights of its own: equations 1 and 3 of the paper."""
    results = []
    for image, style in zip(x.expand(len(w), -1, -1, -1), w, strict=True):
        s = layer.style.weight @ style / sqrt(len(style)) + layer.style.bias
        weight = layer.weight * s[None, :, None, None]
        if layer.demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        else:
            weight = weight / sqrt(weight[0].numel())
        if layer.up:  # as the authors' general path: filter once, with all padding, then convolve
            results.append(conv2d(filtered(stuffed(image[None]), 3, 2, gain=4), weight.flip(2, 3)))
        else:
            results.append(conv2d(image[None], weight, padding=weight.shape[-1] // 2))
    return torch.cat(results)


def mapped(G: nn.Module, z: torch.Tensor) -> torch.Tensor:
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for layer in G.mapping_layers:
        x = lrelu(x @ (layer.weight * MAPPING_GAIN / sqrt(x.shape[1])).T + layer.bias * MAPPING_GAIN)
    return x


def synthesised(G: nn.Module, ws: list[torch.Tensor], fresh: bool) -> torch.Tensor:
    """`ws`: a style (N, d) per convolution, and one for the last image layer."""
    x, images = G.constant[None].expand(len(ws[0]), -1, -1, -1), None
    convolutions, used = iter(G.layers), 0
    for to_image in G.to_images:
        for _ in range(1 if images is None else 2):
            layer = next(convolutions)
            x = modulated(layer.convolution, x, ws[used])
            noise = torch.randn(len(x), 1, *x.shape[2:], dtype=x.dtype) if fresh else layer.noise.fixed
            x = lrelu(x + layer.noise.strength * noise + layer.bias.view(1, -1, 1, 1))
            used += 1
        rgb = modulated(to_image.convolution, x, ws[used]) + to_image.bias.view(1, -1, 1, 1)
        images = rgb if images is None else rgb + filtered(stuffed(images), 2, 1, gain=4)
    assert images is not None and next(convolutions, None) is None and used + 1 == len(ws)
    return images


def judged(D: nn.Module, images: torch.Tensor) -> torch.Tensor:
    def plain(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight = layer.weight / sqrt(layer.weight[0].numel())
        return conv2d(x, weight, layer.bias, padding=weight.shape[-1] // 2)

    x = lrelu(plain(D.from_image, images))
    for block in D.blocks[:-1]:
        shortcut = plain(block.shortcut, filtered(x, 1, 1)[:, :, ::2, ::2]) * sqrt(0.5)
        x = lrelu(plain(block.first, x))
        weight = block.second.weight / sqrt(block.second.weight[0].numel())
        x = conv2d(filtered(x, 2, 2), weight, block.second.bias, stride=2)
        x = lrelu(x) * sqrt(0.5) + shortcut
    spread = ((x - x.mean(0)).square().mean(0) + 1e-8).sqrt().mean()
    x = torch.cat([x, spread.expand(len(x), 1, 4, 4)], dim=1)
    x = lrelu(plain(D.convolution, x)).flatten(1)
    x = lrelu(x @ D.hidden.weight.T / sqrt(x.shape[1]) + D.hidden.bias)
    return (x @ D.output.weight.T / sqrt(x.shape[1]) + D.output.bias)[:, 0]


def networks(size: int) -> tuple[nn.Module, nn.Module]:
    """Return both in float64, with biases and noise that matter."""
    torch.manual_seed(size)
    G = stylegan2.generator(LATENT, 3, size, 4, mapping_layers=3).double()
    D = stylegan2.discriminator(3, size, 4).double()
    with torch.no_grad():
        for parameter in (*G.parameters(), *D.parameters()):
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return G, D


def z(count: int = 5) -> torch.Tensor:
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("size", [16, 32])
def test_images_and_logits_equal_a_transcription(size: int) -> None:
    G, D = networks(size)
    with torch.no_grad():
        images = G.eval()(z())
        expected = synthesised(G, [mapped(G, z())] * G.styles, fresh=False)
        torch.testing.assert_close(images, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(D(images), judged(D, images), rtol=1e-9, atol=1e-9)
    assert images.shape == (5, 3, size, size) and images.std() > 0.1


def test_in_training_mode_styles_are_mixed_and_noise_is_fresh() -> None:
    G, _ = networks(16)
    w = mapped(G, z(40))
    with torch.no_grad():
        torch.manual_seed(3)
        images = G(z(40))
        torch.manual_seed(3)
        other = mapped(G, torch.randn(40, LATENT, dtype=torch.float64))
        cuts, mixed = torch.randint(1, 6, (40, 1))[:, 0], torch.rand(40, 1)[:, 0] < 0.9
        cuts[~mixed] = 6
        ws = [torch.where((layer >= cuts)[:, None], other, w) for layer in range(6)]
        torch.testing.assert_close(images, synthesised(G, ws, fresh=True), rtol=1e-9, atol=1e-9)
    assert 0 < (~mixed).sum() < 40 and set(cuts.tolist()) == {1, 2, 3, 4, 5, 6}
    unmixed = stylegan2.generator(LATENT, 3, 16, 4, mixing=0.0)
    styles = unmixed.style(z().float())
    assert styles.shape == (5, 6, LATENT) and torch.equal(styles, styles[:, :1].expand_as(styles))


def test_in_evaluation_mode_an_image_is_a_function_of_its_latent() -> None:
    G = networks(32)[0].eval()
    with torch.no_grad():
        images = G(z())
        torch.randn(3)
        assert torch.equal(G(z()), images)
        torch.testing.assert_close(G(z()[2:4]), images[2:4], rtol=0, atol=1e-11)
        torch.testing.assert_close(G(10 * z()), images, rtol=0, atol=1e-6)  # latents are normalised


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_scaling_maps_equals_weights_per_image(up: bool, demodulate: bool) -> None:
    torch.manual_seed(0)
    layer = stylegan2.Modulated(LATENT, 7, 5, 3, demodulate=demodulate, up=up).double()
    x = torch.randn(4, 7, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, z(4)), modulated(layer, x, z(4)), rtol=1e-9, atol=1e-9)


def test_demodulated_maps_have_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer = stylegan2.Modulated(LATENT, 64, 32, 3)
    x = torch.randn(40, 64, 16, 16)
    for strength in (0.1, 1.0, 30.0):
        with torch.no_grad():
            maps = layer(x, strength * torch.randn(40, LATENT))[:, :, 1:-1, 1:-1]  # beyond the border there are zeros
        assert maps.var().item() == pytest.approx(1.0, abs=0.03)
    plain = stylegan2.Modulated(LATENT, 64, 32, 3, demodulate=False)
    with torch.no_grad():
        assert plain(x, 30 * torch.randn(40, LATENT)).var() > 100


def test_a_layers_rate_is_equalised() -> None:
    """Weights are N(0, 1) over the rate; gradients are scaled as the output is."""
    torch.manual_seed(0)
    for rate in (1.0, 0.01):
        layer = stylegan2.Linear(100, 200, rate, bias=1.0)
        assert layer.weight.std().item() * rate == pytest.approx(1.0, rel=0.03)
        x = torch.randn(50, 100)
        output = layer(x)
        assert output.mean().item() == pytest.approx(1.0, abs=0.1) and output.std().item() == pytest.approx(1, abs=0.1)
        output[:, 0].sum().backward()
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad[0], x.sum(0) * rate / 10)
    assert [layer.rate for layer in stylegan2.generator(LATENT, 3, 16, 4).mapping_layers] == [0.01] * 8


def test_noise_is_initially_without_effect() -> None:
    G = stylegan2.generator(LATENT, 3, 16, 4, mixing=0.0)
    latents = torch.randn(3, LATENT)
    with torch.no_grad():
        assert torch.equal(G(latents), G.eval()(latents))
    assert sum(isinstance(part, Noise) for part in G.modules()) == 5


def test_parameter_counts_follow_from_the_layers() -> None:
    widths, d = [32, 64, 128, 256], 128

    def layer(c_in: int, c_out: int) -> int:
        return (d + 1) * c_in + c_in * c_out * 9 + c_out + 1  # style, weights, bias, noise

    def image(c_in: int) -> int:
        return (d + 1) * c_in + c_in * 3 + 3

    g_count = 8 * (d + 1) * d + 256 * 16 + layer(256, 256) + sum(map(image, widths))
    g_count += sum(layer(coarse, fine) + layer(fine, fine) for fine, coarse in pairwise(widths))
    d_count = (3 + 1) * 32 + (257 * 9 + 1) * 256 + (16 * 256 + 1) * 256 + 257
    d_count += sum((a * 9 + 1) * a + (a * 9 + 1) * b + a * b for a, b in pairwise(widths))
    assert (d_count, g_count) == (2_265_889, 1_490_419)
    with torch.device("meta"):
        assert parameter_count(stylegan2.generator(d, 3, 32, 64)) == g_count
        assert parameter_count(stylegan2.discriminator(3, 32, 64)) == d_count


def test_what_is_unsupported_is_refused() -> None:
    for build in (stylegan2.generator, stylegan2.discriminator):
        first = (6,) if build is stylegan2.generator else ()
        with pytest.raises(GanealogyError, match=r"stylegan2: dataset\.image_size 36 is not 4, 5, 6 or 7 doubled"):
            build(*first, 3, 36, 8)
        with pytest.raises(GanealogyError, match="stylegan2: has no class conditioning"):
            build(*first, 3, 32, 8, 10)


@pytest.mark.parametrize("size", [20, 28, 48])
def test_sides_other_than_powers_of_two(size: int) -> None:
    images = stylegan2.generator(6, 3, size, 8)(torch.randn(2, 6))
    assert images.shape == (2, 3, size, size)
    assert stylegan2.discriminator(3, size, 8)(images).shape == (2,)
