"""What a metric's numbers mean to a comparison: the scale on which they are averaged, and which way is better.

A Fréchet distance is compared on the logarithm: it is positive, its spread over seeds grows with its size, and what
people quote is a ratio. KID's estimate is unbiased and may be below 0, and a share lies in 0..1: linear.

A metric is known here by the first word of its name: `fd_inf_pixel8` is an `fd`. One that is not listed is averaged on
the linear scale, and gets no verdict, since nothing says which way is better.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Scale = Literal["log", "linear"]


class Kind(NamedTuple):
    scale: Scale
    higher_is_better: bool
    distance: bool = False
    """To the real set: a mean image repeated has one too, and a version that has not passed it is not compared."""


KINDS = {
    "fid": Kind("log", False, distance=True),
    "fd": Kind("log", False, distance=True),
    "kid": Kind("linear", False, distance=True),
    "precision": Kind("linear", True),
    "recall": Kind("linear", True),
    "density": Kind("linear", True),
    "coverage": Kind("linear", True),
    "vendi": Kind("linear", True),
    "is": Kind("linear", True),
    "classifier": Kind("linear", True),
    "digits": Kind("linear", True),
    "digit": Kind("linear", True),
    "memorised": Kind("linear", False),
}


def scale(metric: str) -> Scale:
    """`log` for Fréchet distances, `linear` for all else."""
    kind = _kind(metric)
    return kind.scale if kind else "linear"


def higher_is_better(metric: str) -> bool:
    """False for distances, and for a metric without a direction too: ask `has_direction` first."""
    kind = _kind(metric)
    return bool(kind and kind.higher_is_better)


def has_direction(metric: str) -> bool:
    """Whether more, or less, of this metric is better. A standard error has none, nor has a ratio whose ideal is 1."""
    return _kind(metric) is not None


def is_distance(metric: str) -> bool:
    """Whether the mean image's own value is an anchor that a version has to pass."""
    kind = _kind(metric)
    return bool(kind and kind.distance)


def _kind(metric: str) -> Kind | None:
    return None if metric.endswith("_se") else KINDS.get(metric.partition("_")[0])
