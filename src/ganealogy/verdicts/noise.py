"""Where the noise of a number comes from: training against sampling, and the kinds of a training's draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganealogy.record_types import NoiseJson
from ganealogy.verdicts.estimates import LEVEL
from ganealogy.verdicts.metric_kinds import scale

LABELS = {
    "initialise": "initial weights",
    "order": "order of the batches",
    "steps": "draws of each step",
    "all": "all three, the tree's seeds",
}
"""Kind of a training's draws, a field of `training.loop.Draws`, → label."""


@dataclass(frozen=True)
class Components:
    """Standard deviations of one number of one seed, on the metric's scale of comparison."""

    training: float
    """Between trainings with different seeds."""
    sampling: float
    """Between sample sets of one training."""
    seeds: int
    sets: int
    """At most, per seed."""

    @property
    def total(self) -> float:
        return math.hypot(self.training, self.sampling)

    @property
    def share(self) -> float | None:
        """The fraction of the variance that comes from training; None without variance."""
        return (self.training / self.total) ** 2 if self.total else None


@dataclass(frozen=True)
class Spread:
    """A standard deviation with its 95 % interval for normal values, on the metric's scale of comparison."""

    sd: float
    low: float
    high: float
    count: int


def components(metric: str, sets_of_seeds: Sequence[Sequence[float]]) -> Components | None:
    """Split the variance of a metric, one sequence of repeats (same training, other samples) per seed.

    The one-way random-effects analysis of variance with its method-of-moments estimators, a negative one of which is 0;
    groups may differ in size (Searle, Casella, McCulloch: Variance Components, 1992, section 3.6). Returns None below
    two seeds, where no seed has two sets, and for distances without a logarithm.
    """
    groups = [_on_scale(metric, values) for values in sets_of_seeds if values]
    count, total = len(groups), sum(map(len, groups))
    if count < 2 or total == count or not all(np.isfinite(group).all() for group in groups):
        return None
    grand = sum(group.sum() for group in groups) / total
    between = sum(len(group) * (group.mean() - grand) ** 2 for group in groups) / (count - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (total - count)
    size = (total - sum(len(group) ** 2 for group in groups) / total) / (count - 1)
    training = max(0.0, (between - within) / size)
    return Components(math.sqrt(training), math.sqrt(within), count, max(map(len, groups)))


def spread(metric: str, values: Sequence[float]) -> Spread | None:
    """Return the standard deviation of values, on the metric's scale, with the chi-square interval.

    Returns None below two values, and for distances without a logarithm.
    """
    from scipy.special import chdtri

    scaled = _on_scale(metric, values)
    if len(scaled) < 2 or not np.isfinite(scaled).all():
        return None
    sd, freedom = float(scaled.std(ddof=1)), len(scaled) - 1
    low, high = (sd * math.sqrt(freedom / float(chdtri(freedom, tail))) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Spread(sd, low, high, len(scaled))


def spreads(record: NoiseJson) -> dict[str, Spread]:
    """Return kind → spread of a record of `ganealogy noise`, for the kinds with at least two values."""
    found = {}
    for kind in LABELS:
        values = [value for value in record["values"].get(kind, {}).values() if value is not None]
        if (each := spread(record["lead"], values)) is not None:
            found[kind] = each
    return found


def sentence(found: dict[str, Spread], metric: str) -> str:
    """Return what the spreads tell, as a sentence; empty with fewer than two kinds."""
    single = {kind: each for kind, each in found.items() if kind != "all"}
    if len(single) < 2:
        return ""
    most, least = max(single, key=lambda kind: single[kind].sd), min(single, key=lambda kind: single[kind].sd)
    together = f"; all together {amount(metric, found['all'].sd)}" if "all" in found else ""
    if apart := [kind for kind, each in single.items() if each.high < single[most].low]:
        others = " and ".join(f"{amount(metric, single[kind].sd)} from the {LABELS[kind]}" for kind in apart)
        alone = amount(metric, single[most].sd)
        return f"Most comes from the {LABELS[most]}: {alone} alone, against {others}{together}."
    ends = f"{amount(metric, single[least].sd)} to {amount(metric, single[most].sd)}"
    return f"So few runs cannot separate the kinds: {ends}, and the intervals overlap{together}."


def amount(metric: str, sd: float) -> str:
    """Format a standard deviation: of a logarithm in percent of the value, else in the metric's unit."""
    return f"{100 * sd:.3g} %" if scale(metric) == "log" else f"{sd:.3g}"


def _on_scale(metric: str, values: Sequence[float]) -> NDArray[np.float64]:
    """Return the values on the metric's scale of comparison; not finite where they have no logarithm."""
    numbers = np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(numbers) if scale(metric) == "log" else numbers
