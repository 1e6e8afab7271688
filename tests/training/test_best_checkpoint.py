from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ganealogy.evaluation.extractors.pixel8 import Pixel8
from ganealogy.evaluation.metrics.kid import kid
from ganealogy.sampling.generate import generate
from ganealogy.training.best_checkpoint import Best, Tracker

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
    scores = tracker.scores(tracker.features_of(generator))
    assert scores.keys() == {tracker.column} == {"fd_pixel8"}


def test_a_networks_features_are_tracked_by_kid_too(
    generator: nn.Module, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pixel8, "network", True)
    tracker = Tracker("pixel8", 40, pictures, LATENT, "cpu")
    fakes = tracker.features_of(generator)
    assert np.array_equal(fakes, tracker.extractor.features(generate(generator, tracker.latents)))
    measured = tracker.scores(fakes)
    whole = kid(fakes, tracker.features, subsets=1, size=len(tracker.features))
    assert measured["kid_pixel8"] == pytest.approx(whole.value, rel=1e-9)


def test_a_conditional_generator_is_tracked_with_the_classes_of_the_training(pictures: np.ndarray) -> None:
    tracker = Tracker("pixel8", 40, pictures, LATENT, "cpu", class_counts=[150, 0, 50])
    assert torch.bincount(tracker.labels).tolist() == [30, 0, 10]


def test_the_best_checkpoint_is_the_first_with_the_lowest_score_of_a_trained_generator() -> None:
    best = Best()
    for step, score in enumerate((1.0, 2.0, 2.0, 5.0)):
        best.consider({"step": step, "score": score}, {"w": torch.tensor(score)})
    assert best.record == {"step": 1, "score": 2.0} and best.weights["w"] == 2.0


@pytest.mark.parametrize("count", [100, 30])
def test_the_shown_images_begin_with_the_trackers_own_also_where_it_has_too_few(
    generator: nn.Module, pictures: np.ndarray, count: int
) -> None:
    tracker = Tracker("pixel8", count, pictures, LATENT, "cpu", shown=35)
    features, shown = tracker.pass_of(generator)
    assert len(features) == min(count, 40) and shown.shape == (35, 8, 8, 3)
    own = generate(generator, tracker.latents)[:35]
    assert np.array_equal(shown[: len(own)], own)
    assert np.array_equal(shown, generate(generator, tracker.shown_latents))


def test_the_mean_picture_has_a_distance_of_its_own(pictures: np.ndarray) -> None:
    tracker = Tracker("pixel8", 40, pictures, LATENT, "cpu")
    mean = np.rint(pictures[-40:].mean(0)).astype(np.uint8)
    features = tracker.extractor.features(np.repeat(mean[None], 40, axis=0))
    assert tracker.of_mean == pytest.approx(tracker.distance(features), rel=1e-6) and tracker.of_mean > 0
