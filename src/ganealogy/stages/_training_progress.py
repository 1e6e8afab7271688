"""What a person sees of a training in the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ganealogy.runtime import process
from ganealogy.runtime.progress import Progress

WARNING_LETTERS = 60
"""Of the newest warning, in the progress bar."""


class TrainingBar:
    """The progress of a training: kimg, images/s, time left, losses, the tracker's distance, the newest warning.

    `metrics`: the record's metrics.jsonl, which has the distance of the newest tick.
    """

    def __init__(self, label: str, batch_size: int, metrics: Path | None = None) -> None:
        self.label, self.batch_size, self.metrics = label, batch_size, metrics
        self.progress: Progress | None = None
        self.silent = not process.is_first_rank()
        self.warning = ""
        self.read, self.latest = 0, ""

    def on_start(self, step: int, steps: int) -> None:
        if self.silent:
            return
        total, initial = (count * self.batch_size / 1000 for count in (steps, step))
        self.progress = Progress(self.label, round(total, 3), "kimg", round(initial, 3), pieces=(1000, "images"))

    def on_step(self, step: int, images: int, note: str) -> None:
        if self.progress is not None:
            self.progress.update(images / 1000, self._note(note) if note else "")

    def on_warning(self, text: str) -> None:
        """On a line of its own, whole; its beginning stays in the bar."""
        self.warning = text if len(text) <= WARNING_LETTERS else f"{text[: WARNING_LETTERS - 1]}…"
        line = f"ganealogy: {self.label}: {text}"
        if self.progress is None:
            print(line, file=sys.stderr)
        else:
            self.progress.say(line)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.close()

    def _note(self, losses: str) -> str:
        """`D 0.71 · G 1.90 · best 87` of the training, with the newest distance before the best."""
        losses, _, best = losses.partition(" · best ")
        distance = self._distance()
        if best:
            distance = f"{distance}, best {best}" if distance else f"best {best}"
        return " · ".join(part for part in (losses, distance, self.warning and f"! {self.warning}") if part)

    def _distance(self) -> str:
        """`FD 91`, read again only when the record has grown."""
        try:
            size = self.metrics.stat().st_size if self.metrics else 0
            if self.metrics and size != self.read:
                self.read = size
                line = json.loads(self.metrics.read_text(encoding="utf-8").splitlines()[-1])
                scores = [value for name, value in line.items() if name.startswith("fd_")]
                self.latest = f"FD {scores[0]:.0f}" if scores and scores[0] is not None else ""
        except (OSError, ValueError, IndexError, AttributeError):
            return ""  # a bar never stops a training
        return self.latest
