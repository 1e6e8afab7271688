"""Spectral norm is torch's; on the meta device it has no power iteration."""

from __future__ import annotations

import torch
from torch.nn.utils.parametrizations import _SpectralNorm

from ganealogy.networks import sngan
from ganealogy.networks._build import parameter_count


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
