"""R1: γ/2 E‖∇D‖² on reals (Mescheder et al., arXiv 1801.04406, eq. 9)."""

from __future__ import annotations

from ganealogy.adversary.penalties._gradient_norm import GradientNorm


class R1(GradientNorm):
    side = "reals"


penalty = R1
