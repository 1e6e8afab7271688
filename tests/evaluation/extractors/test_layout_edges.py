"""The layout-and-edges distance: golden values of an independent implementation, and what it must and must not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation import battery
from ganealogy.evaluation.extractors.layout_edges_32_64 import LayoutEdges
from ganealogy.evaluation.features import FeatureSet
from ganealogy.evaluation.measure import Comparison, measure
from ganealogy.training.best_checkpoint import distance_to

Pictures = NDArray[np.uint8]
NAMES = ("fd_layout_edges_32_64", "fd_layout_32", "fd_edges_64")


def pictures(count: int, side: int, channels: int, seed: int) -> Pictures:
    """Smooth blobs of light with a darker square each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    centre = rng.random((count, 1, 1, 1, 2)) * 0.6 + 0.2
    width = rng.random((count, 1, 1, 1)) * 0.2 + 0.1
    level = rng.integers(60, 200, (count, 1, 1, channels))
    square = (x[None, ..., None] - centre[..., 0]) ** 2 + (y[None, ..., None] - centre[..., 1]) ** 2
    out = level + 80 * np.exp(-square / width**2)
    corner = rng.integers(2, side // 2, count)
    for picture, at in zip(out, corner, strict=True):
        picture[at : at + side // 4, at // 2 : at // 2 + side // 4] -= 50
    return out.round().clip(0, 255).astype(np.uint8)


def distances(fakes: Pictures, reals: Pictures) -> dict[str, float]:
    extractor = LayoutEdges()
    sides = (FeatureSet(extractor.features(side)) for side in (fakes, reals))
    return measure(Comparison(extractor, *sides)).metrics


# Of an implementation in float64 numpy that was written apart from this one: 500 fakes against 1,000 reals.
GOLDEN = {
    (16, 3, "same"): (0.051396, 0.027028, 0.051396),
    (16, 3, "darker"): (0.090433, 0.053801, 0.090433),
    (16, 3, "shifted"): (4.806196, 0.774893, 4.806196),
    (32, 1, "same"): (0.048387, 0.025589, 0.048387),
    (32, 1, "darker"): (0.067592, 0.040032, 0.067592),
    (32, 1, "shifted"): (0.762222, 0.2317, 0.762222),
    (64, 3, "same"): (0.04878, 0.027237, 0.04878),
    (64, 3, "shifted"): (0.355122, 0.088667, 0.355122),
}


@pytest.mark.parametrize(("case", "expected"), GOLDEN.items(), ids=lambda value: str(value))
def test_distances_are_those_of_an_independent_implementation(case: Any, expected: Any) -> None:
    side, channels, change = case
    fakes = pictures(500, side, channels, 1)
    changed = {"same": fakes, "darker": (fakes * 0.9).astype(np.uint8), "shifted": np.roll(fakes, 1, axis=2)}
    result = distances(changed[change], pictures(1000, side, channels, 0))
    assert [result[name] for name in NAMES] == pytest.approx(expected, rel=2e-5)


def test_the_order_of_the_pictures_does_not_matter() -> None:
    reals, fakes = pictures(600, 16, 3, 0), pictures(500, 16, 3, 1)
    assert distances(fakes[::-1], reals)["fd_layout_edges_32_64"] == pytest.approx(
        distances(fakes, reals)["fd_layout_edges_32_64"], rel=1e-9
    )


def test_its_own_mean_repeated_scores_one_by_layout() -> None:
    reals = pictures(600, 16, 3, 0)
    result = distances(battery.repeated(battery.mean_image(reals), 500), reals)
    assert result["fd_layout_32"] == pytest.approx(1, abs=1e-3)  # the mean's levels are rounded
    assert result["fd_edges_64"] > 0.5


def test_fewer_than_500_samples_are_not_measured() -> None:
    extractor = LayoutEdges()
    reals, fakes = (FeatureSet(extractor.features(pictures(n, 16, 3, n))) for n in (600, 499))
    measured = measure(Comparison(extractor, fakes, reals))
    assert not measured.metrics
    assert "needs 500 samples" in measured.not_measured["fd_layout_edges_32_64"]


def test_sides_that_are_no_power_of_two_are_resized_to_the_next_one() -> None:
    from torch import from_numpy
    from torch.nn.functional import interpolate

    small = pictures(20, 28, 1, 0)
    resized = interpolate(from_numpy(small.transpose(0, 3, 1, 2) / np.float32(255)), (32, 32), mode="bilinear")
    expected = LayoutEdges().features((resized * 255).round().byte().numpy().transpose(0, 2, 3, 1))
    assert np.abs(LayoutEdges().features(small) - expected).max() < 1 / 255
    assert LayoutEdges().features(pictures(4, 10, 3, 0)).shape == LayoutEdges().features(pictures(4, 16, 3, 0)).shape


def test_pictures_of_another_size_are_not_measured() -> None:
    extractor = LayoutEdges()
    reals, fakes = (FeatureSet(extractor.features(pictures(600, side, 3, 0))) for side in (16, 32))
    assert "one size" in measure(Comparison(extractor, fakes, reals)).not_measured["fd_layout_edges_32_64"]


def test_the_tracker_has_the_same_distance() -> None:
    extractor, reals, fakes = LayoutEdges(), pictures(600, 16, 3, 0), pictures(500, 16, 3, 1)
    score = distance_to(extractor, extractor.features(reals))(extractor.features(fakes))
    assert score == pytest.approx(distances(fakes, reals)["fd_layout_edges_32_64"], rel=1e-12)


def test_reals_without_variance_are_an_error() -> None:
    grey = np.full((600, 16, 16, 3), 90, np.uint8)
    extractor = LayoutEdges()
    with pytest.raises(GanealogyError, match="same features"):
        distance_to(extractor, extractor.features(grey))


@pytest.fixture(scope="module")
def avatars() -> tuple[Pictures, Pictures]:
    """The demo's pictures: 1,000 reals and 500 held-out ones."""
    from ganealogy.data import pictures as decoding
    from ganealogy.data.sources import avatars

    drawn = avatars.draw(avatars.load_style("pixel-art"), range(1500))
    small = np.stack([decoding.pack(content, 16, 3, "crop") for content in drawn])
    return small[:1000], small[1000:]


def test_the_battery_of_the_demo(avatars: tuple[Pictures, Pictures]) -> None:
    """A version that trained well has 0.28 to 0.35 here (v1 and v2 at 40 kimg)."""
    reals, held_out = avatars
    members = [*battery.anchors(reals, held_out, 500), *battery.battery(reals, held_out, 500)]
    values = {member.name: distances(member.pictures, reals)["fd_layout_edges_32_64"] for member in members}
    ahead = {name for name in battery.MUST_FAIL if values[name] < 0.36}
    assert ahead <= {"half_one"}, "half of them one picture is the known exception, which the flag `collapsed` raises"
    assert values["half_one"] > 0.25
    assert 0.03 < values["floor"] < 0.07 and values["copies"] < values["floor"]
    assert values["floor"] < values["gaussian"] < values["rep100"] < values["rep50"] < values["rep25"]
    assert 0.15 < values["rep100"] < 0.3 and 0.4 < values["rep50"] < 0.6 and 0.75 < values["rep25"] < 1
    assert values["noise25"] < values["noise50"] and values["blur1"] < values["blur2"]
    assert values["checker20"] < values["checker60"]


def test_pixel8_is_fooled_by_what_this_distance_sees(avatars: tuple[Pictures, Pictures]) -> None:
    from ganealogy.evaluation.extractors.pixel8 import Pixel8

    reals, held_out = avatars
    members = {member.name: member.pictures for member in battery.battery(reals, held_out, 500)}
    floor, mixed = (
        measure(Comparison(Pixel8(), *(FeatureSet(Pixel8().features(x)) for x in (fakes, reals)))).metrics["fd_pixel8"]
        for fakes in (held_out, members["shuffled"])
    )
    assert mixed == pytest.approx(floor, rel=1e-6)
    assert distances(members["shuffled"], reals)[NAMES[0]] > 5 * distances(held_out, reals)[NAMES[0]]
