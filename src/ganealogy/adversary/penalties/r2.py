"""R2: γ/2 E‖∇D‖² on fakes (Mescheder et al., arXiv 1801.04406, eq. 10), at each step as in R3GAN."""

from __future__ import annotations

from ganealogy.adversary.penalties._gradient_norm import GradientNorm
from ganealogy.adversary.schedule import ScheduledBySize


def penalty(*, gamma: ScheduledBySize = 10.0) -> GradientNorm:
    """`gamma` grows with the number of pixels. R3GAN uses, together with R1, .05 → .005 at 32, 2 → .2 at 64."""
    return GradientNorm(gamma, "fakes")
