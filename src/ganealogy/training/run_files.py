"""Files of a training: `train/` of the run directory, and checkpoints.

run.json describes the run and its end, metrics.jsonl has one line per tick, grids/ one image grid per tick, all of the
same 64 latents, weights/ the networks. Files are written by a background thread, in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import save as dump_tensors

from ganealogy import record_types
from ganealogy.files import atomic, images
from ganealogy.files.images import Pictures
from ganealogy.runtime import distributed
from ganealogy.training import checkpoint
from ganealogy.training.background_writer import BackgroundWriter

if TYPE_CHECKING:
    from ganealogy.training.state import TrainingState

GRID_COLUMNS = 8


class RunFiles:
    def __init__(self, directory: Path, checkpoints: Path, identity: Mapping[str, object]) -> None:
        """`identity`: keys of run.json that do not change (version, seed, plan, data, recipe, …)."""
        self.directory, self.checkpoints, self.identity = directory, checkpoints, identity
        self.metrics = directory / "metrics.jsonl"
        self.writer = BackgroundWriter()

    def write_status(self, status: str, **progress: Any) -> record_types.RunJson:
        """Write run.json and return its content."""
        content = {**self.identity, "status": status, **progress}
        atomic.write_json(self.directory / "run.json", content)
        return cast("record_types.RunJson", content)

    def append_tick(self, line: Mapping[str, float], pictures: Pictures) -> None:
        """Append a line of metrics and write its grid of uint8 (64, H, W, C) images. NaN is written as null."""
        images.save_png(images.grid(pictures, GRID_COLUMNS), self.directory / "grids" / f"{line['step']:06d}.png")
        finite = {key: None if value != value else value for key, value in line.items()}
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def ticks(self) -> list[dict[str, float | None]]:
        """Return the lines of metrics so far; NaN is None."""
        lines = self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() else []
        return [json.loads(line) for line in lines]

    def save_weights(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """Write a network's state dict as weights/<name>.safetensors."""
        dense = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in sorted(tensors.items())}
        atomic.write_bytes(self.directory / "weights" / f"{name}.safetensors", dump_tensors(dense))

    def submit(self, write: Callable[[], None]) -> None:
        """Call `write` in the background, after all earlier writes."""
        self.writer.submit(write)

    def wait(self) -> None:
        """Wait for the background writes. Raises: the error of the first write that failed."""
        self.writer.wait()

    def save_checkpoint(self, state: TrainingState) -> None:
        """Write a checkpoint in the background. The best weights are those at the time of writing.

        Raises: DivergedEarlier if a deferred finite check has failed: no checkpoint of invalid weights is kept.
        """
        state.raise_if_diverged()
        tensors, progress = checkpoint.snapshot(state.tensors()), asdict(state.progress)

        def write() -> None:
            everything = {**tensors, **checkpoint.named("best", state.best.weights)}
            checkpoint.save(self.checkpoints, progress["step"], everything, {**progress, "best": state.best.record})

        if distributed.is_first():
            self.submit(write)

    def restore(self, state: TrainingState, on_damage: Callable[[str], None]) -> bool:
        """Load the newest checkpoint that is intact and of this training. Return whether there was one.

        `on_damage` is called with one line per checkpoint that cannot be used.
        """
        warnings: list[str] = []
        found = checkpoint.newest(self.checkpoints, warnings, state.network_tensors())
        if warnings and found is None:
            warnings.append("no intact checkpoint is left: starting afresh")
        for warning in warnings:
            on_damage(warning)
        if found is not None:
            self._load(state, found)
            state.progress.resumed += 1
        self._truncate(state.progress.ticks)
        return found is not None

    def return_to_last_checkpoint(self, state: TrainingState) -> None:
        """Load the last checkpoint of this very training, keeping its count of resumes.

        Raises: GanealogyError when it has disappeared.
        """
        self.wait()
        distributed.barrier()  # the first rank has written its checkpoint
        resumed = state.progress.resumed
        self._load(state, checkpoint.last(self.checkpoints))
        state.progress.resumed = resumed

    def _load(self, state: TrainingState, found: checkpoint.Checkpoint) -> None:
        state.restore(found.tensors)
        counters = dict(found.progress)
        state.best.record = counters.pop("best")
        for name, value in counters.items():
            setattr(state.progress, name, value)

    def _truncate(self, ticks: int) -> None:
        """Drop the lines after the `ticks`-th: a resumed training writes them again."""
        lines = self.metrics.read_text().splitlines(keepends=True)[:ticks] if self.metrics.exists() else []
        atomic.write_text(self.metrics, "".join(lines))
