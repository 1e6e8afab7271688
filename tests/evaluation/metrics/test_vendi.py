"""The Vendi score against its definition and known values."""

from __future__ import annotations

import numpy as np
import pytest

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.vendi import vendi


def by_definition(features: np.ndarray) -> float:
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(rows @ rows.T / len(rows)).clip(min=1e-15)
    return float(np.exp(-(values * np.log(values)).sum()))


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_equals_its_definition_from_either_matrix(shape):
    features = np.random.default_rng(0).standard_normal(shape) + 0.5
    assert vendi(features) == pytest.approx(by_definition(features), rel=1e-9)


def test_is_the_number_of_different_pictures():
    assert vendi(np.tile([1.0, 2.0, 3.0], (20, 1))) == pytest.approx(1)
    assert vendi(np.repeat(np.eye(4), 5, axis=0)) == pytest.approx(4)
    assert vendi(np.eye(6) * np.arange(1, 7)) == pytest.approx(6)  # lengths do not matter


def test_features_of_zero_are_rejected():
    with pytest.raises(GanealogyError, match="all 0"):
        vendi(np.vstack([np.eye(3), np.zeros(3)]))


def test_does_not_modify_the_features():
    features = np.random.default_rng(0).standard_normal((20, 3))
    before = features.copy()
    vendi(features)
    np.testing.assert_array_equal(features, before)
