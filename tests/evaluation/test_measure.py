"""The table of metrics: which apply to which features, and that one failing metric does not affect the others."""

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


def compare(fakes: FeatureSet, **sets: FeatureSet) -> Comparison:
    return Comparison(Network(), fakes, features(60, 1), **sets)  # type: ignore[arg-type]


NAMES = {
    name.format("net")
    for metric in metrics.METRICS
    if metric.applies(Network())  # type: ignore[arg-type]
    for name in metric.names
}


def test_a_network_gets_every_metric():
    result = measure(compare(features(40, 2), holdout=features(30, 3)), checkpoint="best")
    assert result.metrics.keys() == NAMES and not result.not_measured
    assert result.flags.keys() == {"collapsed_net", "memorised_net"}
    assert result.protocol["precision_net"]["k"] == 5
    assert result.protocol["is_net"]["splits"] == 10
    assert result.protocol["memorised_net"] | {"searched": 60, "holdout": 30} == result.protocol["memorised_net"]


def test_metrics_are_computed_on_the_cpu_for_a_device_without_float64():
    fakes, reals = (FeatureSet(side.values, "mps") for side in (features(40, 2), features(60, 1)))
    holdout = FeatureSet(features(30, 3).values, "mps")
    result = measure(Comparison(Network(), fakes, reals, holdout=holdout))  # type: ignore[arg-type]
    assert result == measure(compare(features(40, 2), holdout=features(30, 3)))


def test_a_fingerprint_covers_the_whole_protocol():
    checkpoints = ("best", "last", "best")
    protocols = [measure(compare(features(40, 2)), checkpoint=name).protocol["fd_net"] for name in checkpoints]
    prints = [protocol.pop("fingerprint") for protocol in protocols]
    assert prints[0] == prints[2] != prints[1]
    assert prints[0] == atomic.digest(protocols[0])[:12]


@pytest.mark.parametrize(
    ("fakes", "measured", "reason"),
    [
        (np.full((40, 6), np.nan), set(), "hold NaN"),
        (np.ones((1, 6)), {"memorised_net", "vendi_net"}, ""),
        (features(4, 2).values, {"fd_net", "fd_w64_net", "kid_net", "memorised_net", "vendi_net"}, ""),
        (np.ones((40, 6)), NAMES, ""),
        (np.zeros((40, 6)), NAMES - {"vendi_net"}, "all 0"),
    ],
    ids=["NaN", "one image", "fewer than k", "constant", "dead"],
)
def test_every_metric_of_bad_features_is_finite_or_has_a_reason(fakes, measured, reason):
    result = measure(compare(FeatureSet(fakes.astype(np.float32)), holdout=features(30, 3)))
    names = result.metrics.keys() - {"kid_net_se"}
    assert names == measured - {"kid_net_se"}
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert result.metrics.keys() | result.not_measured.keys() == NAMES
    reasons = list(result.not_measured.values())
    assert all(reasons) and (not reason or any(reason in text for text in reasons))


def test_constant_features_are_flagged_collapsed_but_not_memorised():
    result = measure(compare(FeatureSet(np.ones((40, 6), np.float32)), holdout=features(30, 3)))
    assert result.flags["collapsed_net"]["flag"] and result.metrics["diversity_net"] == 0
    assert not result.flags["memorised_net"]["flag"]


def test_without_held_out_pictures_memorisation_is_not_measured():
    assert "held-out" in measure(compare(features(40, 2))).not_measured["memorised_net"]


def test_memorisation_is_not_measured_for_anchors():
    assert measure(compare(features(40, 2)), lambda metric: metric.anchored).metrics.keys() == NAMES - {"memorised_net"}


def test_a_metric_needs_one_entry_in_the_table(monkeypatch):
    def fails(comparison: Comparison) -> metrics.Values:
        raise GanealogyError("not today")

    added = (Metric(("size_{}",), lambda c: {"size_{}": float(len(c.fakes))}), Metric(("hard_{}",), fails))
    monkeypatch.setattr(metrics, "METRICS", added)
    result = measure(compare(features(40, 2)))
    assert result.metrics == {"size_net": 40} and result.not_measured == {"hard_net": "not today"}
    assert result.protocol["size_net"]["weights_sha256"] == "abc"


@pytest.fixture
def passes(monkeypatch):
    """Sizes of both sides, for every pass over distances."""
    sizes, original = [], neighbours.squared_distances

    def counted(a, b, *arguments, **options):
        sizes.append((len(a), len(b)))
        return original(a, b, *arguments, **options)

    monkeypatch.setattr(neighbours, "squared_distances", counted)
    return sizes


def test_neighbours_and_prdc_share_one_pass_over_the_distances(passes):
    comparison = compare(features(40, 2), holdout=features(30, 3))
    result = measure(comparison)
    indices, distances = comparison.neighbours
    assert sorted(passes) == [(40, 30), (40, 40), (40, 60), (60, 60)]
    alone = neighbours.nearest(comparison.fakes.values, comparison.reals.values, 5)
    np.testing.assert_array_equal(indices, alone[0])
    np.testing.assert_array_equal(distances, alone[1])
    radii = [neighbours.squared_radii(side.values, 5) for side in (comparison.fakes, comparison.reals)]
    expected = metrics.prdc.prdc(comparison.fakes.values, comparison.reals.values, *radii)
    assert {name: result.metrics[f"{name}_net"] for name in expected} == expected


def test_neighbours_are_searched_in_train_and_prdc_in_the_reals():
    plain = compare(features(40, 2), holdout=features(30, 3))
    train = FeatureSet(np.concatenate([plain.reals.values, features(50, 4).values]))
    comparison = compare(features(40, 2), holdout=features(30, 3), train=train)
    assert measure(comparison).metrics["density_net"] == measure(plain).metrics["density_net"]
    np.testing.assert_array_equal(
        comparison.neighbours[0], neighbours.nearest(comparison.fakes.values, train.values, 5)[0]
    )
