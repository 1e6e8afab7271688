"""Latents depend on the seed alone, and interpolations keep the length of the training's latents."""

from __future__ import annotations

import torch

from ganealogy.sampling import latents

NORMAL = {"size": 64, "distribution": "normal"}
UNIFORM = {"size": 64, "distribution": "uniform"}


def test_samples_depend_on_the_seed_alone() -> None:
    first = latents.sample_latents(NORMAL, 5, seed=3)
    torch.manual_seed(99)
    assert torch.equal(first, latents.sample_latents(NORMAL, 5, seed=3))
    assert not torch.equal(first, latents.sample_latents(NORMAL, 5, seed=4))


def test_samples_have_the_given_distribution() -> None:
    uniform, normal = latents.sample_latents(UNIFORM, 2000, 1), latents.sample_latents(NORMAL, 2000, 1)
    assert uniform.min() >= -1 and uniform.max() <= 1 and abs(uniform.std() - 3**-0.5) < 0.01
    assert abs(normal.std() - 1) < 0.01


def test_an_interpolation_passes_its_anchors_and_keeps_their_length() -> None:
    anchors = latents.sample_latents(NORMAL, 3, 7)
    path = latents.interpolate(NORMAL, anchors, frames=9)
    assert torch.allclose(path[[0, 4, 8]], anchors, atol=1e-5)
    assert path.norm(dim=1).min() > 0.95 * anchors.norm(dim=1).min(), "a straight line would lose a third"


def test_a_closed_interpolation_returns_to_its_first_anchor() -> None:
    anchors = latents.sample_latents(UNIFORM, 4, 7)
    path = latents.interpolate(UNIFORM, anchors, frames=16, closed=True)
    assert path.shape == (16, 64)
    assert torch.allclose(path[0], anchors[0]) and torch.allclose(path[12], anchors[3], atol=1e-6)
    steps = (path.roll(-1, 0) - path).norm(dim=1)
    assert steps.max() < 2 * steps.min(), "no jump at the seam"
