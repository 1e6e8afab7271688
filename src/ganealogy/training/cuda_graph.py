"""Run a training step as one CUDA graph: one launch instead of hundreds.

A graph repeats the captured kernels on the same memory. Therefore images, labels and the progress are copied into fixed
buffers before each replay, schedules are computed from the progress on the device (`adversary/schedule.py`), and random
draws use the default generator, whose seed a replay reads anew. One graph serves a whole training, or one of each
phase: with a lazy penalty, steps differ.

Before a graph is used, its result is compared with that of the same step run eagerly.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

PACKAGE = Path(__file__).parents[1]
WARM_UP = 3
"""Eager steps before the capture, in which libraries choose their kernels."""
MOST_BATCHES = 128
"""Of a step that is captured. A step with whole epochs of D updates would need buffers for all their pictures."""
TOLERANCE = 0.1
"""Largest accepted difference between a replayed and an eager step, relative to the step's L2 norm. Kernels that add in
no fixed order stay far below it; other draws, batches or learning rates exceed it."""

Scalars = dict[str, torch.Tensor]
Batch = Callable[[int], torch.Tensor]


class Graph(Protocol):
    def run_eagerly(self, step: Callable[[], Scalars]) -> Scalars: ...
    def capture(self, step: Callable[[], Scalars]) -> Scalars:
        """Return the tensors in which `replay` leaves what the step returns."""

    def replay(self) -> None: ...


class CUDAGraph:
    """Eager steps and the capture share a side stream, as torch requires."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()
        self.graph = torch.cuda.CUDAGraph()

    def run_eagerly(self, step: Callable[[], Scalars]) -> Scalars:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            scalars = step()
        torch.cuda.current_stream().wait_stream(self.stream)
        return scalars

    def capture(self, step: Callable[[], Scalars]) -> Scalars:
        outside = torch.cuda.current_stream()
        try:
            # thread_local: the writer thread may copy a checkpoint to the CPU meanwhile.
            with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                return step()
        except BaseException:
            # After a failed capture torch before 2.15 leaves its stream current, and 2.11 leaves the generator in
            # capture mode, so that every later draw fails. Restore both; 2.15 needs neither.
            torch.cuda.set_stream(outside)
            generator = torch.cuda.default_generators[outside.device_index]
            generator.graphsafe_set_state(torch.Generator(outside.device).graphsafe_get_state())
            raise

    def replay(self) -> None:
        self.graph.replay()


class CUDAGraphs:
    """A game's step, with a graph for each of its phases."""

    def __init__(
        self,
        game: Any,
        device: torch.device | str,
        tensors: Callable[[], Mapping[str, torch.Tensor]],
        warn: Callable[[str], None],
    ) -> None:
        """`tensors`: returns all that a step changes, not copies; `warn`: called when no graph can be used."""
        self.game, self.device, self.tensors, self.warn = game, device, tensors, warn
        self.steps: dict[Hashable, CUDAGraphStep] = {}

    def step(self, reals: Batch, labels: Batch | None = None, progress: float = 0.0, number: int = 0) -> Scalars:
        """Do what the game's own step does."""
        phase = self.game.phase(number)
        if phase not in self.steps:
            self.steps[phase] = CUDAGraphStep(self.game, number, self.device, self.tensors, self.warn)
        return self.steps[phase].step(reals, labels, progress)


class CUDAGraphStep:
    """A game's steps of one phase, run eagerly `WARM_UP` times, then captured and checked, then replayed."""

    def __init__(
        self,
        game: Any,
        number: int,
        device: torch.device | str,
        tensors: Callable[[], Mapping[str, torch.Tensor]],
        warn: Callable[[str], None],
    ) -> None:
        """`number`: of a step of this phase; the others as in `CUDAGraphs`."""
        self.game, self.number, self.tensors, self.warn = game, number, tensors, warn
        self.graph: Graph = CUDAGraph()
        self.count = game.batches(number + 1) - game.batches(number)
        """Batches of reals per step."""
        self.captured: Scalars | None = None
        self.unusable, self.eager_steps = self.count > MOST_BATCHES, 0
        self.progress = torch.zeros((), dtype=torch.float64, device=device)
        self.images: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []

    def step(self, reals: Batch, labels: Batch | None, progress: float) -> Scalars:
        """Do what the game's own step does."""
        self.progress.fill_(progress)
        if self.unusable or self.eager_steps < WARM_UP:
            self.eager_steps += 1
            return self.graph.run_eagerly(lambda: self.game.step(reals, labels, self.progress, self.number))
        self._fill_buffers(reals, labels)
        if self.captured is None:
            return self._capture_and_check()
        self.graph.replay()
        return {name: value.clone() for name, value in self.captured.items()}

    def _fill_buffers(self, reals: Batch, labels: Batch | None) -> None:
        for buffers, batch in ((self.images, reals), (self.labels, labels)):
            for index in range(self.count if batch is not None else 0):
                assert batch is not None
                if index == len(buffers):
                    buffers.append(batch(index).clone())
                else:
                    buffers[index].copy_(batch(index))

    def _capture_and_check(self) -> Scalars:
        """Capture the step and replay it; then undo it, run it eagerly, and compare the two results."""

        def step() -> Scalars:
            labels = self.labels.__getitem__ if self.labels else None
            return self.game.step(self.images.__getitem__, labels, self.progress, self.number)

        before = _copies(self.tensors())
        device = self.progress.device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                self.captured = self.graph.capture(step)
                self.graph.replay()
        except RuntimeError as error:
            self._give_up(cause(error))
            _restore(self.tensors(), before)
            return self.graph.run_eagerly(step)
        replayed = _copies(self.tensors())
        _restore(self.tensors(), before)
        scalars = self.graph.run_eagerly(step)
        length, difference = (_distance(self.tensors(), other) for other in (before, replayed))
        if not difference <= TOLERANCE * length:
            self._give_up(f"a replayed step differs from the eager one by {difference:.3g}; its norm is {length:.3g}")
        return scalars

    def _give_up(self, reason: str) -> None:
        self.unusable, self.captured = True, None
        self.warn(f"no CUDA graph is used, which is slower: {reason}")


def cause(error: BaseException) -> str:
    """Return the first line of an error's original cause, with the file and line of this package that raised it.

    Ending a broken capture raises an error of its own, whose context is the cause.
    """
    error = error.__context__ or error
    line = (str(error).splitlines() or [type(error).__name__])[0]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or frames
    return f"{line} ({Path(ours[-1].filename).name}, line {ours[-1].lineno})" if ours else line


def _copies(tensors: Mapping[str, torch.Tensor]) -> Scalars:
    return {name: value.clone() for name, value in tensors.items()}


def _restore(tensors: Mapping[str, torch.Tensor], copies: Scalars) -> None:
    with torch.no_grad():
        for name, value in tensors.items():
            value.copy_(copies[name])


def _distance(tensors: Mapping[str, torch.Tensor], other: Scalars) -> float:
    """Return the L2 distance over both networks' floating-point tensors."""
    names = [name for name in tensors if name.startswith(("generator/", "discriminator/"))]
    gaps = [tensors[name] - other[name] for name in names if tensors[name].is_floating_point()]
    return float(torch.nn.utils.get_total_norm(gaps))
