"""Values that change over a training, as fractions of the budget, so that one recipe fits 60 kimg and 20 Mimg.

A scheduled parameter is a number, or `{from: 0.05, to: 0.005, shape: cosine, until: 0.5}`: it moves from one value to
the other over the first half of the budget and is then constant.
"""

from __future__ import annotations

from math import cos, pi
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypeAlias, overload

from annotated_types import Ge, Gt, Le, Lt
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

if TYPE_CHECKING:  # recipes are read without torch
    from torch import Tensor

Progress: TypeAlias = "float | Tensor"
"""Fraction of the budget that is done, in [0, 1]: a number, or a float64 scalar on the device. A CUDA graph keeps
Python numbers as constants and reads tensors at each replay."""

Amount = Annotated[float, Ge(0), Lt(float("inf"))]
Fraction = Annotated[float, Ge(0), Le(1)]
Decay = Annotated[float, Ge(0), Lt(1)]
Shape = Literal["cosine", "linear"]
Until = Annotated[float, Gt(0), Le(1)]

# Spelled out three times, because `from` is a keyword and such a type cannot be generic.
AmountRamp = TypedDict(
    "AmountRamp", {"from": Amount, "to": Amount, "shape": NotRequired[Shape], "until": NotRequired[Until]}
)
FractionRamp = TypedDict(
    "FractionRamp", {"from": Fraction, "to": Fraction, "shape": NotRequired[Shape], "until": NotRequired[Until]}
)
DecayRamp = TypedDict(
    "DecayRamp", {"from": Decay, "to": Decay, "shape": NotRequired[Shape], "until": NotRequired[Until]}
)

Scheduled = Amount | AmountRamp
"""At least 0: a weight, a half-life, a standard deviation."""
ScheduledFraction = Fraction | FractionRamp
"""In [0, 1]: a probability, a fraction of the learning rate."""
ScheduledDecay = Decay | DecayRamp
"""In [0, 1): the decay of a running mean, such as Adam's betas."""


class ForSize(TypedDict):
    """One entry of a list of values by image size."""

    image_size: Annotated[int, Ge(1)]
    value: Scheduled


ScheduledBySize = Scheduled | list[ForSize]
"""One value for all image sizes, or a list: the entry of the largest size that is not above the image's is used."""


def value_for_size(value: Any, image_size: int) -> Any:
    """Return the entry of a `ScheduledBySize` for square images of `image_size` pixels."""
    if not isinstance(value, list):
        return value
    entries = sorted(value, key=lambda entry: int(entry["image_size"]))
    return [entry for entry in entries if entry["image_size"] <= max(image_size, entries[0]["image_size"])][-1]["value"]


def moves(value: Any) -> bool:
    """Return whether a scheduled value, or one in a list of them, changes over a training."""
    return any(map(moves, value)) if isinstance(value, list) else isinstance(value, dict)


@overload
def scheduled_value(value: Any, progress: float, *, exact: bool = False) -> float: ...
@overload
def scheduled_value(value: Any, progress: Tensor, *, exact: bool = False) -> float | Tensor: ...
@overload
def scheduled_value(value: Any, progress: Progress, *, exact: bool = False) -> float | Tensor: ...
def scheduled_value(value: Any, progress: Progress, *, exact: bool = False) -> float | Tensor:
    """Return the value of a scheduled parameter at `progress`.

    A number; if the value is scheduled and `progress` a tensor, a scalar tensor on its device: float32, or float64 if
    `exact`.
    """
    if not isinstance(value, dict):
        return float(value)
    start, end = float(value["from"]), float(value["to"])
    until, cosine = value.get("until", 1.0), value.get("shape", "cosine") == "cosine"
    if isinstance(progress, (int, float)):
        done = min(1.0, progress / until)
        if cosine:
            done = (1 - cos(pi * done)) / 2
        return end if done == 1 else start + (end - start) * done
    fraction = (progress / until).clamp(max=1.0)
    if cosine:
        fraction = (1 - (pi * fraction).cos()) / 2
    value_now: Tensor = start + (end - start) * fraction
    return value_now if exact else value_now.float()
