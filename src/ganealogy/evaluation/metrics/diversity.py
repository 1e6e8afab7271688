"""Variance of the fakes relative to the reals', with a check for a collapsed generator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ganealogy.evaluation.metrics.neighbours import Matrix

MIN_VARIANCE = 0.05
"""Relative variance below which a generator counts as collapsed: all pictures look alike."""
MAX_VARIANCE = 10
"""Above, the reason says so; it is no collapse."""
REPEAT = 0.1
"""Distance to another sample, relative to the reals' median distance to their k-th neighbour, that counts as a repeat.
Of avatars, anime faces and CelebA, fewer than 1 % are so near to another picture."""
MAX_REPEATS = 0.2
"""Fraction of repeats above which a generator counts as collapsed. Copies of a few pictures far apart have variance."""


class Diversity(NamedTuple):
    variance: float
    """Relative to the reals'."""
    repeats: float
    """Fraction of the samples that nearly repeat another one."""

    @property
    def collapsed(self) -> bool:
        return self.variance < MIN_VARIANCE or self.repeats > MAX_REPEATS

    @property
    def reason(self) -> str:
        verdicts = {
            f"below {MIN_VARIANCE:.0%} of the variance": self.variance < MIN_VARIANCE,
            f"above {MAX_REPEATS:.0%} repeats": self.repeats > MAX_REPEATS,
            f"above {MAX_VARIANCE} times the variance, so unlike the reals": self.variance > MAX_VARIANCE,
        }
        verdict = " and ".join(text for text, holds in verdicts.items() if holds) or "not collapsed"
        variance = f"{self.variance:.1%}" if self.variance < MAX_VARIANCE else f"{self.variance:.3g} times"
        return (
            f"{variance} of the reals' variance, {self.repeats:.1%} of the samples nearly repeat another one: {verdict}"
        )


def diversity(fake_trace: float, real_trace: float, fake_spacings: Matrix, real_radii: Matrix) -> Diversity:
    """Return the diversity of fakes.

    `fake_trace`, `real_trace` > 0: total variances. `fake_spacings` (n, k): squared distances to the nearest others.
    `real_radii` (m,): squared distances to the k-th nearest other.
    """
    limit = REPEAT**2 * np.median(real_radii)
    return Diversity(fake_trace / real_trace, float((fake_spacings[:, 0] <= limit).mean()))
