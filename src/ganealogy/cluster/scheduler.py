"""Runs as Ray tasks, as many side by side as there is room, each handed out when one before it has ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganealogy.cluster import remote_run
from ganealogy.cluster.progress_table import View
from ganealogy.cluster.ray_cluster import Room

POLL_S = 0.5
RETRIES = 5
"""Of a run whose node died; a run that fails by itself is not repeated."""
GRACE_S = 10.0
"""For trainings to write a checkpoint when a person stops it all."""

Work = Callable[[remote_run.Order, bytes, Any], remote_run.Result]
"""What a node does for an order, with the bundle and the board."""


class Board:
    """Where the tasks say how they stand: an actor beside the driver."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def tell(self, run: str, node: str, line: str) -> None:
        self.lines.append((run, node, line))

    def read(self) -> list[tuple[str, str, str]]:
        lines, self.lines = self.lines, []
        return lines


def carry_out(
    ray: Any, orders: list[remote_run.Order], bundle: bytes, room: Room, logs: Path, work: Work = remote_run.carry_out
) -> dict[str, str]:
    """Have `work` done for every order; returns what went wrong with which run.

    `logs`: where each run's whole output is kept, as <run>.log.
    """
    ray.cloudpickle.register_pickle_by_value(remote_run)
    board = ray.remote(num_cpus=0)(Board).options(scheduling_strategy=_here(ray)).remote()
    task = ray.remote(work)
    shipped = ray.put(bundle)
    waiting = deque(orders)
    running: dict[Any, str] = {}
    problems: dict[str, str] = {}
    with View([order.run for order in orders], logs) as view:

        def listen() -> None:
            for run, node, line in ray.get(board.read.remote()):
                view.heard(run, node, line)
            view.show()

        try:
            while waiting or running:
                while waiting and len(running) < room.jobs:
                    order = waiting.popleft()
                    # A dead node is Ray's to answer; scheduling again waits for room on the others.
                    options = task.options(
                        num_cpus=room.threads, num_gpus=room.gpus, max_retries=RETRIES, name=order.run
                    )
                    running[options.remote(order, shipped, board)] = order.run
                ready, _ = ray.wait(list(running), timeout=POLL_S)
                listen()
                for reference in ready:
                    run = running.pop(reference)
                    problem = _problem(ray, reference)
                    if problem is not None:
                        problems[run] = problem
                    view.stands(run, "failed" if problem else "done", problem or "")
        except KeyboardInterrupt:
            for reference in running:
                ray.cancel(reference, force=True)
            time.sleep(GRACE_S)
            raise
    return problems


def _problem(ray: Any, reference: Any) -> str | None:
    try:
        result: remote_run.Result = ray.get(reference)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"
    return result.problem


def _here(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
