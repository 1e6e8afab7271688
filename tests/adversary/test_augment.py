"""Augmentations: one draw per image, differentiable, with the given strength."""

from __future__ import annotations

import pytest
import torch

from ganealogy.adversary.augment import _transforms, ada, diffaugment, instance_noise

SIZE = 16


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pictures(count: int = 64, channels: int = 3) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, SIZE, SIZE, generator=rng, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("name", _transforms.TRANSFORMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_has_its_own_draw(name: str, channels: int) -> None:
    same = pictures(1, channels).expand(64, -1, -1, -1)
    shown = _transforms.TRANSFORMS[name](same)
    assert shown.shape == same.shape
    assert len({tuple(picture.flatten().tolist()) for picture in shown}) > 15, "translation has 25 places"


@pytest.mark.parametrize("name", [*_transforms.TRANSFORMS, "all"])
def test_gradients_reach_the_images(name: str) -> None:
    images = pictures(4).requires_grad_()
    whole = list(_transforms.TRANSFORMS) if name == "all" else [name]
    augmentation = diffaugment.augment(policy=whole)  # type: ignore[arg-type]

    def seeded(shown: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return augmentation(shown, 0.0)

    (gradient,) = torch.autograd.grad(seeded(images).square().sum(), images)
    assert all(part.abs().sum() > 0 for part in gradient)
    nudge = torch.randn_like(images) * 1e-6
    with torch.no_grad():
        difference = (seeded(images + nudge).square().sum() - seeded(images - nudge).square().sum()) / 2
    torch.testing.assert_close((gradient * nudge).sum(), difference, rtol=1e-5, atol=1e-12)


def test_colour_stays_in_the_papers_ranges() -> None:
    grey = torch.zeros(500, 3, 2, 2, dtype=torch.float64)
    brightness = _transforms.colour(grey)[:, 0, 0, 0]
    assert -0.5 <= brightness.min() < -0.45 and 0.45 < brightness.max() <= 0.5
    level = torch.tensor([-1.0, 1.0], dtype=torch.float64).view(1, 1, 1, 2).expand(500, 3, 1, 2)
    contrast = _transforms.colour(level).std((2, 3), correction=0)[:, 0]
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5
    red = torch.tensor([1.0, -0.5, -0.5], dtype=torch.float64).view(1, 3, 1, 1).expand(500, 3, 2, 2)
    shown = _transforms.colour(red)
    saturation = (shown - shown.mean(1, keepdim=True))[:, 0, 0, 0]  # times contrast
    assert saturation.min() < 0.1 and 2.5 < saturation.max() <= 3.0 and saturation.min() >= 0


def test_translation_moves_by_whole_pixels_and_fills_with_grey() -> None:
    images, seen = pictures(200), set()
    for before, after in zip(images, _transforms.translation(images), strict=True):
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(moved(before, down, right), after)
        ]
        assert len(found) == 1
        seen.update(found)
    assert len(seen) == 25, "every shift of up to an eighth, either way"


def moved(picture: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Negative padding crops."""
    return torch.nn.functional.pad(picture, (right, -right, down, -down))


def test_cutout_takes_one_square_of_half_the_side() -> None:
    cut = _transforms.cutout(torch.ones(500, 1, SIZE, SIZE, dtype=torch.float64))[:, 0] == 0
    for hole in cut:
        rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
        assert hole.sum() == len(rows) * len(columns), "a rectangle"
        assert 4 <= len(rows) <= 8 and 4 <= len(columns) <= 8
    assert (cut.any(2).sum(1) == 8).any() and cut[:, 0, 0].any() and cut[:, -1, -1].any()


def test_a_probability_selects_that_fraction_of_images() -> None:
    images = pictures()
    torch.manual_seed(0)
    assert diffaugment.augment(probability=0.0)(images, 0.5) is images
    rising = diffaugment.augment(policy=["color"], probability={"from": 0.0, "to": 0.5, "shape": "linear"})
    assert torch.equal(rising(images, 0.0), images)
    changed = (rising(images, 1.0) != images).flatten(1).any(1)
    assert 20 < changed.sum() < 44


def test_ada_raises_its_probability_when_d_overfits_and_lowers_it_otherwise() -> None:
    adaptive = ada.augment(share=0.2, interval=4)
    sure, unsure, done = torch.ones(50), torch.tensor([1.0, -1.0]).repeat(25), iter(range(1000))

    def observe(logits: torch.Tensor) -> dict[str, torch.Tensor]:
        return adaptive.observe(logits, next(done) / 100)

    for _ in range(3):
        observe(sure)
    assert adaptive.probability == 0, "before the interval is over"
    shown = observe(sure)
    assert adaptive.probability == pytest.approx(0.15) == shown["augment_probability"], "3 % of the budget"
    for _ in range(4):
        observe(unsure)
    assert adaptive.probability == 0
    for _ in range(100):
        observe(sure)
    assert adaptive.probability == 1
    again = ada.augment()
    again.load_state_dict(adaptive.state_dict())
    assert again.probability == 1 and again.adjusted == adaptive.adjusted > 1
    assert not torch.allclose(again(pictures(), 0.0), pictures())
    torch.testing.assert_close(ada.augment()(pictures(), 0.0), pictures(), msg="it starts with none")


def test_instance_noise_fades() -> None:
    noise, images = instance_noise.augment(), pictures(200)
    torch.manual_seed(0)
    assert (noise(images, 0.0) - images).std() == pytest.approx(0.1, rel=0.02)
    assert (noise(images, 0.5) - images).std() == pytest.approx(0.05, rel=0.02)
    assert torch.equal(noise(images, 1.0), images)
    assert instance_noise.augment(deviation=0.0)(images, 0.0) is images
