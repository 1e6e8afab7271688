from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from ganealogy.evaluation.extractors.pixel8 import Pixel8
from ganealogy.evaluation.kid import kid
from ganealogy.networks.generation import generate
from ganealogy.training.tracker import Tracker

LATENT = {"size": 8, "distribution": "normal"}


@pytest.fixture
def generator() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 3 * 64), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))


@pytest.fixture
def pictures() -> np.ndarray:
    """uint8 (200, 8, 8, 3)"""
    return np.random.default_rng(0).integers(0, 255, (200, 8, 8, 3), dtype=np.uint8)


def test_pixels_are_tracked_by_their_frechet_distance_alone(generator: nn.Module, pictures: np.ndarray) -> None:
    tracker = Tracker("pixel8", 40, pictures, LATENT, "cpu")
    assert tracker.measure(generator).keys() == {tracker.column} == {"fd_pixel8"}


def test_a_networks_features_are_tracked_by_kid_too(
    generator: nn.Module, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pixel8, "network", True)
    tracker = Tracker("pixel8", 40, pictures, LATENT, "cpu")
    measured = tracker.measure(generator)
    fakes = tracker.extractor.features(generate(generator, tracker.latents))
    whole = kid(fakes, tracker.features, subsets=1, size=len(tracker.features))
    assert measured["kid_pixel8"] == pytest.approx(whole.value, rel=1e-9)
