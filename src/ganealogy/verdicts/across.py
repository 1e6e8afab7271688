"""One edge on several data sets: a random-effects mean of its log ratios, and how much they differ.

The variance between data sets is Paule and Mandel's (J. Research of the National Bureau of Standards 87, 1982). The
interval is Hartung and Knapp's (Statistics in Medicine 20, 2001), and never narrower than without their factor, because
few data sets may agree by luck (Röver et al., BMC Medical Research Methodology 15, 2015).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Across:
    """Of an idea on average over such data sets: `mean`, `low` and `high` are log ratios of child and parent."""

    mean: float
    low: float
    high: float
    between: float
    """Standard deviation of the true log ratios between data sets; 0 if the seeds explain the differences."""
    p_equal: float
    """Of Cochran's test that the true log ratios are equal."""


def across(means: Sequence[float], errors: Sequence[float]) -> Across | None:
    """Return the mean over data sets, from the log ratio and its standard error on each; None for fewer than two.

    Raises: ValueError for an error that is not positive and finite.
    """
    import numpy as np
    from scipy.special import stdtrit
    from statsmodels.stats.meta_analysis import combine_effects

    if not all(0 < error < math.inf for error in errors):
        raise ValueError(f"standard errors must be positive: {list(errors)}")
    if len(means) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about intervals of the single data sets, which are not used
        combined = combine_effects(np.array(means), np.square(errors), method_re="iterated", use_t=True)
    mean, factor = float(combined.mean_effect_re), max(1.0, float(combined.scale_hksj_re))
    half = float(stdtrit(len(means) - 1, (1 + LEVEL) / 2)) * float(combined.sd_eff_w_re) * math.sqrt(factor)
    between = math.sqrt(max(0.0, float(combined.tau2)))
    return Across(mean, mean - half, mean + half, between, float(combined.test_homogeneity().pvalue))
