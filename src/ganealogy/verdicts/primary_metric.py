"""Which distances may lead, that is judge the versions, and the order in which distances are shown."""

from __future__ import annotations

from collections.abc import Iterable

WITHOUT_NETWORK = {"layout_edges_32_64": ["fd_layout_edges_32_64"], "pixel8": ["fd_pixel8"], "pictures": ["swd"]}
"""Extractor → its distances; a network has three (see `distances`)."""


def distance(extractor: str) -> str:
    """Return the name of the extractor's Fréchet distance. `fid` is reserved for pytorch-fid's Inception."""
    return "fid" if extractor == "inception" else f"fd_{extractor}"


def distances(extractor: str) -> list[str]:
    """Return the distances that are measured with an extractor: those that may lead."""
    return WITHOUT_NETWORK.get(extractor, [distance(extractor), f"kid_{extractor}", f"fd_w64_{extractor}"])


def in_order(lead: str, extractors: Iterable[str]) -> list[str]:
    """Return the distances in the order of display: the leading one, FID, then extractor by extractor."""
    return list(dict.fromkeys([lead, "fid", *(name for extractor in extractors for name in distances(extractor))]))
