"""Which distances may lead, and their order."""

from __future__ import annotations

from ganealogy.verdicts.primary_metric import distance, distances, in_order


def test_the_name_fid_is_reserved_for_inception() -> None:
    assert distance("inception") == "fid"
    assert distances("inception") == ["fid", "kid_inception", "fd_w64_inception"]


def test_extractors_without_a_network_have_one_distance() -> None:
    assert distances("pixel8") == ["fd_pixel8"]
    assert distances("pictures") == ["swd"]
    assert distances("layout_edges_32_64") == ["fd_layout_edges_32_64"]


def test_the_leading_distance_comes_first_and_each_name_once() -> None:
    assert in_order("kid_dinov2", ["pixel8", "dinov2"]) == [
        "kid_dinov2",
        "fid",
        "fd_pixel8",
        "fd_dinov2",
        "fd_w64_dinov2",
    ]
