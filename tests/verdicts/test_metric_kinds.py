"""Kinds of metric: direction and scale."""

from __future__ import annotations

import pytest

from ganealogy.verdicts.metric_kinds import KINDS, has_direction, higher_is_better, is_distance, scale, split


@pytest.mark.parametrize("metric", ["fid", "fd_pixel8", "fd_effnet_lite0"])
def test_frechet_distances_are_compared_on_the_logarithm_and_lower_is_better(metric: str) -> None:
    assert scale(metric) == "log" and not higher_is_better(metric) and is_distance(metric)


@pytest.mark.parametrize("metric", ["kid_inception", "fd_inf_inception"])
def test_estimates_without_bias_may_be_negative_so_they_stay_linear(metric: str) -> None:
    assert scale(metric) == "linear" and has_direction(metric) and not higher_is_better(metric) and is_distance(metric)


@pytest.mark.parametrize("word", ["precision", "recall", "coverage"])
def test_higher_is_better_for_shares_of_pictures(word: str) -> None:
    assert scale(f"{word}_x") == "share" and higher_is_better(f"{word}_x") and not is_distance(f"{word}_x")


@pytest.mark.parametrize(
    ("word", "kind"),
    [("density", "positive"), ("vendi", "positive"), ("diversity", "positive"), ("memorised", "share")],
)
def test_more_than_the_reals_have_is_not_better(word: str, kind: str) -> None:
    assert scale(f"{word}_x") == kind and not has_direction(f"{word}_x")


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


@pytest.mark.parametrize("metric", ["kid_inception_se", "unheard_of"])
def test_metrics_without_a_direction(metric: str) -> None:
    assert not has_direction(metric) and scale(metric) == "linear" and not is_distance(metric)
