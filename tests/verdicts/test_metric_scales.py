"""Which way is better, and on which scale."""

from __future__ import annotations

import pytest

from ganealogy.verdicts.metric_scales import has_direction, higher_is_better, is_distance, scale


@pytest.mark.parametrize("metric", ["fid", "fd_pixel8", "fd_effnet_lite0", "fd_inf_inception"])
def test_frechet_distances_are_compared_on_the_logarithm_and_lower_is_better(metric: str) -> None:
    assert scale(metric) == "log" and not higher_is_better(metric) and is_distance(metric)


def test_kid_may_be_negative_so_it_stays_linear() -> None:
    assert scale("kid_inception") == "linear" and not higher_is_better("kid_inception") and is_distance("kid_inception")


@pytest.mark.parametrize("word", ["precision", "recall", "density", "coverage", "vendi"])
def test_shares_are_linear_and_higher_is_better(word: str) -> None:
    assert scale(f"{word}_x") == "linear" and higher_is_better(f"{word}_x") and not is_distance(f"{word}_x")


@pytest.mark.parametrize("metric", ["kid_inception_se", "diversity_x", "unheard_of"])
def test_what_has_no_better_direction_says_so(metric: str) -> None:
    assert not has_direction(metric) and scale(metric) == "linear" and not is_distance(metric)
