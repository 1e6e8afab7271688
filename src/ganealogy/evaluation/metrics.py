"""The metrics: each a function from the features of fakes and of reals to named numbers.

To add one: write its function, add it to NETWORK_METRICS, or to METRICS when it makes sense on bare pixels too.
`{}` in a name is the extractor's: `fd_{}` becomes `fd_effnet_lite0`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganealogy.evaluation.classifier_score import class_metrics
from ganealogy.evaluation.features import Extractor, FeatureSet
from ganealogy.evaluation.frechet import frechet_distance
from ganealogy.evaluation.kid import SEED, SUBSETS, kid, subset_size

Metric = Callable[[FeatureSet, FeatureSet], dict[str, float]]


def fd(fakes: FeatureSet, reals: FeatureSet) -> dict[str, float]:
    return {"fd_{}": frechet_distance(fakes.moments, reals.moments)}


def kid_with_error(fakes: FeatureSet, reals: FeatureSet) -> dict[str, float]:
    estimate = kid(fakes.values, reals.values)
    return {"kid_{}": estimate.value, "kid_{}_se": estimate.standard_error}


METRICS: tuple[Metric, ...] = (fd,)
NETWORK_METRICS: tuple[Metric, ...] = (kid_with_error,)


def full_name(template: str, extractor: str) -> str:
    """`fid` is the Fréchet distance of pytorch-fid's Inception, and nothing else bears that name."""
    name = template.format(extractor)
    return "fid" if name == "fd_inception" else name


def measure(extractor: Extractor, fakes: FeatureSet, reals: FeatureSet) -> dict[str, float]:
    """Every metric that this extractor's features allow."""
    chosen = METRICS + NETWORK_METRICS if extractor.network else METRICS
    values = {name: value for metric in chosen for name, value in metric(fakes, reals).items()}
    if probabilities := getattr(extractor, "probabilities", None):  # a classifier of the data's own classes
        values |= class_metrics(probabilities(fakes.values))
    return {full_name(name, extractor.name): value for name, value in values.items()}


def protocol(metric: str, extractor: Extractor, fakes: int, reals: int, **more: Any) -> dict[str, Any]:
    """How a number came about. Two numbers of one name compare only where this is equal."""
    way = {"extractor": extractor.name, **extractor.protocol, "fakes": fakes, "reals": reals, "split": "train", **more}
    if metric.startswith("kid_"):
        way |= {"subsets": SUBSETS, "subset_size": subset_size(fakes, reals), "subset_seed": SEED}
    return way
