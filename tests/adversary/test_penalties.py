"""Penalties and their gradients at D's weights against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ganealogy import components
from ganealogy.adversary.augment.diffaugment import augment
from ganealogy.adversary.penalties import bcr
from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty

BATCH, STEP = 3, 1e-6


class Smooth(nn.Module):
    """A smooth D, as finite differences need: (N, C, H, W) → (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.Softplus(), nn.Flatten(), nn.Linear(36, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).flatten()


@pytest.fixture
def discriminator() -> nn.Module:
    torch.manual_seed(0)
    return Smooth().double()


def images(seed: int) -> torch.Tensor:
    return torch.randn(BATCH, 2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(name: str, **options: Any) -> Penalty:
    return components.load("adversary.penalties", name).penalty(**options)


def d_step(
    discriminator: nn.Module, discriminate: Callable[[torch.Tensor], torch.Tensor] | None = None, progress=0.0
) -> DiscriminatorStep:
    discriminate = discriminate or discriminator
    reals, fakes = images(1).requires_grad_(), images(2).requires_grad_()
    return DiscriminatorStep(discriminate, reals, fakes, discriminate(reals), discriminate(fakes), progress)


def slopes(discriminate: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """Return (N,): the norm of each image's gradient by central differences, pixel by pixel."""
    total = torch.zeros(len(at), dtype=torch.float64)
    with torch.no_grad():
        for pixel in range(at[0].numel()):
            nudge = torch.zeros_like(at[0]).flatten()
            nudge[pixel] = STEP
            nudge = nudge.view_as(at[0])
            total += ((discriminate(at + nudge) - discriminate(at - nudge)) / (2 * STEP)) ** 2
    return total.sqrt()


def between() -> torch.Tensor:
    torch.manual_seed(3)
    share = torch.rand(BATCH, 1, 1, 1, dtype=torch.float64)
    return share * images(1) + (1 - share) * images(2)


def near() -> torch.Tensor:
    """The authors' X + alpha (X_p - X), where X_p = X + 0.5 X.std() U(0, 1) and numpy's std divides by N."""
    torch.manual_seed(3)
    perturbed = images(1) + 0.5 * images(1).numpy().std() * torch.rand(BATCH, 2, 8, 8, dtype=torch.float64)
    alpha = torch.rand(BATCH, 1, 1, 1, dtype=torch.float64)
    return images(1) + alpha * (perturbed - images(1))


VALUES: dict[str, tuple[dict[str, Any], Callable[[nn.Module], torch.Tensor]]] = {
    "gradient_penalty": ({"weight": 10.0}, lambda D: 10 * (slopes(D, between()) - 1).square().mean()),
    "dragan": ({"weight": 10.0}, lambda D: 10 * (slopes(D, near()) - 1).square().mean()),
    "r1": ({"gamma": 2.0}, lambda D: slopes(D, images(1)).square().mean()),
    "r2": ({"gamma": 2.0}, lambda D: slopes(D, images(2)).square().mean()),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_penalty_equals_finite_differences(discriminator: nn.Module, name: str) -> None:
    options, expected = VALUES[name]
    torch.manual_seed(3)
    value = made(name, **options)(d_step(discriminator))
    torch.testing.assert_close(value, expected(discriminator), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [*VALUES, "bcr", "lecam"])
def test_its_gradient_at_the_weights_equals_finite_differences(discriminator: nn.Module, name: str) -> None:
    def value() -> torch.Tensor:
        torch.manual_seed(3)
        return made(name)(d_step(discriminator))

    weight = discriminator.layers[0].weight
    if name == "lecam":  # its anchors move with the weights; as constants they are what is differentiated
        penalty = made(name)
        penalty.anchors.copy_(torch.tensor([0.3, -0.2]))
        penalty.decay = 1.0
        value = lambda: penalty(d_step(discriminator, progress=0.5))  # noqa: E731
    (gradient,) = torch.autograd.grad(value(), weight)
    for index in [(0, 0, 0, 0), (2, 1, 1, 2), (3, 0, 2, 1)]:
        ends = []
        for nudge in (STEP, -STEP):
            with torch.no_grad():
                weight[index] += nudge
            ends.append(value().item())
            with torch.no_grad():
                weight[index] -= nudge
        difference = (ends[0] - ends[1]) / (2 * STEP)
        assert gradient[index].item() == pytest.approx(difference, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", components.known("adversary.penalties"))
def test_a_d_of_several_equal_judges_has_the_penalty_of_one(discriminator: nn.Module, name: str) -> None:
    values = []
    for judges in (discriminator, lambda shown: discriminator(shown)[:, None].expand(-1, 3)):
        torch.manual_seed(3)
        values.append(made(name)(d_step(discriminator, judges, progress=0.5)).item())
    assert values[1] == pytest.approx(values[0]) and values[0] > 0


def test_r1_differentiates_through_the_augmentation_at_the_original_image(discriminator: nn.Module) -> None:
    through = augment()

    def discriminate(shown: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(9)  # the same transform again, so that differences see the same function
        return discriminator(through(shown, 0.0))

    value = made("r1", gamma=2.0)(d_step(discriminator, discriminate))
    torch.testing.assert_close(value, slopes(discriminate, images(1)).square().mean(), rtol=1e-6, atol=1e-9)
    assert not torch.isclose(value, slopes(discriminator, images(1)).square().mean())


def test_weights_follow_their_schedule(discriminator: nn.Module) -> None:
    penalty = made("r1", gamma={"from": 2.0, "to": 0.5, "shape": "linear", "until": 0.5})
    start, end = penalty(d_step(discriminator)), penalty(d_step(discriminator, progress=0.75))
    torch.testing.assert_close(end, start / 4)


def test_consistency_is_zero_for_a_d_that_ignores_flips_and_shifts(discriminator: nn.Module) -> None:
    assert made("bcr")(d_step(discriminator)) > 0
    indifferent = lambda shown: shown.new_ones(len(shown), requires_grad=True)  # noqa: E731
    assert made("bcr")(d_step(discriminator, indifferent)) == 0


def test_consistency_without_flips_shifts_alone(discriminator: nn.Module) -> None:
    """Columns of one level per picture: shifts and mirrored borders change nothing, a flip swaps them."""
    halves = torch.tensor([1.0, -1.0]).repeat_interleave(8).expand(4, 3, 16, 16)
    levels = torch.arange(4.0)[:, None, None, None].expand(4, 3, 16, 16)
    torch.testing.assert_close(bcr.transformed(levels, flipped=False), levels)
    torch.manual_seed(0)
    flipped = [bcr.transformed(halves, flipped) for flipped in (True, False)]
    assert (flipped[0][:, 0, 0, 0] < 0).any() and (flipped[1][:, 0, 0, 0] > 0).all()
    assert made("bcr", flip=False).flip is False and made("bcr").flip is True


def lecam_by_the_authors(reals: list[list[float]], fakes: list[list[float]], start: int, decay: float) -> list[float]:
    """Transcribed from their training loop: iterations count from 1, and D's loss updates the means first."""
    mean_real = mean_fake = 1000.0
    values = []
    for itr, (real, fake) in enumerate(zip(reals, fakes, strict=True), start=1):
        kept = 0.0 if itr < start else decay
        mean_real = mean_real * kept + sum(real) / len(real) * (1 - kept)
        mean_fake = mean_fake * kept + sum(fake) / len(fake) * (1 - kept)
        on_reals = sum(max(0.0, score - mean_fake) ** 2 for score in real) / len(real)
        on_fakes = sum(max(0.0, mean_real - score) ** 2 for score in fake) / len(fake)
        values.append(0.3 * (on_reals + on_fakes) if itr > start else 0.0)
    return values


@pytest.mark.parametrize("on_device", [False, True])
def test_lecam_is_the_authors(discriminator: nn.Module, on_device: bool) -> None:
    """Here iteration i has progress i / 20."""
    reals, fakes = (torch.randn(20, 6, generator=torch.Generator().manual_seed(seed)).double() for seed in (1, 2))
    penalty, shown = made("lecam", start=5 / 20, decay=0.9), []
    for index in range(20):
        progress: Any = (index + 1) / 20
        if on_device:
            progress = torch.tensor(progress, dtype=torch.float64)
        step = DiscriminatorStep(discriminator, images(1), images(2), reals[index], fakes[index], progress)
        shown.append(penalty(step).item())
    expected = lecam_by_the_authors(reals.tolist(), fakes.tolist(), start=5, decay=0.9)
    assert shown == pytest.approx(expected, rel=1e-9)
    assert shown[:5] == [0.0] * 5 and all(value > 0 for value in shown[5:])
    again = made("lecam")
    again.load_state_dict(penalty.state_dict())
    assert torch.equal(again.anchors, penalty.anchors)
