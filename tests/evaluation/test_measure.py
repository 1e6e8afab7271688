"""The table of metrics: which apply to which features, and that one failing metric does not affect the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ganealogy.errors import GanealogyError
from ganealogy.evaluation import measure as metrics
from ganealogy.evaluation.features import FeatureSet, load_extractor
from ganealogy.evaluation.measure import Comparison, Metric, measure
from ganealogy.evaluation.metrics import neighbours
from ganealogy.files import atomic


class Network:
    name, network, dimension = "net", True, 6
    protocol = {"weights_sha256": "abc", "resize": "none", "precision": "fp32"}  # noqa: RUF012
    class_weights = np.random.default_rng(9).standard_normal((7, 6)).astype(np.float32)


def features(count: int, seed: int) -> FeatureSet:
    return FeatureSet(np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32))


def compare(fakes: FeatureSet, **sets: Any) -> Comparison:
    return Comparison(Network(), fakes, features(60, 1), **sets)  # type: ignore[arg-type]


NAMES = {
    name.format("net")
    for metric in metrics.METRICS
    if metric.applies(Network())  # type: ignore[arg-type]
    for name in metric.names
}


def test_a_network_gets_every_metric():
    result = measure(compare(features(70, 2), holdout=features(55, 3)), checkpoint="best")
    assert result.metrics.keys() == NAMES and not result.not_measured
    assert result.flags.keys() == {"collapsed_net", "memorised_net"}
    assert result.protocol["precision_net"]["k"] == 5
    assert result.protocol["is_net"]["splits"] == 10
    assert result.protocol["memorised_net"] | {"searched": 60, "holdout": 55} == result.protocol["memorised_net"]


def test_metrics_are_computed_on_the_cpu_for_a_device_without_float64():
    fakes, reals = (FeatureSet(side.values, "mps") for side in (features(70, 2), features(60, 1)))
    holdout = FeatureSet(features(55, 3).values, "mps")
    result = measure(Comparison(Network(), fakes, reals, holdout=holdout))  # type: ignore[arg-type]
    assert result == measure(compare(features(70, 2), holdout=features(55, 3)))


def test_a_fingerprint_covers_the_whole_protocol():
    checkpoints = ("best", "last", "best")
    protocols = [measure(compare(features(70, 2)), checkpoint=name).protocol["fd_net"] for name in checkpoints]
    prints = [protocol.pop("fingerprint") for protocol in protocols]
    assert prints[0] == prints[2] != prints[1]
    assert prints[0] == atomic.digest(protocols[0])[:12]


@pytest.mark.parametrize(
    ("fakes", "measured", "reason"),
    [
        (np.full((70, 6), np.nan), set(), "hold NaN"),
        (np.ones((1, 6)), set(), "needs 50 pictures"),
        (features(49, 2).values, set(), "needs 50 pictures on each side; there are 49 samples and 60 reals"),
        (np.ones((70, 6)), NAMES, ""),
        (np.zeros((70, 6)), NAMES - {"vendi_net"}, "all 0"),
    ],
    ids=["NaN", "one image", "few", "constant", "dead"],
)
def test_every_metric_of_bad_features_is_finite_or_has_a_reason(fakes, measured, reason):
    result = measure(compare(FeatureSet(fakes.astype(np.float32)), holdout=features(55, 3)))
    names = result.metrics.keys() - {"kid_net_se"}
    assert names == measured - {"kid_net_se"}
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert result.metrics.keys() | result.not_measured.keys() == NAMES
    reasons = list(result.not_measured.values())
    assert all(reasons) and (not reason or any(reason in text for text in reasons))


def test_a_frechet_distance_needs_a_tenth_of_its_dimensions_in_pictures():
    wide = FeatureSet(np.random.default_rng(1).standard_normal((60, 600)).astype(np.float32))
    two = ("fd_{}", "kid_{}")
    result = measure(Comparison(Network(), wide, wide), lambda metric: metric.names[0] in two)  # type: ignore[arg-type]
    expected = "needs 61 pictures on each side, as features have 600 dimensions; there are 60 samples and 60 reals"
    assert result.not_measured["fd_net"] == expected
    assert "kid_net" in result.metrics, "whose expectation does not depend on the number of pictures"


@pytest.mark.parametrize(("count", "times"), [(14, 5), (35, 2)])
def test_repeats_are_flagged_collapsed(count, times):
    result = measure(compare(FeatureSet(np.repeat(features(count, 2).values, times, axis=0))))
    flag = result.flags["collapsed_net"]
    assert flag["flag"] and "100.0% of the samples nearly repeat another one: above 20% repeats" in flag["why"]


def test_a_fifth_of_repeats_is_no_collapse_and_a_huge_variance_is_said():
    repeated = np.concatenate([features(63, 2).values, features(7, 2).values])
    assert not measure(compare(FeatureSet(repeated))).flags["collapsed_net"]["flag"]
    flag = measure(compare(FeatureSet(features(70, 2).values * 100))).flags["collapsed_net"]
    assert not flag["flag"] and "above 10 times the variance, so unlike the reals" in flag["why"]


def test_memorisation_is_not_measured_unless_all_of_train_is_searched():
    result = measure(compare(features(70, 2), holdout=features(55, 3), train_count=61))
    reason = "only 60 of 61 training pictures have net's features, so most copies would be missed"
    assert result.not_measured["memorised_net"].startswith(reason)
    assert "memorised_net" not in result.flags


def test_known_metrics_are_those_of_the_loaded_extractors():
    for name in ("pixel8", "pictures", "effnet_lite0_64", "layout_edges_32_64"):
        assert metrics.known_metrics(name) == metrics.metric_names(load_extractor(name, "cpu"))
    assert {"is_inception", "fid"} < set(metrics.known_metrics("inception"))
    assert "digits_mnist_cnn" in metrics.known_metrics("mnist_cnn")
    assert "kid_dinov2" in metrics.known_metrics("dinov2")


def test_constant_features_are_flagged_collapsed_but_not_memorised():
    result = measure(compare(FeatureSet(np.ones((70, 6), np.float32)), holdout=features(55, 3)))
    assert result.flags["collapsed_net"]["flag"] and result.metrics["diversity_net"] == 0
    assert not result.flags["memorised_net"]["flag"]


def test_without_held_out_pictures_memorisation_is_not_measured():
    assert "held-out" in measure(compare(features(70, 2))).not_measured["memorised_net"]


def test_memorisation_is_not_measured_for_anchors():
    anchored = measure(compare(features(70, 2)), lambda metric: metric.anchored)
    assert anchored.metrics.keys() == NAMES - {"memorised_net", "copies_net"}


def test_a_metric_needs_one_entry_in_the_table(monkeypatch):
    def fails(comparison: Comparison) -> metrics.Values:
        raise GanealogyError("not today")

    added = (Metric(("size_{}",), lambda c: {"size_{}": float(len(c.fakes))}), Metric(("hard_{}",), fails))
    monkeypatch.setattr(metrics, "METRICS", added)
    result = measure(compare(features(70, 2)))
    assert result.metrics == {"size_net": 70} and result.not_measured == {"hard_net": "not today"}
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
    comparison = compare(features(70, 2), holdout=features(55, 3))
    result = measure(comparison)
    indices, distances = comparison.neighbours
    assert sorted(passes) == [(55, 60), (60, 60), (70, 55), (70, 60), (70, 70)]
    alone = neighbours.nearest(comparison.fakes.values, comparison.reals.values, 5)
    np.testing.assert_array_equal(indices, alone[0])
    np.testing.assert_array_equal(distances, alone[1])
    radii = [neighbours.squared_radii(side.values, 5) for side in (comparison.fakes, comparison.reals)]
    expected = metrics.prdc.prdc(comparison.fakes.values, comparison.reals.values, *radii)
    assert {name: result.metrics[f"{name}_net"] for name in expected} == expected


def test_precision_and_recall_have_the_k_that_is_set(passes):
    sides = features(70, 2), features(60, 1)
    found = {k: measure(Comparison(Network(), *sides, k=k)) for k in (3, 5)}  # type: ignore[arg-type]
    for k, result in found.items():
        radii = [neighbours.squared_radii(side.values, k) for side in sides]
        expected = metrics.prdc.prdc(*(side.values for side in sides), *radii, k=k)
        assert {name: result.metrics[f"{name}_net"] for name in expected} == expected
        assert result.protocol["precision_net"]["k"] == k
    assert found[3].metrics["diversity_net"] == found[5].metrics["diversity_net"], "which has a k of its own"


def test_neighbours_are_searched_in_train_and_prdc_in_the_reals():
    plain = compare(features(70, 2), holdout=features(55, 3))
    train = FeatureSet(np.concatenate([plain.reals.values, features(50, 4).values]))
    comparison = compare(features(70, 2), holdout=features(55, 3), train=train)
    assert measure(comparison).metrics["density_net"] == measure(plain).metrics["density_net"]
    np.testing.assert_array_equal(
        comparison.neighbours[0], neighbours.nearest(comparison.fakes.values, train.values, 5)[0]
    )
