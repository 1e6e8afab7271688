"""SNGAN's residual networks: parameter counts, shapes, spectral norm, attention, and FLOPs relative to v1."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils.flop_counter import FlopCounterMode

from ganealogy.errors import GanealogyError
from ganealogy.lineage.versions import read_family
from ganealogy.networks import dcgan, sngan
from ganealogy.networks._build import parameter_count


def doubling(inner: int, outer: int) -> int:
    """Return its parameters: two 3x3 convolutions and a 1x1, all with biases, and two BatchNorms."""
    return (inner * 9 + 1) * outer + (outer * 9 + 1) * outer + (inner + 1) * outer + 2 * inner + 2 * outer


def halving(inner: int, outer: int) -> int:
    return (inner * 9 + 1) * outer + (outer * 9 + 1) * outer + (inner + 1) * outer


def test_parameter_counts_follow_from_the_blocks() -> None:
    g_count = (128 + 1) * 4096 + doubling(256, 128) + doubling(128, 64) + doubling(64, 32) + 2 * 32 + (32 * 9 + 1) * 3
    d_count = halving(3, 32) + halving(32, 64) + halving(64, 128) + 2 * (128 * 9 + 1) * 128 + 129
    assert (d_count, g_count) == (592_865, 1_154_947)
    with torch.device("meta"):
        assert parameter_count(sngan.generator(128, 3, 32, 64)) == g_count
        assert parameter_count(sngan.discriminator(3, 32, 64)) == d_count
        # At the map of 16x16, G has 64 channels and D 32: four 1x1 convolutions to and from an eighth, and the gate.
        assert parameter_count(sngan.generator(128, 3, 32, 64, attention=16)) == g_count + 4 * 64 * 8 + 1
        assert parameter_count(sngan.discriminator(3, 32, 64, attention=16)) == d_count + 4 * 32 * 4 + 1


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (28, 1), (32, 1), (48, 3)])
@pytest.mark.parametrize("classes", [0, 5])
def test_output_shapes_and_range(size: int, channels: int, classes: int) -> None:
    labels = (torch.tensor([0, 4, 2]),) if classes else ()
    images = sngan.generator(12, channels, size, 4, classes)(torch.randn(3, 12), *labels)
    assert images.shape == (3, channels, size, size) and images.abs().max() <= 1
    assert sngan.discriminator(channels, size, 4, classes)(images, *labels).shape == (3,)


def test_every_layer_d_count_has_spectral_norm_one() -> None:
    torch.manual_seed(0)
    network = sngan.discriminator(3, 32, 8, attention=16)
    for _ in range(80):
        network(torch.randn(2, 3, 32, 32))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3 * 3 + 2 + 4 + 1
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() == pytest.approx(1.0, abs=0.02)
    assert not any("parametrizations" in name for name, _ in sngan.generator(12, 3, 32, 8).named_parameters())


def test_every_layer_of_g_has_spectral_norm_one_if_it_is_asked_for() -> None:
    """As in SAGAN's code: convolutions, the linear layer and the attention, and not BatchNorm."""
    torch.manual_seed(0)
    plain = sngan.generator(12, 3, 32, 8, attention=16)
    assert not any(isinstance(module, _SpectralNorm) for module in plain.modules())
    network = sngan.generator(12, 3, 32, 8, attention=16, spectral=True)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3 * 3 + 4 + 1 + 1
    for _ in range(100):
        network(torch.randn(2, 12))
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() == pytest.approx(1.0, abs=0.02)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(hasattr(norm, "parametrizations") for norm in norms)
    recipe = read_family(["v14"])["v14"].recipe
    assert recipe["generator"]["spectral"] and recipe["discriminator"]["norm"] == "spectral"


def test_initially_attention_changes_nothing() -> None:
    """The gate is 0 at the first step."""
    plain, attentive = sngan.generator(12, 3, 32, 8), sngan.generator(12, 3, 32, 8, attention=16)
    convolutions = [[m for m in net.modules() if not isinstance(m, sngan.SelfAttention)] for net in (plain, attentive)]
    with torch.no_grad():
        attention = {id(p) for m in attentive.modules() if isinstance(m, sngan.SelfAttention) for p in m.parameters()}
        shared = [parameter for parameter in attentive.parameters() if id(parameter) not in attention]
        for source, target in zip(plain.parameters(), shared, strict=True):
            target.copy_(source)
    assert len(convolutions[1]) > len(convolutions[0])  # the four 1x1 convolutions
    z = torch.randn(4, 12)
    assert torch.equal(plain(z), attentive(z))


def test_attention_without_a_map_of_its_size_is_refused() -> None:
    with pytest.raises(GanealogyError, match=r"no feature map for attention has a side of 16 .* there are 7, 14"):
        sngan.discriminator(1, 28, 8, attention=16)
    with pytest.raises(GanealogyError, match=r"side of 16 .* there are 4, 8"):
        sngan.discriminator(3, 16, 8, attention=16)


@pytest.mark.parametrize("size", [32, 64])
def test_a_step_needs_at_most_four_times_v1s_flops(size: int) -> None:
    def flops(generator: nn.Module, discriminator: nn.Module) -> float:
        with FlopCounterMode(display=False) as counted:
            with torch.no_grad():
                fakes = generator(torch.zeros(2, 128))
            (discriminator(torch.zeros_like(fakes)).mean() + discriminator(fakes).mean()).backward()
            discriminator.requires_grad_(False)
            discriminator(generator(torch.zeros(2, 128))).mean().backward()
        return float(counted.get_total_flops())

    ours = flops(sngan.generator(128, 3, size, 16), sngan.discriminator(3, size, 16))
    attentive = flops(sngan.generator(128, 3, size, 16, attention=16), sngan.discriminator(3, size, 16, attention=16))
    v1 = flops(dcgan.generator(128, 3, size, 16), dcgan.discriminator(3, size, 16))
    assert ours < 4 * v1 and attentive < 4 * v1
