"""Signs of trouble at each tick of a training: collapse, a D that has won or lost, overfitting, and others.

`HealthCheck` measures columns of metrics.jsonl, and `signs` reads them. Neither changes the training: D is scored in a
copy, and each step seeds its own draws. Signs are a function of the columns, so that a resumed training has the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganealogy.adversary.gan import GAN
from ganealogy.files.images import Pictures
from ganealogy.record_types import Sign
from ganealogy.runtime.precision import float32_as

PICTURES = 160
"""Fakes, training pictures and held-out pictures that are compared, at most: more would cost over 2 % of a training."""
FEWEST_HELD_OUT = 30
"""With fewer, chance alone reaches KNOWN."""
AT_A_TIME = 16
"""Pictures whose spectra are computed together: all of them would need much memory at large sizes."""
LARGEST_SIDE = 32
"""Pictures are reduced to at most this for the distances between them."""

COLLAPSE, WON, LOST = "collapse", "D has won", "D has lost"
OVERFITTING, CHECKERBOARDS, SLOW = "overfitting", "checkerboards", "slow"
FATAL = (COLLAPSE, WON, LOST)
"""Signs at which a training ends early if `train.stop` is unhealthy."""
# Calibrated on some seeds of the runs of benchmarks/health.py, and measured on others: see docs/health.md.
START = 0.15
"""Fraction of the budget before which nothing is a sign: nothing has been learnt yet."""
IN_A_ROW = 2
"""Ticks that a sign needs: one alone may be chance."""
FEW = 1 / 3
"""Collapse: diversity or spacing below this; 0.45 and 0.52 are the least of 250 trainings that ended well."""
SURE, FAR, FALLEN, STALLED = 0.97, 2.0, 0.9, 0.1
"""D has won: d_auc; the distance over the mean picture's; and over its best until this part of the budget ago."""
BACKWARDS = 0.35
"""D has lost: d_auc."""
KNOWN = 0.65
"""Overfitting: d_overfit."""
PEAK, LATE = 10.0, 0.4
"""Checkerboards: the excess. LATE: the part of the budget before which these may pass, and slow is no sign yet."""
BEHIND = 1.25
"""Slow: the distance over the mean picture's."""

Scores = NDArray[np.float32]
Row = Mapping[str, float | None]
"""A line of metrics.jsonl."""


class HealthCheck:
    """The measures of one training, against fixed sets of its pictures."""

    def __init__(
        self,
        reals: Pictures,
        held_out: Pictures | None,
        batch_size: int,
        labels: NDArray[np.int64] | None = None,
        held_out_labels: NDArray[np.int64] | None = None,
    ) -> None:
        """`reals`, `held_out`: uint8 (N, H, W, C), (M, H, W, C), in random order."""
        self.count = count = min(len(reals), PICTURES)
        """Of the fakes, too: the nearest of more is nearer."""
        self.sets = {"train": np.array(reals[:count])}
        self.labels = {} if labels is None else {"train": torch.from_numpy(labels[:count])}
        comparable = (labels is None) == (held_out_labels is None)
        if held_out is not None and len(held_out) >= FEWEST_HELD_OUT and comparable:
            self.sets["held_out"] = np.array(held_out[:PICTURES])
            if held_out_labels is not None:
                self.labels["held_out"] = torch.from_numpy(held_out_labels[:PICTURES])
        self.batch_size = min([batch_size, *map(len, self.sets.values())])
        self.spread, self.spacing = spread(self.sets["train"]), spacing(self.sets["train"])
        self.peak = nyquist_peak(self.sets["train"])

    def score(
        self, gan: GAN, fakes: Pictures, fake_labels: torch.Tensor, progress: float, seed: int
    ) -> dict[str, Scores]:
        """Return D's scores of the training pictures, of the held-out ones and of uint8 fakes (`count`, H, W, C).

        Empty if there is no D, as in flow matching.
        All three go through the same draws of the augmentations, in batches of one kind with BatchNorm's own
        statistics: D has learnt from such. This is the part that runs on the device.
        """
        if next(gan.discriminator.parameters(), None) is None:
            return {}
        discriminator = copy.deepcopy(gan.discriminator).eval()  # BatchNorm changes its running statistics
        for module in discriminator.modules():
            if isinstance(module, _BatchNorm):
                module.train()
        labels = {**self.labels, "fakes": fake_labels}
        found = {}
        for name, pictures in {**self.sets, "fakes": fakes}.items():
            torch.manual_seed(seed)
            of_set = labels[name] if self.labels else None
            found[name] = scores_of(discriminator, gan, pictures, of_set, self.batch_size, progress)
        return found

    def columns(self, fakes: Pictures, scores: Mapping[str, Scores]) -> dict[str, float]:
        """Return column → value of uint8 fakes (`count`, H, W, C). Runs on the CPU.

        `scores`: of `score`; without a D, empty.
        """
        found = {
            "diversity": _ratio(spread(fakes), self.spread),
            "spacing": _ratio(spacing(fakes), self.spacing),
            "checkerboard": _ratio(nyquist_peak(fakes), self.peak),
        }
        if scores:
            found["d_auc"] = auc(scores["train"], scores["fakes"])
        if "held_out" in scores:
            found["d_overfit"] = auc(scores["train"], scores["held_out"])
        return found


@torch.inference_mode()
@float32_as("fp32")
def scores_of(
    discriminator: nn.Module,
    gan: GAN,
    pictures: Pictures,
    labels: torch.Tensor | None,
    batch_size: int,
    progress: float,
) -> Scores:
    """Return D's mean logit of each of uint8 (N, H, W, C), without those beyond the last whole batch."""
    found = []
    for start in range(0, len(pictures) - batch_size + 1, batch_size):
        rows = slice(start, start + batch_size)
        images = torch.from_numpy(pictures[rows]).to(gan.device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        for augmentation in gan.augment:
            images = augmentation(images, progress)
        logits = discriminator(images) if labels is None else discriminator(images, labels[rows].to(gan.device))
        found.append(logits.float().reshape(len(images), -1).mean(1).cpu().numpy())
    return np.concatenate(found)


def auc(higher: Scores, lower: Scores) -> float:
    """Return the probability that one of `higher` (n,) exceeds one of `lower` (m,); a tie counts half."""
    ranked = np.sort(lower)
    below = np.searchsorted(ranked, higher, "left") + np.searchsorted(ranked, higher, "right")
    return float(below.mean() / 2 / len(lower))


def spread(pictures: Pictures) -> float:
    """Return the root mean square distance of two pictures of uint8 (n, H, W, C)."""
    rows = _reduced(pictures)
    rows -= rows.mean(0)
    return float(np.sqrt(2 * np.square(rows).sum(dtype=np.float64) / len(rows)))


def spacing(pictures: Pictures) -> float:
    """Return the mean distance of a picture of uint8 (n, H, W, C) to the nearest other one."""
    rows = _reduced(pictures).astype(np.float64)
    rows -= rows.mean(0)  # smaller numbers lose less in the differences below
    squares = (rows**2).sum(1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    np.fill_diagonal(distances, np.inf)
    return float(np.sqrt(distances.min(1).clip(0)).mean())


def nyquist_peak(pictures: Pictures) -> float:
    """Return the power at the highest frequency of each axis over that of the frequencies next to it.

    Uneven overlap in a transposed convolution puts a pattern of period 2 over the picture, whose power is at that
    frequency alone (Odena et al., Distill 2016; Durall et al., arXiv 2003.01826). `pictures`: uint8 (n, H, W, C).
    """
    power = np.zeros(pictures.shape[1:3])
    for part in np.array_split(pictures, -(-len(pictures) // AT_A_TIME)):
        grey = part.sum(3, dtype=np.float32) / part.shape[3]
        grey -= grey.mean((1, 2), keepdims=True)
        power += (np.abs(np.fft.fft2(grey)) ** 2).sum(0)
    top, left = power.shape[0] // 2, power.shape[1] // 2
    at = power[top, :2].sum() + power[:2, left].sum() + power[top, left]
    near = power[top - 1, :2].sum() + power[:2, left - 1].sum() + power[top - 1, left - 1]
    return float((at + 1e-9) / (near + 1e-9))  # an even picture has no power


def signs(rows: Sequence[Row], steps: int, column: str, of_mean: float) -> list[Sign]:
    """Return the signs that these lines of metrics.jsonl show, in the order in which they were first seen.

    `steps`: of the whole budget; `column`: of the tracker's distance; `of_mean`: that distance of the mean picture.
    """
    begun = [at for at, row in enumerate(rows) if _number(row, "step") >= START * steps]
    found: list[Sign] = []
    for sign, rule in RULES.items():
        sentences = {at: rule(Tick(rows, at, steps, column, of_mean)) for at in begun}
        shown = [at for at in begun if all(sentences.get(at - back) for back in range(IN_A_ROW))]
        if shown:
            kimg, last = _number(rows[shown[0]], "kimg"), shown[-1]
            until = None if last == begun[-1] else _number(rows[last], "kimg")
            sentence = f"{sign} at {kimg:g} kimg: {sentences[shown[0]]}"
            found.append({"kimg": kimg, "until": until, "sign": sign, "sentence": sentence})
    return sorted(found, key=lambda each: each["kimg"])


@dataclass(frozen=True)
class Tick:
    """A tick and those before it."""

    rows: Sequence[Row]
    at: int
    steps: int
    column: str
    of_mean: float

    def __getitem__(self, column: str) -> float:
        """Return a column's value at this tick; NaN without one, which is in no range."""
        return _number(self.rows[self.at], column)

    @property
    def distance(self) -> float:
        """The tracker's, over that of the mean picture."""
        return _ratio(self[self.column], self.of_mean)

    @property
    def remaining(self) -> float:
        """This distance over the least of the ticks that are STALLED of the budget earlier, or more."""
        limit = self["step"] - STALLED * self.steps
        earlier = [_number(row, self.column) for row in self.rows[: self.at] if 0 < _number(row, "step") <= limit]
        return _ratio(self[self.column], min(earlier, default=0.0))


def _collapse(tick: Tick) -> str:
    if tick["diversity"] < FEW:
        return f"the samples differ {tick['diversity']:.2g} times as much as the pictures do"
    if tick["spacing"] < FEW:
        return (
            f"many samples are alike: the nearest other one is {tick['spacing']:.2g} times as far as among the pictures"
        )
    return ""


def _won(tick: Tick) -> str:
    if tick["d_auc"] >= SURE and tick.distance > FAR and tick.remaining > FALLEN:
        return f"it scores a picture above a sample in {tick['d_auc']:.1%} of pairs, and the distance no longer falls"
    return ""


def _lost(tick: Tick) -> str:
    if tick["d_auc"] <= BACKWARDS:
        return f"it scores the samples above the pictures in {1 - tick['d_auc']:.0%} of pairs, so G learns from noise"
    return ""


def _overfitting(tick: Tick) -> str:
    if tick["d_overfit"] >= KNOWN:
        return f"D scores training pictures above held-out ones in {tick['d_overfit']:.0%} of pairs; half are expected"
    return ""


def _checkerboards(tick: Tick) -> str:
    if tick["checkerboard"] >= PEAK and tick["step"] >= LATE * tick.steps:
        return f"a pattern of period 2 is {tick['checkerboard']:.0f} times as strong as in the pictures"
    return ""


def _slow(tick: Tick) -> str:
    if tick.distance > BEHIND and tick["step"] >= LATE * tick.steps:
        part, times = tick["step"] / tick.steps, tick.distance
        return f"after {part:.0%} of the budget the distance is still {times:.1f} times that of the mean picture"
    return ""


RULES: dict[str, Callable[[Tick], str]] = {
    COLLAPSE: _collapse,
    WON: _won,
    LOST: _lost,
    OVERFITTING: _overfitting,
    CHECKERBOARDS: _checkerboards,
    SLOW: _slow,
}


def _number(row: Row, column: str) -> float:
    value = row.get(column)
    return float("nan") if value is None else value


def _ratio(value: float, of: float) -> float:
    """Return NaN for a ratio to 0, such as of pictures that are all the same: metrics.jsonl then has null."""
    return value / of if of else float("nan")


def _reduced(pictures: Pictures) -> NDArray[np.float32]:
    """uint8 (n, H, W, C) → (n, d): means of blocks of pixels."""
    n, side, _, channels = pictures.shape
    block = -(-side // LARGEST_SIDE)
    number = side // block
    kept = pictures[:, : number * block, : number * block]
    blocks = kept.reshape(n, number, block, number, block, channels)
    sums: NDArray[np.float32] = blocks.sum((2, 4), dtype=np.float32) if block > 1 else kept.astype(np.float32)
    return sums.reshape(n, -1) / block**2
