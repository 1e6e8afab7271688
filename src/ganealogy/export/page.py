"""Where the live page lies. Apart from what builds it, so that the report asks without paying for torch."""

from __future__ import annotations

from pathlib import Path

PAGE = Path("reports/live.html")


def live_page(root: Path = Path()) -> Path | None:
    """`reports/live.html` under `root`; None when `make live` was not run."""
    path = root / PAGE
    return path if path.is_file() else None
