"""Kinds of metric: direction and scale."""

from __future__ import annotations

import pytest

from ganealogy.verdicts.metric_kinds import KINDS, has_direction, higher_is_better, is_distance, scale, split


@pytest.mark.parametrize("metric", ["fid", "fd_pixel8", "fd_effnet_lite0", "fd_inf_inception"])
def test_frechet_distances_are_compared_on_the_logarithm_and_lower_is_better(metric: str) -> None:
    assert scale(metric) == "log" and not higher_is_better(metric) and is_distance(metric)


def test_kid_may_be_negative_so_it_stays_linear() -> None:
    assert scale("kid_inception") == "linear" and not higher_is_better("kid_inception") and is_distance("kid_inception")


@pytest.mark.parametrize("word", ["precision", "recall", "density", "coverage", "vendi"])
def test_fractions_are_linear_and_higher_is_better(word: str) -> None:
    assert scale(f"{word}_x") == "linear" and higher_is_better(f"{word}_x") and not is_distance(f"{word}_x")


@pytest.mark.parametrize(
    ("metric", "parts"),
    [
        ("fid", ("fid", "")),
        ("fd_pixel8", ("fd", "pixel8")),
        ("fd_inf_effnet_lite0", ("fd_inf", "effnet_lite0")),
        ("kid_effnet_lite0_64", ("kid", "effnet_lite0_64")),
        ("fd_inception_v4", ("fd", "inception_v4")),
        ("is_inception", ("is", "inception")),
        ("something_new", ("something", "new")),
    ],
)
def test_a_metric_name_splits_into_kind_and_extractor(metric: str, parts: tuple[str, str]) -> None:
    assert split(metric) == parts


def test_every_metric_of_the_evaluation_has_a_kind() -> None:
    from ganealogy.evaluation.measure import METRICS, full_name

    names = [full_name(name, "x") for metric in METRICS for name in metric.names if not name.endswith("_se")]
    assert names and {split(name)[0] for name in names} <= KINDS.keys()


@pytest.mark.parametrize("metric", ["kid_inception_se", "diversity_x", "unheard_of"])
def test_metrics_without_a_direction(metric: str) -> None:
    assert not has_direction(metric) and scale(metric) == "linear" and not is_distance(metric)
