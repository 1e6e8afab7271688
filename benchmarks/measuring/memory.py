"""Memory of this process."""

from __future__ import annotations

import re
from pathlib import Path


def mib(field: str) -> float:
    """Return a field of /proc/self/status in MiB: VmRSS now, VmHWM peak, RssAnon own, RssFile mapped files."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
