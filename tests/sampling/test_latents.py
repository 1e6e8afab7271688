"""Latents are the same for everyone who asks with the same seed, and walks stay where G was trained."""

from __future__ import annotations

import torch

from ganealogy.sampling import latents

NORMAL = {"size": 64, "distribution": "normal"}
UNIFORM = {"size": 64, "distribution": "uniform"}


def test_draws_depend_on_the_seed_alone() -> None:
    first = latents.sample_latents(NORMAL, 5, seed=3)
    torch.manual_seed(99)
    assert torch.equal(first, latents.sample_latents(NORMAL, 5, seed=3))
    assert not torch.equal(first, latents.sample_latents(NORMAL, 5, seed=4))


def test_distributions() -> None:
    uniform, normal = latents.sample_latents(UNIFORM, 2000, 1), latents.sample_latents(NORMAL, 2000, 1)
    assert uniform.min() >= -1 and uniform.max() <= 1 and abs(uniform.std() - 3**-0.5) < 0.01
    assert abs(normal.std() - 1) < 0.01


def test_a_walk_passes_its_anchors_and_keeps_their_length() -> None:
    anchors = latents.sample_latents(NORMAL, 3, 7)
    walk = latents.interpolate(NORMAL, anchors, frames=9)
    assert torch.allclose(walk[[0, 4, 8]], anchors, atol=1e-5)
    assert walk.norm(dim=1).min() > 0.95 * anchors.norm(dim=1).min(), "a straight line would lose a third"


def test_a_closed_walk_comes_round() -> None:
    anchors = latents.sample_latents(UNIFORM, 4, 7)
    walk = latents.interpolate(UNIFORM, anchors, frames=16, closed=True)
    assert walk.shape == (16, 64)
    assert torch.allclose(walk[0], anchors[0]) and torch.allclose(walk[12], anchors[3], atol=1e-6)
    steps = (walk.roll(-1, 0) - walk).norm(dim=1)
    assert steps.max() < 2 * steps.min(), "no jump at the seam"
