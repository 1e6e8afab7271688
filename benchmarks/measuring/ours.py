"""Our side: the steps of `ganealogy.training.loop` between two ticks, for any version, on the processor or a card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ganealogy.data.batches import Batches
from ganealogy.runtime import distributed
from ganealogy.training.best_checkpoint import Best
from ganealogy.training.loop import note, seed_everything, step_seed
from ganealogy.training.state import TrainingState
from measuring import family

NOTED = 25
"""Every so many steps the loop writes losses beside its bar, for which it reads two numbers; not on a GPU."""


class Ours:
    """What the training loop does between two ticks."""

    def __init__(
        self,
        batches: Batches,
        version: str = "v1",
        device: str = "cpu",
        warn: Callable[[str], None] = print,
        **protocol: Any,
    ) -> None:
        """`warn` is called where no CUDA graph can be used; `protocol`: what differs from `family.plan`'s, whose batch
        size is that of `batches`."""
        self.plan = family.plan(version, batch_size=batches.batch_size, **protocol)
        seed_everything(step_seed(batches.seed, "initialise"))
        self.state = TrainingState(self.plan["recipe"], self.plan["protocol"], device, warn)
        self.batches, self.sums = batches, {}  # type: ignore[var-annotated]
        self.batch_size, self.done = batches.batch_size, 0

    def played(self) -> None:
        """A step that no graph replays: a profiler sees which operation launched a kernel."""
        self.step(play=self.state.game.step)

    def step(self, still: torch.Tensor | None = None, play: Callable[..., Any] | None = None) -> None:
        """`still`: a batch to use in place of the next one, to leave the data out; `play`: the loop's step unless
        given."""
        self.done += 1
        game, ema = self.state.game, self.state.ema
        seed_everything(step_seed(self.batches.seed, self.done))
        reals, classes = self.batches.window((self.done - 1) * game.d_steps)
        with distributed.global_batch_rng(self.batch_size):
            statistics = (play or self.state.step)(
                reals if still is None else lambda _index: still, classes, progress=0.5
            )
        if ema is not None:
            ema.update(self.done * self.batch_size / 1000, self.batch_size / 1000, 0.5)
        for name, value in statistics.items():
            self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()
        if self.done % NOTED == 1 and not self.state.ahead:
            note(statistics, Best())
