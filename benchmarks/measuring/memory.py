"""What a process takes of the machine's memory."""

from __future__ import annotations

import re
from pathlib import Path


def mib(field: str) -> float:
    """This process's, as Linux counts: VmRSS now, VmHWM the peak, RssAnon its own, RssFile mapped files' pages."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
