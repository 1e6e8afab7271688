"""The Inception score against torch-fidelity's on the same logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.inception_score import inception_score


@pytest.mark.parametrize("count", [10, 123, 1000])
def test_equals_torch_fidelitys(count):
    logits = (3 * np.random.default_rng(count).standard_normal((count, 50))).astype(np.float32)
    theirs = isc_features_to_metric(torch.from_numpy(logits))[KEY_METRIC_ISC_MEAN]
    assert inception_score(logits) == pytest.approx(theirs, rel=1e-10)


def test_is_1_for_equal_rows_and_the_number_of_classes_for_certain_balanced_ones():
    assert inception_score(np.tile([1.0, 2.0, 3.0], (40, 1))) == pytest.approx(1)
    assert inception_score(np.tile(1000 * np.eye(4), (100, 1)), splits=1) == pytest.approx(4)


def test_fewer_images_than_splits_are_rejected():
    with pytest.raises(GanealogyError, match="10 splits, there are 9"):
        inception_score(np.ones((9, 3)))
