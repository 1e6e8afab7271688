from __future__ import annotations

from ganealogy.verdicts.primary_metric import metric_order, primary_metric

DIMENSIONS = {"pixel8": 192, "effnet_lite0": 1280, "inception": 2048}


def test_kid_comes_first_with_few_samples() -> None:
    few = metric_order("pixel8", ["pixel8", "effnet_lite0"], 500, DIMENSIONS)
    assert few == ["fd_pixel8", "kid_effnet_lite0", "fd_effnet_lite0"]
    assert metric_order("effnet_lite0", ["pixel8"], 5119, DIMENSIONS) == [
        "kid_effnet_lite0",
        "fd_effnet_lite0",
        "fd_pixel8",
    ]


def test_the_frechet_distance_comes_first_with_many_samples() -> None:
    assert metric_order("inception", ["inception"], 8192, DIMENSIONS) == ["fid", "kid_inception"]


def test_an_unknown_dimension_counts_as_large() -> None:
    assert metric_order("pixel8", ["dinov2"], 50_000, {}) == ["fd_pixel8", "kid_dinov2", "fd_dinov2"]


def test_the_primary_metric_is_the_trackers_frechet_distance_or_kid_with_few_samples() -> None:
    def protocols(fakes: int) -> dict[str, dict[str, int]]:
        return {name: {"fakes": fakes, "dimension": 1280} for name in ("fd_effnet_lite0", "kid_effnet_lite0")}

    assert primary_metric("effnet_lite0", protocols(5119)) == "kid_effnet_lite0"
    assert primary_metric("effnet_lite0", protocols(5120)) == "fd_effnet_lite0"
    assert primary_metric("pixel8", {"fd_pixel8": {"fakes": 16}}) == "fd_pixel8"
    assert primary_metric("effnet_lite0", {"fd_effnet_lite0": {"fakes": 16, "dimension": 1280}}) == "fd_effnet_lite0", (
        "no KID"
    )
    assert primary_metric("inception", {}) == "fid"
