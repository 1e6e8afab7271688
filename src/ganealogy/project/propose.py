"""Propose settings for a person's pictures and time, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor, log10
from typing import Any

from ganealogy.errors import GanealogyError
from ganealogy.params import schema
from ganealogy.params.schema import Settings
from ganealogy.project.look import Look
from ganealogy.runs import times
from ganealogy.stages import _side_by_side
from ganealogy.workspace import PRESETS, SHIPPED

PRESET = SHIPPED / PRESETS / "folder.yaml"
"""Whatever is not proposed is as in this one."""
SIZES = (16, 32, 64, 128)
CPU_SIZES = SIZES[:3]
FOR_FEW = ["diffaugment", "ada"]
FOR_CLASSES = ["conditional"]
FEW = 3000
"""Fewer pictures than this are few: D learns them by heart (Karras et al., arXiv 2006.06676)."""
ENOUGH_KIMG = 40.0
"""Below this, pictures of 64 pixels show no faces yet: a smaller size is better."""
LEAST_KIMG = 2.0
OTHER_SECONDS = 15.0
"""Of a run beside its training: sampling and measuring on one core."""

Rate = Callable[[str, Settings], float]
"""Version, settings → images per second of one training."""


@dataclass(frozen=True)
class Proposal:
    values: Mapping[str, Any]
    """Dotted key → value, where it differs from the preset's or depends on the pictures."""
    reasons: Mapping[str, str]
    """Dotted key → why."""
    seconds: float
    """Of all runs on this machine."""

    @property
    def settings(self) -> Settings:
        return settings(self.values)


def settings(values: Mapping[str, Any]) -> Settings:
    """Return the preset with these values."""
    content = schema.read_yaml(PRESET)
    for key, value in values.items():
        section, name = key.split(".")
        content[section][name] = value
    parsed: Settings = schema.parse(Settings, content, str(PRESET))
    return parsed


def propose(look: Look, path: str, hours: float, on_gpu: bool, rate: Rate, size: int | None = None) -> Proposal:
    """Return settings for these pictures that take about `hours` on this machine.

    `path`: of the pictures, for `dataset.path`; `size`: a wanted image size; None lets pictures and time decide.

    Raises: GanealogyError when the time is too short for any training.
    """
    values, reasons = _of_pictures(look, path, on_gpu)
    legal = SIZES if on_gpu else CPU_SIZES
    fitting = [each for each in legal if each <= look.short_side] or [legal[0]]
    too_large = ""
    for chosen in [size] if size else fitting[::-1]:
        values["dataset.image_size"] = chosen
        kimg, seconds = _budget(settings(values), hours, rate)
        if kimg >= ENOUGH_KIMG:
            break
        if chosen > fitting[0]:
            too_large = f"at {chosen} pixels a training would get {kimg:g} kimg, which is too few"
    if kimg < LEAST_KIMG:
        needed = hours * LEAST_KIMG / max(kimg, 0.02)
        raise GanealogyError(f"--hours {hours:g}: too short for {chosen} pixels; give at least {needed:.1g}")
    if size:
        reasons["dataset.image_size"] = "as given"
    elif chosen < fitting[-1]:
        reasons["dataset.image_size"] = too_large
    elif chosen == legal[-1]:
        reasons["dataset.image_size"] = "more takes days" if on_gpu else "more takes days without a GPU"
    else:
        reasons["dataset.image_size"] = f"the pictures' short side is {look.short_side}"
    values["train.kimg"] = int(kimg) if kimg == int(kimg) else kimg
    reasons["train.kimg"] = f"what {hours:g} hours allow"
    return Proposal(values, reasons, seconds)


def _of_pictures(look: Look, path: str, on_gpu: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values that depend on the pictures and the machine, and why."""
    versions, why = list(settings({}).tree.versions), "the line that wins in short trainings"
    if look.count < FEW:
        versions += FOR_FEW
        why += f"; augmentation: {look.count:,} pictures are few"
    if look.classes:
        versions += FOR_CLASSES
        why += f"; {len(look.classes)} class folders"
    values: dict[str, Any] = {
        "dataset.path": path,
        "dataset.channels": 1 if look.grey else 3,
        "tree.versions": versions,
    }
    reasons = {
        "dataset.channels": "the pictures are grey" if look.grey else "the pictures have colours",
        "tree.versions": why,
    }
    if on_gpu:
        values |= {"train.batch_size": 128, "train.width": 64}
        reasons |= {"train.batch_size": "the tutorial's", "train.width": "the tutorial's"}
    return values, reasons


def _budget(settings: Settings, hours: float, rate: Rate) -> tuple[float, float]:
    """Return the kimg per training, and the seconds of all runs."""
    places, seeds = len(_side_by_side.slots(settings.train)), len(settings.tree.seeds)
    per_image = [1 / rate(name, settings) for name in settings.tree.versions]
    available = hours * 3600 * places - len(per_image) * seeds * OTHER_SECONDS
    kimg = _rounded(available / (seeds * sum(per_image)) / 1000) if available > 0 else 0.0
    runs = [kimg * 1000 * seconds + OTHER_SECONDS for seconds in per_image for _ in range(seeds)]
    return kimg, times.makespan(runs, places)


def _rounded(value: float) -> float:
    """Return the value rounded down to two digits: 64, 1300, 0.35."""
    step: float = 10.0 ** (floor(log10(value)) - 1)
    return float(f"{floor(value / step + 1e-9) * step:.6g}")
