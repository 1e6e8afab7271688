"""The budget of a training: kimg, or epochs of the training pictures, and the G updates that they are.

Part of the trainings' fingerprint. Other stages load it for their estimates, which change no result.
"""

from __future__ import annotations

import math
from typing import cast

from ganealogy.record_types import TrainingProtocol

MAX_TICKS = 1000
"""Of a training: each has a line in metrics.jsonl, a grid and scores."""


def step_count(protocol: TrainingProtocol) -> int:
    """Return the G updates of the budget: kimg counts G updates × batch / 1000, as StyleGAN's and R3GAN's code do."""
    return _whole(protocol["kimg"] * 1000 / protocol["batch_size"])


def tick_steps(protocol: TrainingProtocol) -> set[int]:
    """Return the G updates after which there is a tick. The last update is one of them."""
    steps, ticks = step_count(protocol), protocol["ticks"]
    return {round(steps * tick / ticks) for tick in range(1, ticks + 1)}


def resolve(protocol: TrainingProtocol, pictures: int | None) -> TrainingProtocol:
    """Return the protocol with `kimg` beside its `epochs`, if it has epochs.

    An epoch is one G update per whole batch of the `pictures` of `train`, as in `data/batches.py`. With None, as before
    the download, the protocol is returned as it is.
    """
    if "epochs" not in protocol or pictures is None:
        return protocol
    updates = _whole(protocol["epochs"] * (pictures // protocol["batch_size"]))
    return cast(TrainingProtocol, {**protocol, "kimg": updates * protocol["batch_size"] / 1000})


def _whole(updates: float) -> int:
    """Return the updates rounded up, at least 1; a millionth of one is rounding."""
    return max(1, math.ceil(round(updates, 6)))
