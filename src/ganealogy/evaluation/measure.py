"""The table of metrics: each maps the features of fakes and reals to named numbers and their protocol.

To add a metric, write its function in `metrics/<name>.py` and add one `Metric` to METRICS below. It is then computed by
the `reference` and `evaluate` stages and by `ganealogy measure`, and it is a column of the report. `{}` in a
name stands for the extractor: `fd_{}` becomes `fd_effnet_lite0`. A metric that cannot be computed raises a
GanealogyError, whose text becomes the reason under `not_measured`; the other metrics and the stage continue.

To describe the metric to the report (label, group of columns, scale, direction), add its kind to `KINDS` in
verdicts/metric_kinds.py. It is not a field of `Metric`, because a change to this module evaluates every run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import FeatureSet, moments
from ganealogy.evaluation.metrics import fd_infinity, inception_score, kid, prdc
from ganealogy.evaluation.metrics.classifier_score import class_metrics
from ganealogy.evaluation.metrics.frechet import frechet_distance
from ganealogy.evaluation.metrics.memorisation import memorisation
from ganealogy.evaluation.metrics.neighbours import Indices, Matrix, TileCallback, nearest
from ganealogy.evaluation.metrics.vendi import vendi
from ganealogy.files import atomic
from ganealogy.record_types import Flag, MetricProtocol

NEIGHBOURS = 5
"""Nearest training pictures per sample."""
MIN_DIVERSITY = 0.05
"""Variance relative to the reals' below which a generator counts as collapsed: all pictures look alike."""
MIN_SPACING = 0.1
"""Median distance between neighbours, relative to the reals', below which it does too: many copies of few pictures."""


@dataclass(frozen=True)
class Comparison:
    """The input of every metric: features of fakes and reals. Values derived from them are computed on their device."""

    extractor: Extractor
    fakes: FeatureSet
    reals: FeatureSet
    train: FeatureSet | None = None
    """Training pictures to search for neighbours; the reals if None."""
    holdout: FeatureSet | None = None

    @property
    def searched(self) -> FeatureSet:
        return self.reals if self.train is None else self.train

    @cached_property
    def neighbours(self) -> tuple[Indices, Matrix]:
        """Nearest training pictures of each fake, nearest first: indices and distances, both (n, up to 5)."""
        if self.searched is self.reals and min(len(self.fakes), len(self.reals)) > prdc.K:
            return self._among_reals[0]
        return self.nearest(self.searched, NEIGHBOURS)

    @property
    def prdc(self) -> dict[str, float]:
        """Precision, recall, density and coverage.

        Raises: GanealogyError when a side has too few images.
        """
        return self._among_reals[1]

    @cached_property
    def _among_reals(self) -> tuple[tuple[Indices, Matrix], dict[str, float]]:
        """Neighbours and PRDC from one pass over the distances, which is the slowest step of an evaluation."""
        manifolds = prdc.Manifolds(self.fakes.squared_radii, self.reals.squared_radii, self.fakes.device)
        return self.nearest(self.reals, NEIGHBOURS, manifolds.add_tile), manifolds.values()

    def nearest(self, points: FeatureSet, k: int, on_tile: TileCallback | None = None) -> tuple[Indices, Matrix]:
        """Return the k nearest `points` of each fake, or all if there are fewer; see neighbours.py."""
        return nearest(self.fakes.values, points.values, min(k, len(points)), self.fakes.device, on_tile)


@dataclass(frozen=True)
class FlaggedValue:
    """A value with a flag such as `collapsed` or `memorised`, raised or not, and the reason."""

    value: float
    flag: str
    raised: bool
    reason: str


Values = dict[str, float | FlaggedValue]


@dataclass(frozen=True)
class Metric:
    """One entry of METRICS."""

    names: tuple[str, ...]
    measure: Callable[[Comparison], Values]
    """Returns a value for each name."""
    requires: str | None = None
    """It applies to extractors with this attribute, unless that is False: `network` or `probabilities`."""
    settings: Callable[[Comparison], MetricProtocol] = lambda comparison: {}
    """Entries of its protocol besides the sets and the extractor, such as k or the number of subsets."""
    anchored: bool = True
    """Whether the anchors of the reference stage are measured by it."""

    def applies(self, extractor: Extractor) -> bool:
        return self.requires is None or getattr(extractor, self.requires, False) is not False


@dataclass
class Measured:
    """Results by metric. Every name in `metrics` has a protocol; no name is in both `metrics` and `not_measured`."""

    metrics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, MetricProtocol] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    flags: dict[str, Flag] = field(default_factory=dict)


def _fd(c: Comparison) -> Values:
    return {"fd_{}": frechet_distance(c.fakes.moments, c.reals.moments)}


def _fd_infinity(c: Comparison) -> Values:
    on_device = partial(moments, device=c.fakes.device)
    return {"fd_inf_{}": fd_infinity.fd_infinity(c.fakes.values, c.reals.moments, on_device)}


def _fd_infinity_settings(c: Comparison) -> MetricProtocol:
    smallest = fd_infinity.counts(*c.fakes.values.shape)[0]
    return {"points": fd_infinity.POINTS, "smallest_subset": smallest, "subset_seed": fd_infinity.SEED}


def _kid(c: Comparison) -> Values:
    sums = c.reals.kernel_sums_as_reals(kid.setup(len(c.fakes), len(c.reals)))
    estimate = kid.kid(c.fakes.values, c.reals.values, device=c.fakes.device, sums_within_b=sums)
    return {"kid_{}": estimate.value, "kid_{}_se": estimate.standard_error}


def _kid_settings(c: Comparison) -> MetricProtocol:
    size = kid.subset_size(len(c.fakes), len(c.reals))
    return {"subsets": kid.SUBSETS, "subset_size": size, "subset_seed": kid.SEED}


def _prdc(c: Comparison) -> Values:
    return {f"{name}_{{}}": value for name, value in c.prdc.items()}


def _vendi(c: Comparison) -> Values:
    return {"vendi_{}": vendi(c.fakes.values)}


def _inception_score(c: Comparison) -> Values:
    weights = c.extractor.class_weights  # type: ignore[attr-defined]
    return {"is_{}": inception_score.inception_score(c.fakes.values @ weights.T)}  # its authors leave out the bias


def _diversity(c: Comparison) -> Values:
    """Return the fakes' total variance relative to the reals'.

    The flag also checks the distance between neighbours: copies of a few pictures far apart have variance too.
    """
    if c.reals.moments.trace == 0:
        raise GanealogyError("the real pictures all have the same features")
    variance = c.fakes.moments.trace / c.reals.moments.trace
    fake_gap, real_gap = (float(np.sqrt(np.median(side.squared_radii))) for side in (c.fakes, c.reals))
    spacing = fake_gap / real_gap if real_gap else 1.0
    collapsed = variance < MIN_DIVERSITY or spacing < MIN_SPACING
    limits = f"below {MIN_DIVERSITY:.0%} or {MIN_SPACING:.0%}" if collapsed else "not collapsed"
    reason = f"{variance:.1%} of the reals' variance, {spacing:.1%} of their distance between neighbours: {limits}"
    return {"diversity_{}": FlaggedValue(variance, "collapsed", collapsed, reason)}


def _memorised(c: Comparison) -> Values:
    if c.holdout is None or not len(c.holdout):
        raise GanealogyError("needs held-out pictures to compare with")
    to_train, to_holdout = (
        (indices[:, 0], distances[:, 0]) for indices, distances in (c.neighbours, c.nearest(c.holdout, 1))
    )
    test = memorisation(to_train, to_holdout, len(c.searched), len(c.holdout))
    reason = (
        f"{test.fraction:.0%} of the samples are nearer to a training picture than to a held-out one "
        f"(50% without copying; p = {test.p:.2g})"
    )
    return {"memorised_{}": FlaggedValue(test.fraction, "memorised", test.flag, reason)}


def _memorised_settings(c: Comparison) -> MetricProtocol:
    return {"searched": len(c.searched), "holdout": 0 if c.holdout is None else len(c.holdout)}


def _classes(c: Comparison) -> Values:
    probabilities: NDArray[np.float32] = c.extractor.probabilities(c.fakes.values)  # type: ignore[attr-defined]
    return {**class_metrics(probabilities)}


METRICS = (
    Metric(("fd_{}",), _fd),
    Metric(("fd_inf_{}",), _fd_infinity, settings=_fd_infinity_settings),
    Metric(("kid_{}", "kid_{}_se"), _kid, "network", _kid_settings),
    Metric(("precision_{}", "recall_{}", "density_{}", "coverage_{}"), _prdc, "network", lambda c: {"k": prdc.K}),
    Metric(("vendi_{}",), _vendi, "network", lambda c: {"kernel": "cosine"}),
    Metric(
        ("is_{}",),
        _inception_score,
        "class_weights",
        lambda c: {"splits": inception_score.SPLITS, "split_seed": inception_score.SEED},
    ),
    Metric(("digits_{}", "digit_entropy_{}", "classifier_score_{}"), _classes, "probabilities"),
    Metric(("diversity_{}",), _diversity, settings=lambda c: {"k": prdc.K}),
    Metric(("memorised_{}",), _memorised, settings=_memorised_settings, anchored=False),
)


def full_name(template: str, extractor: str) -> str:
    """Insert the extractor's name. `fid` is reserved for the Fréchet distance by pytorch-fid's Inception."""
    name = template.format(extractor)
    return "fid" if name == "fd_inception" else name


def measure(comparison: Comparison, anchor: bool = False, **conditions: Any) -> Measured:
    """Compute every metric that suits the extractor; for an `anchor`, only the anchored ones.

    `conditions` are added to every protocol: checkpoint, truncation and whatever else determined the fakes.
    """
    result = Measured()
    extractor = comparison.extractor
    damaged = [
        side
        for side, features in (("samples", comparison.fakes), ("real pictures", comparison.reals))
        if not np.isfinite(features.values).all()
    ]
    for metric in METRICS:
        if not metric.applies(extractor) or (anchor and not metric.anchored):
            continue
        try:
            if damaged:
                raise GanealogyError(f"the features of the {' and the '.join(damaged)} hold NaN or infinite values")
            values, settings = metric.measure(comparison), metric.settings(comparison)
        except (GanealogyError, np.linalg.LinAlgError) as error:
            result.not_measured |= {full_name(name, extractor.name): str(error) for name in metric.names}
            continue
        for template, result_value in values.items():
            name = full_name(template, extractor.name)
            value = result_value.value if isinstance(result_value, FlaggedValue) else result_value
            if not np.isfinite(value):
                result.not_measured[name] = f"its value is {value}"
                continue
            result.metrics[name] = value
            result.protocol[name] = build_protocol(
                extractor, len(comparison.fakes), len(comparison.reals), **settings, **conditions
            )
            if isinstance(result_value, FlaggedValue):
                flag: Flag = {"flag": result_value.raised, "why": result_value.reason, "value": value}
                result.flags[f"{result_value.flag}_{extractor.name}"] = flag
    return result


def build_protocol(extractor: Extractor, fakes: int, reals: int, **conditions: Any) -> MetricProtocol:
    """Return how a number was measured, with a `fingerprint` of it.

    Two values of one metric are comparable only if their fingerprints are equal.
    """
    protocol = {
        "extractor": extractor.name,
        **extractor.protocol,
        "fakes": fakes,
        "reals": reals,
        "split": "train",
        **conditions,
    }
    if extractor.network:
        protocol["dimension"] = extractor.dimension  # decides with `fakes` whether FD or KID is the primary metric
    return {**protocol, "fingerprint": atomic.digest(protocol)[:12]}
