from __future__ import annotations

from ganealogy.verdicts.primary_metric import lead, leading

DIMENSIONS = {"pixel8": 192, "effnet_lite0": 1280, "inception": 2048}


def test_kid_leads_where_samples_are_few():
    few = leading("pixel8", ["pixel8", "effnet_lite0"], 500, DIMENSIONS)
    assert few == ["fd_pixel8", "kid_effnet_lite0", "fd_effnet_lite0"]
    assert leading("effnet_lite0", ["pixel8"], 5119, DIMENSIONS) == ["kid_effnet_lite0", "fd_effnet_lite0", "fd_pixel8"]


def test_the_frechet_distance_leads_where_they_are_many():
    assert leading("inception", ["inception"], 8192, DIMENSIONS) == ["fid", "kid_inception"]


def test_an_unknown_dimension_counts_as_large():
    assert leading("pixel8", ["dinov2"], 50_000, {}) == ["fd_pixel8", "kid_dinov2", "fd_dinov2"]


def test_a_tree_is_judged_by_its_trackers_distance_or_by_kid_where_samples_are_few() -> None:
    def ways(fakes: int) -> dict[str, dict[str, int]]:
        return {name: {"fakes": fakes, "dimension": 1280} for name in ("fd_effnet_lite0", "kid_effnet_lite0")}

    assert lead("effnet_lite0", ways(5119)) == "kid_effnet_lite0"
    assert lead("effnet_lite0", ways(5120)) == "fd_effnet_lite0"
    assert lead("pixel8", {"fd_pixel8": {"fakes": 16}}) == "fd_pixel8"
    assert lead("effnet_lite0", {"fd_effnet_lite0": {"fakes": 16, "dimension": 1280}}) == "fd_effnet_lite0", "no KID"
    assert lead("inception", {}) == "fid"
