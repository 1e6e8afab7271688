"""While a training runs, a process of its own brings its curves and grids to MLflow.

A process and not a thread: MLflow never enters the training process, so it can neither slow nor crash it. It only
reads the run directory, starts late (a short training never pays for it) and goes when the training goes.
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

from ganealogy.tracking import syncing, system_metrics

AFTER_S, EVERY_S = 60.0, 15.0
POLL_S = 0.5
GRACE_S = 10.0
"""For the last sync, once the training has ended."""
SHARE = 0.01
"""Of a training's time: what it waits for that sync, whatever the store does. What is cut off is posted later."""
STOPPED_S = 5.0
"""What a training that was told to stop waits: a person may look now, and the next sync is whenever they type it."""
NICENESS = 19


class LiveSync:
    """Around a training: `with LiveSync(work_dir): train(...)`. `work_dir` is the run directory being written.

    After `after_s` it starts `python -m ganealogy sync --follow WORK_DIR`; at the end that process syncs once more.
    `stopped`: whether the training was told to stop before its end.
    """

    def __init__(self, work_dir: Path, stopped: Callable[[], bool] = lambda: False, after_s: float = AFTER_S) -> None:
        self.work_dir, self.stopped = work_dir, stopped
        self.process: subprocess.Popen[bytes] | None = None
        self.timer = threading.Timer(after_s, self._start)
        self.timer.daemon = True
        self.began = time.monotonic()

    def _start(self) -> None:
        verb = ["sync", "--follow", str(self.work_dir), "--parent", str(os.getpid())]
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ganealogy", *verb],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **one_thread},
            process_group=0,  # Ctrl-C is for the training, which then ends this
        )

    def __enter__(self) -> LiveSync:
        self.timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it sync a last time, for SHARE of the training's time at most, or STOPPED_S when that was stopped.

        A store that hangs or is slow costs no more. What there was no time for is in the run directory, and the sync
        after the report, or any other, posts it.
        """
        self.timer.cancel()
        if self.timer.ident is not None:  # it may be starting the process right now
            self.timer.join()
        if self.process is None:
            return
        patience = STOPPED_S if self.stopped() else min(GRACE_S, SHARE * (time.monotonic() - self.began))
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()  # nothing, once it has ended
            self.process.wait()


def follow(run_dir: Path, parent_pid: int | None = None, every_s: float = EVERY_S) -> None:
    """Sync `run_dir` every `every_s` seconds while it trains, and once more when `parent_pid` is gone or SIGTERM comes.

    As often it samples what the training takes of its machine (`system.py`).

    For a process of its own: it takes over the SIGTERM handler and lowers its own priority, and is gone GRACE_S after
    the end, whatever the store does. `parent_pid`: the process that started this one; None takes whichever did.
    """
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    os.nice(NICENESS)
    threading.Thread(target=_watch, args=(parent_pid or os.getppid(), ended), daemon=True).start()

    told: set[str] = set()

    def tell_once(line: str) -> None:
        if not told:
            print(f"warning: {line}", file=sys.stderr, flush=True)
        told.add(line)

    monitor = system_metrics.Monitor(parent_pid or os.getppid())
    while not ended.is_set():
        monitor.take()
        if (run_dir / "train" / "run.json").exists():
            result = syncing.sync(run_dir, warn=tell_once)
            if result.run_id is not None:
                monitor.post(result.run_id)
            if result.warning is None and result.status != "running":
                return
        ended.wait(every_s)
    result = syncing.sync(run_dir, final="interrupted", warn=tell_once)
    if result.run_id is not None:
        monitor.post(result.run_id)


def _watch(parent_pid: int, ended: threading.Event) -> None:
    """Ends the process GRACE_S after its parent, or after SIGTERM: also out of a call that hangs.

    Asking for the parent works everywhere; the kernel's own signal on a parent's death (PR_SET_PDEATHSIG) follows the
    thread that started the process, here a timer's, which ends at once.
    """
    while os.getppid() == parent_pid and not ended.wait(POLL_S):
        pass
    ended.set()
    threading.Event().wait(GRACE_S)
    os._exit(1)
