"""The progress of a training in the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from ganealogy.runtime import process
from ganealogy.runtime.progress import Progress, short

WARNING_LENGTH = 60
"""Characters of the newest warning shown in the progress bar."""
SEND_EVERY_S = 0.5
STEP_SECONDS = "GANEALOGY_STEP_SECONDS"
"""Environment variable: wait this long after each step. For tests and demonstrations, which need a slow training."""


class TrainingProgress:
    """Callbacks of the training loop: kimg, images/s, time left, losses, the tracker's score, the newest warning."""

    def __init__(
        self,
        label: str,
        batch_size: int,
        should_stop: Callable[[], bool] = lambda: False,
        send_progress: Callable[..., None] | None = None,
    ) -> None:
        """`send_progress`: of a worker, for the table of all runs; None shows a bar in this process."""
        self.label, self.batch_size, self.should_stop, self.send_progress = (
            label,
            batch_size,
            should_stop,
            send_progress,
        )
        self.bar: Progress | None = None
        self.steps, self.first, self.began, self.sent = 0, 0, 0.0, 0.0
        self.silent = not process.is_first_rank()
        self.warning = ""
        self.pause = float(os.environ.get(STEP_SECONDS, "0"))

    def on_start(self, step: int, steps: int) -> None:
        self.steps, self.first, self.began = steps, step, time.monotonic()
        if self.silent or self.send_progress:
            return
        total, initial = (count * self.batch_size / 1000 for count in (steps, step))
        self.bar = Progress(self.label, round(total, 3), "kimg", round(initial, 3), pieces=(1000, "images"))

    def on_step(self, step: int, scalars: dict[str, float] | None) -> None:
        if self.bar is not None:
            self.bar.update(self.batch_size / 1000, self._note(scalars) if scalars else "")
        now = time.monotonic()
        if self.send_progress and (scalars or now - self.sent >= SEND_EVERY_S):
            rate = (step - self.first) * self.batch_size / max(now - self.began, 1e-9)
            self.send_progress(fraction=step / self.steps, images_per_second=rate, **(scalars or {}))
            self.sent = now
        if self.pause:
            time.sleep(self.pause)

    def on_warning(self, text: str) -> None:
        """Print the warning on a line of its own; its beginning stays in the bar."""
        self.warning = text if len(text) <= WARNING_LENGTH else f"{text[: WARNING_LENGTH - 1]}…"
        line = f"ganealogy: {self.label}: {text}"
        if self.bar is None:
            print(line, file=sys.stderr)
        else:
            self.bar.say(line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _note(self, scalars: dict[str, float]) -> str:
        """Return such as `D 0.71 · G 1.90 · FD 0.412, best 0.406`."""
        scores = [f"{label} {short(scalars[key])}" for key, label in (("fd", "FD"), ("best", "best")) if key in scalars]
        losses = " · ".join(
            f"{network} {scalars[key]:.2f}" for key, network in (("d_loss", "D"), ("g_loss", "G")) if key in scalars
        )
        return " · ".join(part for part in (losses, ", ".join(scores), self.warning and f"! {self.warning}") if part)
