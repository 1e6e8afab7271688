"""Post the curves and grids of a running training to MLflow, from a second process.

MLflow in a process of its own can neither slow nor crash the training. The process only reads the run directory. It
starts late, so that short trainings do not pay for it, and ends with the training.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ganealogy.tracking import store, syncing
from ganealogy.tracking.store import StoreError
from ganealogy.workspace import unfinished

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

START_AFTER_S, INTERVAL_S = 60.0, 15.0
POLL_S = 0.5
GRACE_S = 10.0
"""Longest time for the last sync after the training."""
MAX_WAIT_FRACTION = 0.01
"""Longest wait of the training for that sync, as a fraction of its own time. A later sync posts the rest."""
STOPPED_WAIT_S = 5.0
"""Longest wait of a training that was interrupted: no later stage will sync it."""
NICENESS = 19


class LiveSync:
    """A context manager around a training: `with LiveSync(work_dir): train(...)`."""

    def __init__(
        self, work_dir: Path, stopped: Callable[[], bool] = lambda: False, start_after_s: float = START_AFTER_S
    ) -> None:
        """After `start_after_s` it starts `python -m ganealogy sync --follow WORK_DIR`.

        `work_dir`: the run directory being written; `stopped`: whether the training was interrupted.
        """
        self.work_dir, self.stopped = work_dir, stopped
        self.process: subprocess.Popen[bytes] | None = None
        self.timer = threading.Timer(start_after_s, self._start)
        self.timer.daemon = True
        self.start_time = time.monotonic()

    def _start(self) -> None:
        verb = ["sync", "--follow", str(self.work_dir), "--parent", str(os.getpid())]
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ganealogy", *verb],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **one_thread},
            process_group=0,  # Ctrl-C goes to the training only, which then ends this process
        )

    def __enter__(self) -> LiveSync:
        self.timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, after a last sync if that fits in the longest wait.

        A slow store costs no more than that: a later sync, such as the report's, posts the rest from the run directory.
        """
        self.timer.cancel()
        if self.timer.ident is not None:  # it may be starting the process at this moment
            self.timer.join()
        if self.process is None:
            return
        elapsed = time.monotonic() - self.start_time
        timeout = STOPPED_WAIT_S if self.stopped() else min(GRACE_S, MAX_WAIT_FRACTION * elapsed)
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()  # does nothing to a process that has ended
            self.process.wait()


def follow(work: Path, parent_pid: int | None = None, interval_s: float = INTERVAL_S) -> None:
    """Sync the training in `work` every `interval_s` seconds until it ends, `parent_pid` dies or SIGTERM comes.

    It also posts the machine's load while the training runs. It is the main function of a process: it sets the
    SIGTERM handler, lowers the priority, and exits at most GRACE_S after the end, even if the store hangs.

    `parent_pid`: the training's process; None takes the parent.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    threading.Thread(target=_exit_with_parent, args=(parent_pid or os.getppid(), stop), daemon=True).start()
    warnings: list[str] = []

    def warn_once(line: str) -> None:
        if not warnings:
            print(f"warning: {line}", file=sys.stderr, flush=True)
        warnings.append(line)

    monitor: SystemMetricsMonitor | None = None
    while not stop.is_set():
        if (work / "train" / "run.json").exists():
            result = syncing.sync(unfinished(work), warn=warn_once)
            if result.warning is None and result.status != "running":
                break
            if result.run_id is not None and monitor is None:
                monitor = _start_monitor(result.run_id)
        stop.wait(interval_s)
    else:
        syncing.sync(unfinished(work), final="interrupted", warn=warn_once)
    if monitor is not None:
        monitor.finish()  # type: ignore[no-untyped-call]


def _start_monitor(run_id: str) -> SystemMetricsMonitor | None:
    """Start MLflow's thread that posts CPU, memory, disk, network and GPU load of the whole machine as `system/…`.

    The thread ends when the run is no longer RUNNING or the store fails. GPUs need the package nvidia-ml-py. Returns
    None if the store fails now.
    """
    try:
        with store.open_client():
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                run_id, resume_logging=True, tracking_uri=store.uri()
            )
            monitor.start()  # type: ignore[no-untyped-call]
            return monitor
    except StoreError:
        return None


def _exit_with_parent(parent_pid: int, stop: threading.Event) -> None:
    """Set `stop` when the parent dies, and exit GRACE_S after `stop` is set, even if another thread hangs.

    It polls because the kernel's signal on a parent's death (PR_SET_PDEATHSIG) is bound to the thread that started
    the process: here a timer's, which ends at once.
    """
    while os.getppid() == parent_pid and not stop.wait(POLL_S):
        pass
    stop.set()
    threading.Event().wait(GRACE_S)
    os._exit(1)
