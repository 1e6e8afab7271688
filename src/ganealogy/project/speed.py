"""Time a few training steps of a version on random pictures, for a budget before there is any data."""

from __future__ import annotations

import time

import torch

from ganealogy.adversary.divergence import Diverged
from ganealogy.lineage.versions import Version
from ganealogy.params.schema import Settings
from ganealogy.runtime.accelerator import synchronize
from ganealogy.stages import _stage, plan
from ganealogy.training.state import TrainingState

WARM_UP, SECONDS = 2, 1.0
GPU_WARM_UP = 6
"""The fourth step is captured as a CUDA graph, and checked."""


def images_per_second(version: Version, settings: Settings) -> float:
    """Return the images by which a training of this version updates G in a second, on the device of the settings.

    Raises: GanealogyError if the version does not fit the image size or the channels, or torch lacks the device.
    """
    plan.count_parameters(plan.complete(version, settings), settings, version.path)  # raises
    planned = plan.version_plan(version, plan.complete(version, settings), settings)
    protocol = planned["protocol"]
    device = _stage.setup_device(settings.train)
    warm_up = WARM_UP if device == "cpu" else GPU_WARM_UP
    with torch.random.fork_rng():
        state = TrainingState(planned["recipe"], protocol, 1000, device)
        size, channels = protocol["image_size"], protocol["channels"]
        reals = torch.rand(protocol["batch_size"], channels, size, size, device=device).mul(2).sub(1)
        labels = torch.zeros(protocol["batch_size"], dtype=torch.int64, device=device)
        began, steps = 0.0, 0
        try:
            while steps <= warm_up or time.perf_counter() - began < SECONDS:
                state.train_step(lambda _: reals, (lambda _: labels) if planned["recipe"]["labels"] else None)
                steps += 1
                if steps == warm_up:
                    synchronize(device)
                    began = time.perf_counter()
        except Diverged:
            steps = max(steps, warm_up + 1)
        synchronize(device)
    return (steps - warm_up) * protocol["batch_size"] / (time.perf_counter() - began)
