"""Which metric of an extractor leads, by the number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

TIMES = 4
"""Samples a feature dimension below which a Fréchet distance is mostly its own bias, and KID, which has none, leads."""


def leading(tracker: str, extractors: Iterable[str], samples: int, dimensions: Mapping[str, int]) -> list[str]:
    """Distances in the order to show them: the tracker's first, which was chosen to fit the budget.

    `dimensions`: features of each extractor, as in data/reference/anchors.json. Of a network whose dimension is unknown
    or above a quarter of the samples KID comes before its Fréchet distance. pixel8 has no KID.
    """
    order: list[str] = []
    for name in dict.fromkeys([tracker, *extractors]):
        distance = "fid" if name == "inception" else f"fd_{name}"
        few = name not in dimensions or samples < TIMES * dimensions[name]
        if name == "pixel8":
            order.append(distance)
        else:
            order += [f"kid_{name}", distance] if few else [distance, f"kid_{name}"]
    return order
