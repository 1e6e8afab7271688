"""A training step as one CUDA graph: the host launches it once, in place of hundreds of operations.

A graph repeats what was done while it was recorded: the same kernels on the same memory. So reals come in buffers that
are filled before each replay; draws are the default generator's, whose seed a replay takes up anew; and numbers that
Python worked out are the recorded step's, so that while a schedule moves, steps are played one operation at a time.

Before it is trusted, a graph is held against the same step played that way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch

from ganealogy.adversary.schedule import at

WARM_UP = 3
"""Steps with the same numbers before one is recorded: libraries choose their kernels in the first."""
APART = 0.1
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
        # thread_local: a checkpoint may be on its way from the card to the disk meanwhile.
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            return step()

    def replay(self) -> None:
        self.graph.replay()


class Captured:
    """A game whose steps are replayed once nothing but images and draws differs from one to the next."""

    def __init__(
        self,
        game: Any,
        recipe: Mapping[str, Any],
        state: Callable[[], Mapping[str, torch.Tensor]],
        warn: Callable[[str], None],
    ) -> None:
        """`state`: all that a step changes, as the tensors themselves; `warn`: is told where no graph can be used."""
        self.game, self.state, self.warn = game, state, warn
        self.ramps = [*ramps(recipe["adversary"]), *ramps(recipe["optimizers"])]
        self.numbers, self.still = [at(ramp, 0.0) for ramp in self.ramps], 0
        self.graph: Graph = CUDAGraph()
        self.recorded: Statistics | None = None
        self.refused = False
        self.images: list[torch.Tensor] = []
        self.classes: list[torch.Tensor] = []

    def step(self, reals: Batch, labels: Batch | None = None, progress: float = 0.0) -> Statistics:
        """What the game's own step does and returns."""
        numbers = [at(ramp, progress) for ramp in self.ramps]
        if numbers != self.numbers:
            self.numbers, self.still = numbers, 0
            if self.recorded is not None:
                self.graph, self.recorded = CUDAGraph(), None
        self.still += 1
        if self.refused or self.still <= WARM_UP:
            return self.graph.play(lambda: self.game.step(reals, labels, progress))
        self._fill(reals, labels)
        if self.recorded is None:
            return self._record(progress)
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

    def _record(self, progress: float) -> Statistics:
        """Record the step, try it, and play it after all: with what it then does the replayed one is compared."""

        def step() -> Statistics:
            labels = self.classes.__getitem__ if self.classes else None
            statistics: Statistics = self.game.step(self.images.__getitem__, labels, progress)
            return statistics

        before = _copies(self.state())
        device = self.images[0].device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                self.recorded = self.graph.record(step)
                self.graph.replay()
        except RuntimeError as error:
            self._refuse((str(error).splitlines() or ["CUDA says no more"])[0])
            _restore(self.state(), before)
            return self.graph.play(step)
        replayed = _copies(self.state())
        _restore(self.state(), before)
        statistics = self.graph.play(step)
        length, miss = (_distance(self.state(), other) for other in (before, replayed))
        if not miss <= APART * length:
            self._refuse(f"its step misses the played one by {miss:.3g}, which is {length:.3g} long")
        return statistics

    def _refuse(self, why: str) -> None:
        self.refused, self.recorded = True, None
        self.warn(f"no CUDA graph is used, so that steps are launched one operation at a time: {why}")


def ramps(recipe: Any) -> Iterator[dict[str, Any]]:
    """All values in a part of a recipe that a schedule moves."""
    if isinstance(recipe, dict) and {"from", "to"} <= recipe.keys():
        yield recipe
    elif isinstance(recipe, (dict, list)):
        for part in recipe.values() if isinstance(recipe, dict) else recipe:
            yield from ramps(part)


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
