"""The weight of R1 and R2 by image size, as in R3GAN's settings."""

from __future__ import annotations

import pytest

from ganealogy.adversary.schedule import scheduled_value, value_for_size
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family


@pytest.mark.parametrize(
    ("image_size", "start", "end"),
    [(28, 0.05, 0.005), (32, 0.05, 0.005), (64, 2, 0.2), (128, (2 * 150) ** 0.5, (0.2 * 15) ** 0.5), (256, 150, 15)],
)
@pytest.mark.parametrize("version", ["v15", "v16"])
def test_gamma_is_the_papers_at_each_size(version: str, image_size: int, start: float, end: float) -> None:
    recipe = recipes.complete(read_family([version])[version].recipe, version)
    for penalty in recipe["adversary"]["penalties"]:
        gamma = value_for_size(penalty["gamma"], image_size)
        assert (scheduled_value(gamma, 0.0), scheduled_value(gamma, 1.0)) == pytest.approx((start, end), rel=2e-3)


def test_a_plain_number_is_for_all_sizes() -> None:
    assert value_for_size(10.0, 32) == value_for_size(10.0, 512) == 10.0
