"""What a training takes of its machine, as MLflow's `system/` metrics: looked at from outside, by the live process.

The training neither samples nor waits, and its record holds no clocks: these numbers are MLflow's alone. A training
that ends before the live process starts has none; `usage/…` has its peak memory and rate all the same.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import Any

from ganealogy.tracking import store
from ganealogy.tracking.store import StoreError

MEGABYTE = 1_000_000


class Monitor:
    """Samples one training process; `sample()` → metrics by name, empty when the process is gone."""

    def __init__(self, pid: int, nvidia_smi: str | None = None) -> None:
        """`nvidia_smi`: the program that tells of GPUs; None looks for it."""
        import psutil  # type: ignore[import-untyped]

        self.process: Any
        try:
            self.process = psutil.Process(pid)
            self.process.cpu_percent()  # the first call only sets the beginning of the next one's time
        except psutil.Error:
            self.process = None
        psutil.cpu_percent()
        self.taken: list[tuple[int, dict[str, float]]] = []
        """(ms since 1970, metrics) not posted yet."""
        self.nvidia_smi = nvidia_smi or shutil.which("nvidia-smi")

    def take(self) -> None:
        """Sample, and keep it until it is posted: a store that is down for a while loses none."""
        if numbers := self.sample():
            self.taken.append((int(time.time() * 1000), numbers))

    def post(self, run_id: str) -> None:
        """Bring what was taken to the run, by seconds since its start; a store that fails gets it next time."""
        from mlflow.entities import Metric

        try:
            with store.opened() as client:
                began = client.get_run(run_id).info.start_time
                for moment, numbers in list(self.taken):
                    step = max(0, (moment - began) // 1000)
                    points = [Metric(name, value, moment, step) for name, value in numbers.items()]
                    client.log_batch(run_id, metrics=points)
                    self.taken.pop(0)
        except StoreError:
            return  # the sync before has told of it, or the next one will

    def sample(self) -> dict[str, float]:
        """CPU in percent of one core (the training's) and of all (the machine's), memory in megabytes and percent."""
        import psutil

        if self.process is None:
            return {}
        try:
            with self.process.oneshot():
                cpu, memory = self.process.cpu_percent(), self.process.memory_info().rss
        except psutil.Error:
            self.process = None
            return {}
        machine = psutil.virtual_memory()
        return {
            "system/process_cpu_percentage": cpu,
            "system/process_memory_megabytes": memory / MEGABYTE,
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": machine.used / MEGABYTE,
            "system/system_memory_usage_percentage": machine.percent,
            **self._gpus(),
        }

    def _gpus(self) -> dict[str, float]:
        """A GPU's memory and load, by its number; nothing where there is no NVIDIA GPU, or its tool fails."""
        if self.nvidia_smi is None:
            return {}
        command = [
            self.nvidia_smi,
            "--query-gpu=index,memory.used,memory.total,utilization.gpu",
            "--format=csv,noheader,nounits",
        ]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
            rows = [[float(cell) for cell in line.split(",")] for line in answer.splitlines() if line.strip()]
            return {
                f"system/gpu_{int(index)}_{name}": value
                for index, used, total, load in rows
                for name, value in (
                    ("memory_usage_megabytes", used * 1.048576),
                    ("memory_usage_percentage", 100 * used / total),
                    ("utilization_percentage", load),
                )
            }
        except (OSError, subprocess.SubprocessError, ValueError, ZeroDivisionError):
            self.nvidia_smi = None  # it will not do better next time, and each try costs
            return {}
