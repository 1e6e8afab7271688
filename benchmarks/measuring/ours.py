"""Our side: the steps of `ganealogy.training.loop` between two ticks, for any version, on a CPU or GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ganealogy.data.batches import Batches
from ganealogy.training.loop import REPORT_EVERY, seed_everything, step_seed
from ganealogy.training.state import TrainingState
from measuring import family

HALF = 1_000_000
"""Steps already done, out of twice as many, so that schedules are halfway."""


class Ours:
    """The training loop between two ticks."""

    def __init__(
        self,
        batches: Batches,
        version: str = "v1",
        device: str = "cpu",
        warn: Callable[[str], None] = print,
        **protocol: Any,
    ) -> None:
        """`warn`: called if no CUDA graph can be used. `protocol`: changes of `family.plan`'s protocol."""
        self.plan = family.plan(version, batch_size=batches.batch_size, **protocol)
        seed_everything(step_seed(batches.seed, "initialise"))
        self.state = TrainingState(self.plan["recipe"], self.plan["protocol"], 2 * HALF, device, warn)
        self.state.progress.step = HALF
        self.batches, self.batch_size, self.done = batches, batches.batch_size, 0

    def eager_step(self) -> None:
        """Do a step without a CUDA graph, so that a profiler sees which operation launched a kernel."""
        replayed, self.state.step = self.state.step, self.state.game.step
        try:
            self.step()
        finally:
            self.state.step = replayed

    def step(self, still: torch.Tensor | None = None) -> None:
        """Do a step; `still`: a batch to use instead of the next one, to leave the data out."""
        self.done += 1
        seed_everything(step_seed(self.batches.seed, self.done))
        reals, labels = self.batches.window(self.state.game.batches(self.done - 1))
        losses = self.state.train_step(reals if still is None else lambda _index: still, labels)
        if self.done % REPORT_EVERY == 1 and not self.state.checks_are_deferred:
            self.state.scalars(losses)
