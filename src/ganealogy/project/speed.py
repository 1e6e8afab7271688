"""Time a few training steps of a version on random pictures, for a budget before there is any data."""

from __future__ import annotations

import time

import torch

from ganealogy.adversary.divergence import Diverged
from ganealogy.lineage.versions import Version
from ganealogy.params.schema import Settings
from ganealogy.runtime import process
from ganealogy.stages import plan
from ganealogy.training.state import TrainingState

WARM_UP, SECONDS = 2, 1.0


def images_per_second(version: Version, settings: Settings, device: str) -> float:
    """Return the images by which a training of this version updates G in a second on one device or CPU thread.

    Raises: GanealogyError if the version does not fit the image size or the channels.
    """
    plan.count_parameters(plan.complete(version, settings), settings, version.path)  # raises
    planned = plan.version_plan(version, plan.complete(version, settings), settings)
    protocol = planned["protocol"]
    torch.set_num_threads(process.threads(settings.train.threads))
    with torch.random.fork_rng():
        state = TrainingState(planned["recipe"], protocol, 1000, device)
        size, channels = protocol["image_size"], protocol["channels"]
        reals = torch.rand(protocol["batch_size"], channels, size, size, device=device).mul(2).sub(1)
        labels = torch.zeros(protocol["batch_size"], dtype=torch.int64, device=device)
        began, steps = 0.0, 0
        try:
            while steps <= WARM_UP or time.perf_counter() - began < SECONDS:
                state.train_step(lambda _: reals, (lambda _: labels) if planned["recipe"]["labels"] else None)
                steps += 1
                if steps == WARM_UP:
                    _finish(device)
                    began = time.perf_counter()
        except Diverged:
            steps = max(steps, WARM_UP + 1)
        _finish(device)
    return (steps - WARM_UP) * protocol["batch_size"] / (time.perf_counter() - began)


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
