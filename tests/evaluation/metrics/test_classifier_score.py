"""Class metrics of probabilities with known values."""

from __future__ import annotations

import numpy as np
import pytest

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.classifier_score import class_metrics


def test_balanced_certain_predictions_score_the_maximum():
    got = class_metrics(np.eye(10).repeat(20, axis=0))
    assert got["digits_{}"] == 10
    assert got["digit_entropy_{}"] == pytest.approx(np.log(10))
    assert got["classifier_score_{}"] == pytest.approx(10)


def test_a_single_digit_scores_the_minimum():
    got = class_metrics(np.eye(10)[np.full(200, 3)])
    assert got == {"digits_{}": 1, "digit_entropy_{}": 0, "classifier_score_{}": 1}


def test_uncertainty_lowers_the_score_but_not_the_number_of_digits():
    sure, unsure = np.eye(10).repeat(20, axis=0), 0.5 * np.eye(10).repeat(20, axis=0) + 0.05
    assert class_metrics(unsure)["classifier_score_{}"] < class_metrics(sure)["classifier_score_{}"]
    assert class_metrics(unsure)["digits_{}"] == 10


def test_a_class_below_one_percent_does_not_count():
    """One picture of 200 classified as a nine is 0.5 %."""
    assert class_metrics(np.eye(10)[[1] * 199 + [9]])["digits_{}"] == 1
    assert class_metrics(np.eye(10)[[1] * 198 + [9] * 2])["digits_{}"] == 2


def test_equals_the_formula_of_the_inception_score():
    p = np.random.default_rng(0).dirichlet(np.full(10, 0.3), 50)
    divergences = (p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1)
    assert class_metrics(p)["classifier_score_{}"] == pytest.approx(np.exp(divergences.mean()), rel=1e-10)


@pytest.mark.parametrize("p", [np.zeros((0, 10)), np.full((3, 10), np.nan)])
def test_no_pictures_and_nan_are_rejected(p):
    with pytest.raises(GanealogyError, match="probabilities are absent or NaN"):
        class_metrics(p)
