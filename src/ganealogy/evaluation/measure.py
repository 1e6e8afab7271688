"""The table of metrics: each maps the features of fakes and reals to named numbers and their protocol.

To add a metric, write its function in `metrics/<name>.py` and add one `Metric` to METRICS below. It is then computed by
the `reference` and `evaluate` stages and by `ganealogy measure`, and it is a column of the report. `{}` in a
name stands for the extractor: `fd_{}` becomes `fd_effnet_lite0`. A metric that cannot be computed raises a
GanealogyError, whose text becomes the reason under `not_measured`; the other metrics and the stage continue.

To describe the metric to the report (label, group of columns, scale, direction), add its kind to `KINDS` in
verdicts/metric_kinds.py. It is not a field of `Metric`, because a change to this module evaluates every run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.extractors.pictures import unflatten
from ganealogy.evaluation.features import FeatureSet, extractor_class, moments
from ganealogy.evaluation.metrics import fd_infinity, inception_score, kid, prdc
from ganealogy.evaluation.metrics.classifier_score import class_metrics
from ganealogy.evaluation.metrics.diversity import diversity
from ganealogy.evaluation.metrics.frechet import frechet_distance
from ganealogy.evaluation.metrics.memorisation import QUANTILE, memorisation, ratios
from ganealogy.evaluation.metrics.neighbours import Indices, Matrix, TileCallback, nearest
from ganealogy.evaluation.metrics.prdc import Manifolds
from ganealogy.evaluation.metrics.sliced_wasserstein import DIRECTIONS, PATCH, PATCHES, SEED, sliced_wasserstein
from ganealogy.evaluation.metrics.vendi import vendi
from ganealogy.evaluation.metrics.whitened import Block
from ganealogy.files import atomic
from ganealogy.record_types import Flag, MetricProtocol

MIN_IMAGES = 50
"""Per side: below, every metric is mostly bias and noise. Nine pictures per side have a precision of exactly 1."""
DIMENSIONS_PER_IMAGE = 10
"""With as many dimensions or more for each picture, a Fréchet distance is mostly bias."""
NEIGHBOURS = 5
"""Nearest training pictures per sample."""

HEAD = Block("w64", slice(None), 64, 0.0)
"""A network's features in 64 whitened components: few enough for 500 samples, which the plain distance is not."""


@dataclass(frozen=True)
class Comparison:
    """The input of every metric: features of fakes and reals. Values derived from them are computed on their device."""

    extractor: Extractor
    fakes: FeatureSet
    reals: FeatureSet
    train: FeatureSet | None = None
    """Training pictures to search for neighbours; the reals if None."""
    holdout: FeatureSet | None = None
    train_count: int | None = None
    """Number of training pictures; None: all are searched."""
    holdout_ratios: Matrix | None = None
    """See `reference.Reals`; computed from `holdout` if None."""
    k: int = prdc.K
    """Of precision, recall, density and coverage: see `evaluate.neighbours` of params.yaml."""

    @property
    def searched(self) -> FeatureSet:
        return self.reals if self.train is None else self.train

    @cached_property
    def neighbours(self) -> tuple[Indices, Matrix]:
        """Nearest training pictures of each fake, nearest first: indices and distances, both (n, up to 5)."""
        if self.searched is self.reals and min(len(self.fakes), len(self.reals)) > prdc.K:
            return self.among_reals[0]
        return self.nearest(self.searched, NEIGHBOURS)

    @property
    def prdc(self) -> dict[str, float]:
        """Precision, recall, density and coverage.

        Raises: GanealogyError when a side has too few images.
        """
        return self.among_reals[1].values(self.k)

    @cached_property
    def among_reals(self) -> tuple[tuple[Indices, Matrix], Manifolds]:
        """Neighbours, and the balls of PRDC, from one pass over the distances, the slowest step of an evaluation."""
        fake_radii, real_radii = self.fakes.squared_radii(self.k), self.reals.squared_radii(self.k)
        manifolds = prdc.Manifolds(fake_radii, real_radii, self.fakes.device)
        return self.nearest(self.reals, NEIGHBOURS, manifolds.add_tile), manifolds

    def nearest(self, points: FeatureSet, k: int, on_tile: TileCallback | None = None) -> tuple[Indices, Matrix]:
        """Return the k nearest `points` of each fake, or all if there are fewer; see neighbours.py."""
        fakes = self.fakes.values.astype(points.values.dtype, copy=False)  # copies of rounded features are at 0, too
        return nearest(fakes, points.values, min(k, len(points)), self.fakes.device, on_tile)


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
    """It applies to extractors with this attribute, unless that is False, such as `network` or `probabilities`. None:
    all but those with `blocks` or `pictures`, whose features suit one metric alone."""
    settings: Callable[[Comparison], MetricProtocol] = lambda comparison: {}
    """Entries of its protocol besides the sets and the extractor, such as k or the number of subsets."""
    anchored: bool = True
    """Whether the anchors of the reference stage are measured by it."""
    may_lead: bool = False
    """Whether the battery of the reference stage is measured by it."""
    flags: bool = False
    """Whether it may raise a flag: then it is computed also where `evaluate.metrics` leaves it out."""

    def applies(self, extractor: Extractor) -> bool:
        if self.requires is None:
            return suits_all_metrics(extractor)
        return getattr(extractor, self.requires, False) is not False

    def named(self, name: str, extractor: Extractor) -> bool:
        """Return whether it measures the metric of this name from the extractor's features."""
        return self.applies(extractor) and name in [full_name(template, extractor.name) for template in self.names]


@dataclass
class Measured:
    """Results by metric. Every name in `metrics` has a protocol; no name is in both `metrics` and `not_measured`."""

    metrics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, MetricProtocol] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    flags: dict[str, Flag] = field(default_factory=dict)


def _fd(c: Comparison) -> Values:
    dimensions = c.fakes.values.shape[1]
    _check_count(c, dimensions // DIMENSIONS_PER_IMAGE + 1, f", as features have {dimensions} dimensions")
    return {"fd_{}": frechet_distance(c.fakes.moments, c.reals.moments)}


def _largest_whitened(c: Comparison) -> Values:
    """Return the extractor's distance, which is its largest block's, and that of each block."""
    _check_sizes(c)
    fewest = getattr(c.extractor, "min_fakes", 0)
    if len(c.fakes) < fewest:
        raise GanealogyError(f"needs {fewest} samples or more, there are {len(c.fakes)}: raise sample.count")
    values = {f"fd_{block.name}": _whitened(c, block) for block in c.extractor.blocks(c.fakes.values.shape[1])}  # type: ignore[attr-defined]
    return {"fd_{}": max(values.values()), **values}


def _whitened(c: Comparison, block: Block) -> float:
    return c.reals.whitening(block).distance(c.fakes.values[:, block.columns])


def _check_count(c: Comparison, fewest: int = MIN_IMAGES, reason: str = "") -> None:
    """Raises: GanealogyError for fewer images on a side."""
    if min(len(c.fakes), len(c.reals)) < fewest:
        sides = f"{len(c.fakes)} samples and {len(c.reals)} reals"
        raise GanealogyError(f"needs {fewest} pictures on each side{reason}; there are {sides}")


def _check_sizes(c: Comparison) -> None:
    """Raises: GanealogyError where the features' number, which depends on the pictures' size, differs."""
    if c.fakes.values.shape[1] != c.reals.values.shape[1]:
        raise GanealogyError(f"{c.extractor.name} needs pictures of one size: resize one of the sets")


def _whitened_head(c: Comparison) -> Values:
    return {"fd_w64_{}": _whitened(c, HEAD)}


def _swd(c: Comparison) -> Values:
    _check_sizes(c)
    return {"swd": sliced_wasserstein(unflatten(c.fakes.values), unflatten(c.reals.values))}


def _swd_settings(c: Comparison) -> MetricProtocol:
    patches = f"{PATCHES} of {PATCH}x{PATCH} per image and level"
    return {"patches": patches, "directions": DIRECTIONS, "patch_seed": SEED}


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
    if c.reals.moments.trace == 0:
        raise GanealogyError("the real pictures all have the same features")
    traces = c.fakes.moments.trace, c.reals.moments.trace
    result = diversity(*traces, c.fakes.squared_spacings, c.reals.squared_radii())
    return {"diversity_{}": FlaggedValue(result.variance, "collapsed", result.collapsed, result.reason)}


def copy_ratios(c: Comparison) -> Matrix:
    """Return `memorisation.ratios` of each fake to the reals: (n,)."""
    return ratios(c.nearest(c.reals, NEIGHBOURS)[1])


def _memorised(c: Comparison) -> Values:
    if c.holdout is None or not len(c.holdout):
        raise GanealogyError("needs held-out pictures to compare with")
    if c.train_count is not None and len(c.searched) < c.train_count:
        raise GanealogyError(
            f"only {len(c.searched):,} of {c.train_count:,} training pictures have {c.extractor.name}'s features, "
            "so most copies would be missed; pixel8 searches all of them"
        )
    held_out = c.holdout_ratios
    if held_out is None:
        held_out = copy_ratios(Comparison(c.extractor, c.holdout, c.searched))
    indices, distances = c.nearest(c.holdout, 1)
    to_holdout = indices[:, 0], distances[:, 0]
    test = memorisation(c.neighbours, to_holdout, held_out, len(c.searched), len(c.holdout))
    return {"memorised_{}": FlaggedValue(test.fraction, "memorised", test.flag, test.reason), "copies_{}": test.copies}


def _memorised_settings(c: Comparison) -> MetricProtocol:
    return {"searched": len(c.searched), "holdout": 0 if c.holdout is None else len(c.holdout), "quantile": QUANTILE}


def _classes(c: Comparison) -> Values:
    probabilities: NDArray[np.float32] = c.extractor.probabilities(c.fakes.values)  # type: ignore[attr-defined]
    return {**class_metrics(probabilities)}


METRICS = (
    Metric(("fd_{}",), _fd, may_lead=True),
    Metric(("fd_{}", "fd_layout_32", "fd_edges_64"), _largest_whitened, "blocks", may_lead=True),
    Metric(("swd",), _swd, "pictures", _swd_settings, may_lead=True),
    Metric(("fd_w64_{}",), _whitened_head, "network", lambda c: {"components": HEAD.components}, may_lead=True),
    Metric(("fd_inf_{}",), _fd_infinity, settings=_fd_infinity_settings),
    Metric(("kid_{}", "kid_{}_se"), _kid, "network", _kid_settings, may_lead=True),
    Metric(("precision_{}", "recall_{}", "density_{}", "coverage_{}"), _prdc, "network", lambda c: {"k": c.k}),
    Metric(("vendi_{}",), _vendi, "network", lambda c: {"kernel": "cosine"}),
    Metric(
        ("is_{}",),
        _inception_score,
        "class_weights",
        lambda c: {"splits": inception_score.SPLITS, "split_seed": inception_score.SEED},
    ),
    Metric(("digits_{}", "digit_entropy_{}", "classifier_score_{}"), _classes, "probabilities"),
    Metric(("diversity_{}",), _diversity, settings=lambda c: {"k": prdc.K}, flags=True),
    Metric(("memorised_{}", "copies_{}"), _memorised, settings=_memorised_settings, anchored=False, flags=True),
)


def suits_all_metrics(extractor: Extractor) -> bool:
    """Return whether neighbours, variance and all other general metrics of its features mean something."""
    return not (hasattr(extractor, "blocks") or hasattr(extractor, "pictures"))


def whitened_blocks(extractor: Extractor, dimension: int) -> tuple[Block, ...]:
    """Return the blocks whose whitened distance is measured: the extractor's own, or a network's head."""
    if hasattr(extractor, "blocks"):
        return tuple(extractor.blocks(dimension))
    return (HEAD,) if extractor.network else ()


def metric_names(extractor: Extractor) -> list[str]:
    """Return the metrics that suit the extractor."""
    return _names(extractor, extractor.name)


def known_metrics(extractor: str) -> list[str]:
    """Return the metrics that suit an extractor, without loading its weights."""
    return _names(extractor_class(extractor), extractor)


def _names(extractor: Any, name: str) -> list[str]:
    templates = [template for metric in METRICS if metric.applies(extractor) for template in metric.names]
    return [full_name(template, name) for template in templates]


def yields(extractor: Extractor, name: str) -> bool:
    """Return whether the extractor's features yield the metric of this name."""
    return any(metric.named(name, extractor) for metric in METRICS)


def full_name(template: str, extractor: str) -> str:
    """Insert the extractor's name. `fid` is reserved for the Fréchet distance by pytorch-fid's Inception."""
    name = template.format(extractor)
    return "fid" if name == "fd_inception" else name


def measure(
    comparison: Comparison,
    only: Callable[[Metric], bool] = lambda metric: True,
    names: Collection[str] | None = None,
    **conditions: Any,
) -> Measured:
    """Compute every metric that suits the extractor and for which `only` is true.

    `names`: the metrics to return, all if None. Flags are always returned.
    `conditions` are added to every protocol: checkpoint, temperature and whatever else determined the fakes.
    """
    result = Measured()
    extractor = comparison.extractor
    damaged = [
        side
        for side, features in (("samples", comparison.fakes), ("real pictures", comparison.reals))
        if not np.isfinite(features.values).all()
    ]
    for metric in METRICS:
        if not metric.applies(extractor) or not only(metric):
            continue
        wanted = {
            template for template in metric.names if names is None or full_name(template, extractor.name) in names
        }
        if not wanted and not metric.flags:
            continue
        try:
            if damaged:
                raise GanealogyError(f"the features of the {' and the '.join(damaged)} hold NaN or infinite values")
            _check_count(comparison)
            values, settings = metric.measure(comparison), metric.settings(comparison)
        except (GanealogyError, np.linalg.LinAlgError) as error:
            reason = {full_name(name, extractor.name): str(error) for name in metric.names if name in wanted}
            result.not_measured |= reason
            continue
        for template, result_value in values.items():
            name = full_name(template, extractor.name)
            value = result_value.value if isinstance(result_value, FlaggedValue) else result_value
            if isinstance(result_value, FlaggedValue) and np.isfinite(value):
                flag: Flag = {"flag": result_value.raised, "why": result_value.reason, "value": value}
                result.flags[f"{result_value.flag}_{extractor.name}"] = flag
            if names is not None and name not in names:
                continue
            if not np.isfinite(value):
                result.not_measured[name] = f"its value is {value}"
                continue
            result.metrics[name] = value
            result.protocol[name] = build_protocol(
                extractor, len(comparison.fakes), len(comparison.reals), **settings, **conditions
            )
    return result


def build_protocol(extractor: Extractor, fakes: int, reals: int, **conditions: Any) -> MetricProtocol:
    """Return how a number was measured, with a `fingerprint` of it.

    Two values of one metric are comparable only if their fingerprints are equal.
    """
    protocol = {
        **extractor.protocol,
        "extractor": extractor.name,
        "fakes": fakes,
        "reals": reals,
        "split": "train",
        **conditions,
    }
    if extractor.network:
        protocol["dimension"] = extractor.dimension  # decides with `fakes` whether FD or KID is the primary metric
    return {**protocol, "fingerprint": atomic.digest(protocol)[:12]}
