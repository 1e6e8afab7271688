"""The registry: what is measured on what, and that bad features hide nothing and fail nothing."""

from __future__ import annotations

import numpy as np
import pytest

from ganealogy.errors import GanealogyError
from ganealogy.evaluation import measure as metrics
from ganealogy.evaluation.features import FeatureSet
from ganealogy.evaluation.measure import Comparison, Metric, measure
from ganealogy.evaluation.metrics import neighbours
from ganealogy.files import atomic


class Network:
    name, network, dimension = "net", True, 6
    protocol = {"weights_sha256": "abc", "resize": "none", "precision": "fp32"}  # noqa: RUF012
    class_weights = np.random.default_rng(9).standard_normal((7, 6)).astype(np.float32)


def features(count: int, seed: int) -> FeatureSet:
    return FeatureSet(np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32))


def compare(fakes: FeatureSet, **more: FeatureSet) -> Comparison:
    return Comparison(Network(), fakes, features(60, 1), **more)  # type: ignore[arg-type]


NAMES = {
    name.format("net")
    for metric in metrics.METRICS
    if metric.applies(Network())  # type: ignore[arg-type]
    for name in metric.names
}


def test_every_metric_of_a_network():
    found = measure(compare(features(40, 2), holdout=features(30, 3)), checkpoint="best")
    assert found.metrics.keys() == NAMES and not found.not_measured
    assert found.flags.keys() == {"collapsed_net", "memorised_net"}
    assert found.protocol["precision_net"]["k"] == 5
    assert found.protocol["is_net"]["splits"] == 10
    assert found.protocol["memorised_net"] | {"searched": 60, "holdout": 30} == found.protocol["memorised_net"]


def test_a_device_without_float64_leaves_the_metrics_to_the_processor():
    fakes, reals = (FeatureSet(side.values, "mps") for side in (features(40, 2), features(60, 1)))
    holdout = FeatureSet(features(30, 3).values, "mps")
    found = measure(Comparison(Network(), fakes, reals, holdout=holdout))  # type: ignore[arg-type]
    assert found == measure(compare(features(40, 2), holdout=features(30, 3)))


def test_a_fingerprint_is_of_all_the_rest():
    ways = [measure(compare(features(40, 2)), checkpoint=name).protocol["fd_net"] for name in ("best", "last", "best")]
    prints = [way["fingerprint"] for way in ways]
    assert prints[0] == prints[2] != prints[1]
    assert prints[0] == atomic.digest({key: value for key, value in ways[0].items() if key != "fingerprint"})[:12]


@pytest.mark.parametrize(
    ("fakes", "measured", "said"),
    [
        (np.full((40, 6), np.nan), set(), "hold NaN"),
        (np.ones((1, 6)), {"memorised_net", "vendi_net"}, ""),
        (features(4, 2).values, {"fd_net", "kid_net", "memorised_net", "vendi_net"}, ""),
        (np.ones((40, 6)), NAMES, ""),
        (np.zeros((40, 6)), NAMES - {"vendi_net"}, "all 0"),
    ],
    ids=["NaN", "one image", "fewer than k", "constant", "dead"],
)
def test_bad_features_are_measured_or_told(fakes, measured, said):
    found = measure(compare(FeatureSet(fakes.astype(np.float32)), holdout=features(30, 3)))
    names = found.metrics.keys() - {"kid_net_se"}
    assert names == measured - {"kid_net_se"}
    assert all(np.isfinite(value) for value in found.metrics.values())
    assert found.metrics.keys() | found.not_measured.keys() == NAMES
    assert all(found.not_measured.values()) and any(said in reason for reason in [*found.not_measured.values(), said])


def test_constant_features_are_called_collapsed_and_not_memorised():
    found = measure(compare(FeatureSet(np.ones((40, 6), np.float32)), holdout=features(30, 3)))
    assert found.flags["collapsed_net"]["flag"] and found.metrics["diversity_net"] == 0
    assert not found.flags["memorised_net"]["flag"]


def test_without_held_out_pictures_memorisation_is_not_measured():
    assert "held-out" in measure(compare(features(40, 2))).not_measured["memorised_net"]


def test_an_anchor_gets_what_makes_sense_of_it():
    assert measure(compare(features(40, 2)), anchor=True).metrics.keys() == NAMES - {"memorised_net"}


def test_a_metric_is_added_in_one_place(monkeypatch):
    def fails(comparison: Comparison) -> metrics.Values:
        raise GanealogyError("not today")

    added = (Metric(("size_{}",), lambda c: {"size_{}": float(len(c.fakes))}), Metric(("hard_{}",), fails))
    monkeypatch.setattr(metrics, "METRICS", added)
    found = measure(compare(features(40, 2)))
    assert found.metrics == {"size_net": 40} and found.not_measured == {"hard_net": "not today"}
    assert found.protocol["size_net"]["weights_sha256"] == "abc"


@pytest.fixture
def passes(monkeypatch):
    """Numbers of features of either side, for every pass over distances that is begun."""
    begun, original = [], neighbours.squared_distances

    def counted(a, b, *arguments, **options):
        begun.append((len(a), len(b)))
        return original(a, b, *arguments, **options)

    monkeypatch.setattr(neighbours, "squared_distances", counted)
    return begun


def test_one_pass_gives_neighbours_and_manifolds(passes):
    comparison = compare(features(40, 2), holdout=features(30, 3))
    found = measure(comparison)
    indices, distances = comparison.neighbours
    assert sorted(passes) == [(40, 30), (40, 40), (40, 60), (60, 60)]
    alone = neighbours.nearest(comparison.fakes.values, comparison.reals.values, 5)
    np.testing.assert_array_equal(indices, alone[0])
    np.testing.assert_array_equal(distances, alone[1])
    radii = [neighbours.squared_radii(side.values, 5) for side in (comparison.fakes, comparison.reals)]
    expected = metrics.prdc.prdc(comparison.fakes.values, comparison.reals.values, *radii)
    assert {name: found.metrics[f"{name}_net"] for name in expected} == expected


def test_where_other_pictures_are_searched_the_manifolds_are_still_the_reals():
    plain = compare(features(40, 2), holdout=features(30, 3))
    train = FeatureSet(np.concatenate([plain.reals.values, features(50, 4).values]))
    comparison = compare(features(40, 2), holdout=features(30, 3), train=train)
    assert measure(comparison).metrics["density_net"] == measure(plain).metrics["density_net"]
    np.testing.assert_array_equal(
        comparison.neighbours[0], neighbours.nearest(comparison.fakes.values, train.values, 5)[0]
    )
