"""The EMA of G: averaged parameters, copied buffers, half-lives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganealogy.lineage.versions import read_family
from ganealogy.training.ema import EMA


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(spectral_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4))


def train(generator: nn.Module) -> None:
    """A training step: the forward pass changes buffers, the update parameters."""
    inputs = torch.randn(8, 4)
    (generator(inputs) - inputs).square().sum().backward()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter -= 0.01 * parameter.grad
            parameter.grad = None


def test_parameters_are_averaged_and_buffers_copied() -> None:
    generator = network()
    ema = EMA(generator, 100.0, half_life_kimg=0.1, ramp=None)
    means = None
    for step in range(1, 6):
        train(generator)
        ema.update(0.05 * step, 0.05, 0.0)
        decay = 0.5 ** (0.05 / 0.1)
        now = [parameter.detach().clone() for parameter in generator.parameters()]
        means = now if means is None else [decay * old + (1 - decay) * new for old, new in zip(means, now, strict=True)]
    for averaged, expected in zip(ema.generator.parameters(), means, strict=True):
        torch.testing.assert_close(averaged, expected)
    for copied, own in zip(ema.generator.buffers(), generator.buffers(), strict=True):
        assert torch.equal(copied, own)
    pairs = zip(ema.generator.parameters(), generator.parameters(), strict=True)
    assert sum(not torch.equal(averaged, own) for averaged, own in pairs) >= 3


@pytest.mark.parametrize(
    ("half_life", "ramp", "kimg", "progress", "expected"),
    [
        ({"half_life_kimg": 10.0}, None, 1.0, 0.0, 10.0),
        ({"half_life_kimg": 10.0}, 0.05, 100.0, 0.1, 5.0),
        ({"half_life_kimg": 10.0}, 0.05, 400.0, 0.1, 10.0),
        ({"half_life_kimg": {"from": 0.0, "to": 8.0, "shape": "linear", "until": 0.5}}, None, 1.0, 0.25, 4.0),
        ({"half_life_share": 0.01}, None, 100.0, 0.1, 10.0),
        ({"half_life_share": 0.01}, 0.05, 100.0, 0.1, 5.0),
        ({"half_life_share": {"from": 0.0, "to": 0.01, "shape": "linear", "until": 0.5}}, None, 1.0, 0.25, 5.0),
    ],
)
def test_the_decay_follows_the_half_life(half_life, ramp, kimg: float, progress: float, expected: float) -> None:
    ema = EMA(network(), 1000.0, **half_life, ramp=ramp)
    ema.update(kimg, 0.064, progress)
    assert ema.decay == pytest.approx(0.5 ** (0.064 / expected))


def test_a_half_life_of_zero_gives_the_generator_itself() -> None:
    generator = network()
    ema = EMA(generator, 1.0, half_life_kimg={"from": 0.0, "to": 8.0}, ramp=None)
    for _ in range(3):
        train(generator)
        ema.update(0.1, 0.1, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(ema.generator.parameters(), generator.parameters(), strict=True))


def test_the_average_continues_from_its_state_dict() -> None:
    generator = network()
    ema, other = (EMA(generator, 1.0, half_life_kimg=1.0, ramp=0.5) for _ in range(2))
    train(generator)
    ema.update(0.1, 0.1, 0.0)
    other.load_state_dict({name: tensor.clone() for name, tensor in ema.state_dict().items()})
    train(generator)
    for mean in (ema, other):
        mean.update(0.2, 0.1, 0.0)
    assert all(torch.equal(ema.state_dict()[name], tensor) for name, tensor in other.state_dict().items())


@pytest.mark.parametrize("budget_kimg", [30.0, 40_000.0])
def test_v16_averages_as_r3gan_does_on_ffhq_at_any_budget(budget_kimg: float) -> None:
    """Transcribed from the authors' code: half-life 0 to 500 kimg by a cosine over 20 Mimg, here half of the budget."""
    ema = EMA(network(), budget_kimg, **read_family(["v16"])["v16"].recipe["ema"])
    batch, span, longest = 256, 2e7, 500e3
    for share in (0.001, 0.2, 0.5, 0.9, 1.0, 1.5):  # of the span
        images = share * span
        half_life = longest * (1 - math.cos(math.pi * min(1.0, images / span))) / 2
        scale = 2 * span / (budget_kimg * 1000)  # their images per image of this budget
        ema.update(images / scale / 1000, batch / scale / 1000, share / 2)
        assert ema.decay == pytest.approx(0.5 ** (batch / half_life), rel=1e-9)
