"""R3GAN's networks: their initialisation replaces normalisation."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.networks import r3gan
from ganealogy.networks._build import parameter_count


def block(channels: int) -> int:
    """Return its parameters: 1x1 to twice the channels and grouped 3x3 with biases, 1x1 back without."""
    inner = 2 * channels
    return (channels + 1) * inner + (16 * 9 + 1) * inner + inner * channels


def test_parameter_counts_follow_from_the_blocks() -> None:
    widths = [32, 64, 128, 256]
    blocks = 2 * sum(block(width) for width in widths)
    changes = sum(inner * outer for inner, outer in pairwise(widths))
    g_count = blocks + changes + 256 * 16 + 64 * 256 + 32 * 3
    d_count = blocks + changes + 256 * 16 + 256 + 3 * 32
    assert (d_count, g_count) == (1_024_096, 1_040_224)
    with torch.device("meta"):
        assert parameter_count(r3gan.generator(64, 3, 32, 64)) == g_count
        assert parameter_count(r3gan.discriminator(3, 32, 64)) == d_count
        assert parameter_count(r3gan.discriminator(3, 64, 64)) == 3_555_680
        assert parameter_count(r3gan.generator(64, 3, 64, 64)) == 3_587_936


@pytest.mark.parametrize("size", [16, 28, 32, 48])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [4, 7, 24])
def test_output_shapes(size: int, channels: int, width: int) -> None:
    images = r3gan.generator(6, channels, size, width)(torch.randn(3, 6))
    assert images.shape == (3, channels, size, size)
    assert r3gan.discriminator(channels, size, width)(images).shape == (3,)


@pytest.mark.parametrize("size", [8, 36, 100])
def test_an_unsupported_image_size_is_refused(size: int) -> None:
    with pytest.raises(GanealogyError, match=f"r3gan: dataset.image_size {size} is not 4, 5, 6 or 7 doubled"):
        r3gan.generator(6, 3, size, 8)


def test_a_block_is_initially_the_identity_and_has_a_gradient() -> None:
    layer = r3gan.Block(16, blocks=8)
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert layer.narrow.weight.grad is not None and layer.narrow.weight.grad.abs().max() > 0


def test_a_block_has_twice_the_channels_inside_and_groups_of_sixteen() -> None:
    layer = r3gan.Block(32, blocks=8)
    assert (layer.widen.out_channels, layer.mix.groups, layer.mix.weight.shape) == (64, 4, (64, 16, 3, 3))
    assert layer.widen.bias is not None and layer.mix.bias is not None and layer.narrow.bias is None


def test_initial_weights_are_hes_scaled_by_the_number_of_blocks() -> None:
    torch.manual_seed(0)
    layer = r3gan.Block(128, blocks=8)
    gain = math.sqrt(2 / (1 + 0.2**2)) * 8 ** (-1 / 4)
    assert layer.widen.weight.std().item() == pytest.approx(gain / math.sqrt(128), rel=0.02)
    assert layer.mix.weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.02)
    assert not layer.narrow.weight.any() and not layer.widen.bias.any() and not layer.mix.bias.any()


def test_initial_images_have_about_the_variance_of_the_latents() -> None:
    """Linear layer, basis and 1x1 convolutions preserve it; smoothing reduces it."""
    torch.manual_seed(0)
    generator = r3gan.generator(64, 3, 32, 64)
    with torch.no_grad():
        basis = generator.layers[0](torch.randn(500, 64))
        assert basis.shape == (500, 256, 4, 4) and basis.var().item() == pytest.approx(1.0, abs=0.1)
        images = generator(torch.randn(200, 64))
    assert 0.2 < images.var().item() < 1.2


def test_there_is_no_tanh_and_no_normalisation() -> None:
    torch.manual_seed(0)
    generator, discriminator = r3gan.generator(64, 3, 32, 32), r3gan.discriminator(3, 32, 32)
    with torch.no_grad():
        assert generator(3 * torch.randn(50, 64)).abs().max() > 1
    normalising = nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm2d | nn.Tanh
    assert not any(isinstance(layer, normalising) for net in (generator, discriminator) for layer in net.modules())
    assert not any("parametrizations" in name for name, _ in discriminator.named_parameters())


def test_a_logit_does_not_depend_on_the_batchs_other_images() -> None:
    discriminator = r3gan.discriminator(3, 16, 16)
    images = torch.randn(4, 3, 16, 16)
    assert torch.allclose(discriminator(images)[:1], discriminator(images[:1]), atol=1e-5)
