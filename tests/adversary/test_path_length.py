"""Path length against Jacobians, its running mean, and its gradient at G's weights by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from ganealogy.adversary.generator_penalties._base import GeneratorStep
from ganealogy.adversary.generator_penalties.path_length import PathLength

LATENT, LAYERS, NUDGE = 4, 3, 1e-6


class Smooth(nn.Module):
    """A smooth G with a style per layer: (N, d) → (N, L, d) → (N, 2, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(LATENT, LATENT), nn.Linear(LAYERS * LATENT, 72)

    def style(self, latents: torch.Tensor) -> torch.Tensor:
        w: torch.Tensor = self.first(latents).tanh()
        return w[:, None].expand(-1, LAYERS, -1)

    def synthesise(self, w: torch.Tensor) -> torch.Tensor:
        scaled = w * torch.arange(1.0, LAYERS + 1, dtype=w.dtype)[:, None]
        images: torch.Tensor = self.second(scaled.flatten(1)).sin().view(-1, 2, 6, 6)
        return images


@pytest.fixture
def generator() -> Smooth:
    torch.manual_seed(0)
    return Smooth().double()


def step(generator: Smooth, progress: float = 0.0) -> GeneratorStep:
    latents = torch.randn(7, LATENT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return GeneratorStep(generator, latents, progress)


def lengths(generator: Smooth) -> list[float]:
    """Image by image, from the whole Jacobian; four of seven latents, half of them rounded up."""
    noise = torch.randn(4, 2, 6, 6, dtype=torch.float64) / 6
    found = []
    for w, y in zip(generator.style(step(generator).latents[:4]), noise, strict=True):
        whole = jacobian(lambda style: generator.synthesise(style[None])[0], w)  # (2, 6, 6, L, d)
        product = torch.einsum("chwld,chw->ld", whole, y)
        found.append(product.square().sum(1).mean().sqrt().item())
    return found


def test_it_equals_the_definition_and_keeps_a_running_mean(generator: Smooth) -> None:
    penalty, mean = PathLength(weight=3.0, decay=0.9).double(), 0.0
    for seed in range(3):
        torch.manual_seed(seed)
        expected = lengths(generator)
        mean = 0.9 * mean + 0.1 * sum(expected) / 4
        torch.manual_seed(seed)
        value = penalty(step(generator))
        assert value.item() == pytest.approx(3 * sum((length - mean) ** 2 for length in expected) / 4, rel=1e-9)
        assert penalty.mean.item() == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("layer", ["first", "second"])
def test_its_gradient_at_the_weights_equals_finite_differences(generator: Smooth, layer: str) -> None:
    def value() -> torch.Tensor:
        torch.manual_seed(3)
        penalty = PathLength(decay=1.0).double()  # a constant mean
        penalty.mean.fill_(0.5)
        return penalty(step(generator))

    weight = getattr(generator, layer).weight
    (gradient,) = torch.autograd.grad(value(), weight)
    for index in [(0, 0), (3, 2)]:
        ends = []
        for nudge in (NUDGE, -NUDGE):
            with torch.no_grad():
                weight[index] += nudge
            ends.append(value().item())
            with torch.no_grad():
                weight[index] -= nudge
        assert gradient[index].item() == pytest.approx((ends[0] - ends[1]) / (2 * NUDGE), rel=1e-4, abs=1e-8)


def test_its_weight_follows_a_schedule(generator: Smooth) -> None:
    values = []
    for progress in (0.0, 1.0):
        torch.manual_seed(0)
        penalty = PathLength(weight={"from": 2.0, "to": 0.5}).double()
        values.append(penalty(step(generator, progress)).item())
    assert values[1] == pytest.approx(values[0] / 4)
