"""R2: γ/2 E‖∇D‖² on fakes (Mescheder et al., arXiv 1801.04406, eq. 10)."""

from __future__ import annotations

from ganealogy.adversary.penalties._gradient_norm import GradientNorm


class R2(GradientNorm):
    side = "fakes"


penalty = R2
