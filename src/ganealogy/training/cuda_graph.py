"""A training step as one CUDA graph: the host launches it once, in place of hundreds of operations.

A graph repeats what was done while it was recorded: the same kernels on the same memory. What differs between steps
must therefore lie in memory that is filled before each replay: the reals, their labels, and the progress, from which
every schedule is worked out on the card (`adversary/schedule.py`). Draws are the default generator's, whose seed a
replay takes up anew. So one graph serves a whole training.

Before it is trusted, a graph is held against the same step run one operation at a time.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

PACKAGE = Path(__file__).parents[1]
WARM_UP = 3
"""Steps before one is recorded: libraries choose their kernels in the first."""
TOLERANCE = 0.1
"""Of a step's length: by how much the replayed step may miss the played one. Kernels that add in no fixed order miss it
by far less; another draw, batch or rate by far more."""

Statistics = dict[str, torch.Tensor]
Batch = Callable[[int], torch.Tensor]


class Graph(Protocol):
    def play(self, step: Callable[[], Statistics]) -> Statistics:
        """The step, one operation at a time."""

    def record(self, step: Callable[[], Statistics]) -> Statistics:
        """Where `replay` will leave what the step returns."""

    def replay(self) -> None: ...


class CUDAGraph:
    """Played and recorded on one stream of its own, as torch asks for."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.graph = torch.cuda.CUDAGraph()

    def play(self, step: Callable[[], Statistics]) -> Statistics:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            statistics = step()
        torch.cuda.current_stream().wait_stream(self.stream)
        return statistics

    def record(self, step: Callable[[], Statistics]) -> Statistics:
        outside = torch.cuda.current_stream()
        try:
            # thread_local: a checkpoint may be on its way from the card to the disk meanwhile.
            with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                return step()
        except BaseException:
            # A capture that CUDA breaks off leaves its stream current before torch 2.15, and in 2.11 its generator
            # waiting for the capture's end: every later draw would fail. Both are put back; 2.15 needs neither.
            torch.cuda.set_stream(outside)
            generator = torch.cuda.default_generators[outside.device_index]
            generator.graphsafe_set_state(torch.Generator(outside.device).graphsafe_get_state())
            raise

    def replay(self) -> None:
        self.graph.replay()


class CUDAGraphStep:
    """A game whose steps are replayed from the fifth on."""

    def __init__(
        self,
        game: Any,
        device: torch.device | str,
        state: Callable[[], Mapping[str, torch.Tensor]],
        warn: Callable[[str], None],
    ) -> None:
        """`state`: all that a step changes, as the tensors themselves; `warn`: is told where no graph can be used."""
        self.game, self.state, self.warn = game, state, warn
        self.graph: Graph = CUDAGraph()
        self.recorded: Statistics | None = None
        self.refused, self.warmed = False, 0
        self.progress = torch.zeros((), dtype=torch.float64, device=device)
        self.images: list[torch.Tensor] = []
        self.classes: list[torch.Tensor] = []

    def step(self, reals: Batch, labels: Batch | None = None, progress: float = 0.0) -> Statistics:
        """What the game's own step does and returns."""
        self.progress.fill_(progress)
        if self.refused or self.warmed < WARM_UP:
            self.warmed += 1
            return self.graph.play(lambda: self.game.step(reals, labels, self.progress))
        self._fill(reals, labels)
        if self.recorded is None:
            return self._record()
        self.graph.replay()
        return {name: value.clone() for name, value in self.recorded.items()}

    def _fill(self, reals: Batch, labels: Batch | None) -> None:
        """The step's batches, into the memory that a graph reads."""
        for buffers, batch in ((self.images, reals), (self.classes, labels)):
            for index in range(self.game.d_steps if batch is not None else 0):
                assert batch is not None
                if index == len(buffers):
                    buffers.append(batch(index).clone())
                else:
                    buffers[index].copy_(batch(index))

    def _record(self) -> Statistics:
        """Record the step, try it, and play it after all: with what it then does the replayed one is compared."""

        def step() -> Statistics:
            labels = self.classes.__getitem__ if self.classes else None
            statistics: Statistics = self.game.step(self.images.__getitem__, labels, self.progress)
            return statistics

        before = _copies(self.state())
        device = self.progress.device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                self.recorded = self.graph.record(step)
                self.graph.replay()
        except RuntimeError as error:
            self._refuse(cause(error))
            _restore(self.state(), before)
            return self.graph.play(step)
        replayed = _copies(self.state())
        _restore(self.state(), before)
        statistics = self.graph.play(step)
        length, miss = (_distance(self.state(), other) for other in (before, replayed))
        if not miss <= TOLERANCE * length:
            self._refuse(f"its step misses the played one by {miss:.3g}, which is {length:.3g} long")
        return statistics

    def _refuse(self, why: str) -> None:
        self.refused, self.recorded = True, None
        self.warn(f"no CUDA graph is used, so that steps are launched one operation at a time: {why}")


def cause(error: BaseException) -> str:
    """Return an error's first cause in a line, with the place in our code that raised it.

    The end of a broken capture raises too and says only that something failed: the cause is the context of that error.
    """
    error = error.__context__ or error
    line = (str(error).splitlines() or [type(error).__name__])[0]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or frames
    return f"{line} ({Path(ours[-1].filename).name}, line {ours[-1].lineno})" if ours else line


def _copies(state: Mapping[str, torch.Tensor]) -> Statistics:
    return {name: value.clone() for name, value in state.items()}


def _restore(state: Mapping[str, torch.Tensor], copies: Statistics) -> None:
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(copies[name])


def _distance(state: Mapping[str, torch.Tensor], other: Statistics) -> float:
    """L2, over both networks' floating-point tensors."""
    names = [name for name in state if name.startswith(("generator/", "discriminator/"))]
    gaps = [state[name] - other[name] for name in names if state[name].is_floating_point()]
    return float(torch.nn.utils.get_total_norm(gaps))
