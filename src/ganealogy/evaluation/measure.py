"""The metrics: each from the features of fakes and of reals to named numbers, with what it was measured by.

To add one: write its function and add a Metric to METRICS. `{}` in a name is the extractor's: `fd_{}` becomes
`fd_effnet_lite0`. What a metric cannot be measured on it raises as a GanealogyError, whose text becomes the reason of
`not measured`: no metric fails the stage or hides the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import Extractor, FeatureSet, moments
from ganealogy.evaluation.metrics import fd_infinity, inception_score, kid, prdc
from ganealogy.evaluation.metrics.classifier_score import class_metrics
from ganealogy.evaluation.metrics.frechet import frechet_distance
from ganealogy.evaluation.metrics.memorisation import memorisation
from ganealogy.evaluation.metrics.neighbours import Indices, Matrix, Watch, nearest
from ganealogy.evaluation.metrics.vendi import vendi
from ganealogy.files import atomic

NEIGHBOURS = 5
"""Training pictures shown beside a sample."""
FLAT = 0.05
"""Diversity below which a generator counts as collapsed: its pictures all look alike."""
CROWDED = 0.1
"""The same of the distance between neighbours, relative to the reals': many copies of few pictures."""


@dataclass(frozen=True)
class Comparison:
    """Two sets of features, and what else a metric may need; computed where the features' device is."""

    extractor: Extractor
    fakes: FeatureSet
    reals: FeatureSet
    train: FeatureSet | None = None
    """All training pictures that are searched for neighbours; the reals where it is None."""
    holdout: FeatureSet | None = None

    @property
    def searched(self) -> FeatureSet:
        return self.reals if self.train is None else self.train

    @cached_property
    def neighbours(self) -> tuple[Indices, Matrix]:
        """Of each fake its nearest training pictures, nearest first: indices and distances (n, up to 5)."""
        if self.searched is self.reals and min(len(self.fakes), len(self.reals)) > prdc.K:
            return self._among_reals[0]
        return self.nearest(self.searched, NEIGHBOURS)

    @property
    def prdc(self) -> dict[str, float]:
        """Precision, recall, density and coverage.

        Raises: GanealogyError where one side has too few images.
        """
        return self._among_reals[1]

    @cached_property
    def _among_reals(self) -> tuple[tuple[Indices, Matrix], dict[str, float]]:
        """One pass over the distances between fakes and reals gives both: it takes longer than all else."""
        manifolds = prdc.Manifolds(self.fakes.squared_radii, self.reals.squared_radii, self.fakes.device)
        return self.nearest(self.reals, NEIGHBOURS, manifolds.watch), manifolds.values()

    def nearest(self, among: FeatureSet, k: int, watch: Watch | None = None) -> tuple[Indices, Matrix]:
        """Of each fake its k nearest of `among`, or as many as there are; see neighbours.py."""
        return nearest(self.fakes.values, among.values, min(k, len(among)), self.fakes.device, watch)


@dataclass(frozen=True)
class Flagged:
    """A value that also raises a flag (`collapsed`, `memorised`), or says why it does not."""

    value: float
    name: str
    flag: bool
    why: str


Values = dict[str, float | Flagged]


@dataclass(frozen=True)
class Metric:
    names: tuple[str, ...]
    measure: Callable[[Comparison], Values]
    applies: Callable[[Extractor], bool] = lambda extractor: True
    way: Callable[[Comparison], dict[str, Any]] = lambda comparison: {}
    """What belongs to its protocol beyond the sets and the extractor."""
    anchored: bool = True
    """Whether its value on the held-out reals and their like says something."""


@dataclass
class Measured:
    """What one extractor's features gave; every name in `metrics` has a protocol, and no name is in both."""

    metrics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    flags: dict[str, dict[str, Any]] = field(default_factory=dict)


def _fd(c: Comparison) -> Values:
    return {"fd_{}": frechet_distance(c.fakes.moments, c.reals.moments)}


def _fd_infinity(c: Comparison) -> Values:
    on_device = partial(moments, device=c.fakes.device)
    return {"fd_inf_{}": fd_infinity.fd_infinity(c.fakes.values, c.reals.moments, on_device)}


def _fd_infinity_way(c: Comparison) -> dict[str, Any]:
    smallest = fd_infinity.counts(*c.fakes.values.shape)[0]
    return {"points": fd_infinity.POINTS, "smallest_subset": smallest, "subset_seed": fd_infinity.SEED}


def _kid(c: Comparison) -> Values:
    within_reals = c.reals.kernel_sums_as_reals(kid.setup(len(c.fakes), len(c.reals)))
    estimate = kid.kid(c.fakes.values, c.reals.values, device=c.fakes.device, within_b=within_reals)
    return {"kid_{}": estimate.value, "kid_{}_se": estimate.standard_error}


def _kid_way(c: Comparison) -> dict[str, Any]:
    size = kid.subset_size(len(c.fakes), len(c.reals))
    return {"subsets": kid.SUBSETS, "subset_size": size, "subset_seed": kid.SEED}


def _prdc(c: Comparison) -> Values:
    return {f"{name}_{{}}": value for name, value in c.prdc.items()}


def _vendi(c: Comparison) -> Values:
    return {"vendi_{}": vendi(c.fakes.values)}


def _inception_score(c: Comparison) -> Values:
    return {"is_{}": inception_score.inception_score(c.fakes.values @ _class_weights(c.extractor).T)}


def _class_weights(extractor: Extractor) -> NDArray[np.float32]:
    """(classes, d); the logits of an Inception score are without the last layer's bias, as its authors took them."""
    weights: NDArray[np.float32] = extractor.class_weights  # type: ignore[attr-defined]
    return weights


def _diversity(c: Comparison) -> Values:
    """Total variance of the fakes over the reals'. A few pictures far apart have variance too, and are told by how
    near each fake is to the next."""
    if c.reals.moments.trace == 0:
        raise GanealogyError("the real pictures all have the same features")
    ratio = c.fakes.moments.trace / c.reals.moments.trace
    gaps = [float(np.sqrt(np.median(side.squared_radii))) for side in (c.fakes, c.reals)]
    apart = gaps[0] / gaps[1] if gaps[1] else 1.0
    said = f"{ratio:.1%} of the reals' variance, {apart:.1%} of the distance between their neighbours"
    limits = f"below {FLAT:.0%} or {CROWDED:.0%}" if ratio < FLAT or apart < CROWDED else "not collapsed"
    return {"diversity_{}": Flagged(ratio, "collapsed", ratio < FLAT or apart < CROWDED, f"{said}: {limits}")}


def _memorised(c: Comparison) -> Values:
    if c.holdout is None or not len(c.holdout):
        raise GanealogyError("needs held-out pictures to compare with")
    to_train, to_holdout = c.neighbours, c.nearest(c.holdout, 1)
    first = [(indices[:, 0], distances[:, 0]) for indices, distances in (to_train, to_holdout)]
    found = memorisation(first[0], first[1], len(c.searched), len(c.holdout))
    why = (
        f"{found.share:.0%} of the samples are nearer to a training picture than to a held-out one "
        f"(50% where nothing is copied; p = {found.p:.2g})"
    )
    return {"memorised_{}": Flagged(found.share, "memorised", found.flag, why)}


def _memorised_way(c: Comparison) -> dict[str, Any]:
    return {"searched": len(c.searched), "holdout": 0 if c.holdout is None else len(c.holdout)}


def _classes(c: Comparison) -> Values:
    probabilities: NDArray[np.float32] = c.extractor.probabilities(c.fakes.values)  # type: ignore[attr-defined]
    return {**class_metrics(probabilities)}


def _network(extractor: Extractor) -> bool:
    return extractor.network


def _inception(extractor: Extractor) -> bool:
    return hasattr(extractor, "class_weights")


def _classifier(extractor: Extractor) -> bool:
    return hasattr(extractor, "probabilities")


METRICS = (
    Metric(("fd_{}",), _fd),
    Metric(("fd_inf_{}",), _fd_infinity, way=_fd_infinity_way),
    Metric(("kid_{}", "kid_{}_se"), _kid, _network, _kid_way),
    Metric(("precision_{}", "recall_{}", "density_{}", "coverage_{}"), _prdc, _network, lambda c: {"k": prdc.K}),
    Metric(("vendi_{}",), _vendi, _network, lambda c: {"kernel": "cosine"}),
    Metric(
        ("is_{}",),
        _inception_score,
        _inception,
        lambda c: {"splits": inception_score.SPLITS, "split_seed": inception_score.SEED},
    ),
    Metric(("digits_{}", "digit_entropy_{}", "classifier_score_{}"), _classes, _classifier),
    Metric(("diversity_{}",), _diversity, way=lambda c: {"k": prdc.K}),
    Metric(("memorised_{}",), _memorised, way=_memorised_way, anchored=False),
)


def full_name(template: str, extractor: str) -> str:
    """`fid` is the Fréchet distance of pytorch-fid's Inception, and nothing else bears that name."""
    name = template.format(extractor)
    return "fid" if name == "fd_inception" else name


def measure(comparison: Comparison, anchor: bool = False, **more: Any) -> Measured:
    """Every metric that this extractor's features allow; of an `anchor`, those that mean something there.

    `more` goes into every protocol: checkpoint, truncation and whatever else decided the fakes.
    """
    result = Measured()
    extractor = comparison.extractor
    broken = [
        side
        for side, features in (("samples", comparison.fakes), ("real pictures", comparison.reals))
        if not np.isfinite(features.values).all()
    ]
    for metric in METRICS:
        if not metric.applies(extractor) or (anchor and not metric.anchored):
            continue
        try:
            if broken:
                raise GanealogyError(f"the features of the {' and the '.join(broken)} hold NaN or infinite values")
            values, way = metric.measure(comparison), metric.way(comparison)
        except (GanealogyError, np.linalg.LinAlgError) as error:
            result.not_measured |= {full_name(name, extractor.name): str(error) for name in metric.names}
            continue
        for template, found in values.items():
            name = full_name(template, extractor.name)
            value = found.value if isinstance(found, Flagged) else found
            if not np.isfinite(value):
                result.not_measured[name] = f"its value is {value}"
                continue
            result.metrics[name] = value
            result.protocol[name] = protocol(extractor, len(comparison.fakes), len(comparison.reals), **way, **more)
            if isinstance(found, Flagged):
                flag = {"flag": found.flag, "why": found.why, "value": found.value}
                result.flags[f"{found.name}_{extractor.name}"] = flag
    return result


def protocol(extractor: Extractor, fakes: int, reals: int, **more: Any) -> dict[str, Any]:
    """How a number came about, and the `fingerprint` of all that: two numbers of one name compare only where it is
    equal."""
    way = {"extractor": extractor.name, **extractor.protocol, "fakes": fakes, "reals": reals, "split": "train", **more}
    if extractor.network:
        way["dimension"] = extractor.dimension  # with the number of fakes it says whether FD or KID leads
    return {**way, "fingerprint": atomic.digest(way)[:12]}
