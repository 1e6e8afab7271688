"""Spectral norm is torch's; on the meta device it has no power iteration."""

from __future__ import annotations

import torch
from torch.nn.utils.parametrizations import _SpectralNorm

from ganealogy.networks import sngan
from ganealogy.networks._build import parameter_count
from ganealogy.networks.layers import spectral


def test_spectral_norm_is_registered_on_the_meta_device_too() -> None:
    with torch.device("meta"):
        planned = sngan.discriminator(3, 128, 64, 10, attention=16)
    real = sngan.discriminator(3, 128, 64, 10, attention=16)
    names = [
        [name for name, module in net.named_modules() if isinstance(module, _SpectralNorm)] for net in (planned, real)
    ]
    assert names[0] == names[1] and len(names[0]) == 5 * 3 + 2 + 4 + 1 + 1
    assert parameter_count(planned) == parameter_count(real)
    assert {n: t.shape for n, t in planned.state_dict().items()} == {n: t.shape for n, t in real.state_dict().items()}


def test_folding_changes_no_bit_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    network = sngan.generator(12, 3, 32, 4, attention=16, spectral=True)
    network(torch.randn(8, 12))
    network.eval()
    z = torch.randn(3, 12)
    expected = network(z)
    names = {name for name, _ in sngan.generator(12, 3, 32, 4, attention=16).named_parameters()}
    assert torch.equal(spectral.fold(network)(z), expected)
    assert {name for name, _ in network.named_parameters()} == names and not any(
        isinstance(module, _SpectralNorm) for module in network.modules()
    )
