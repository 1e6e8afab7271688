"""The first module that multiprocessing's fork server imports: it ties the server to the process that started it.

The server must outlive Ctrl-C, SIGTERM and SIGHUP, which the workers handle, and must die with its stage: the workers
notice that (`process.die_with_parent`), stop and save a checkpoint. Without this, they would live on after `kill -9`.
"""

import os
import signal
import sys

from ganealogy.runtime import parent

for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
if sys.platform == "linux":
    in_time = parent.signal_on_death(signal.SIGKILL)
    if not in_time or os.getppid() == 1:  # the stage ended in between
        os._exit(1)
