"""Which metric of an extractor leads, by the number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TIMES = 4
"""Samples a feature dimension below which a Fréchet distance is mostly its own bias, and KID, which has none, leads."""


def distance(extractor: str) -> str:
    """The Fréchet distance's name: `fid` is pytorch-fid's Inception's and nobody else's."""
    return "fid" if extractor == "inception" else f"fd_{extractor}"


def lead(tracker: str, protocols: Mapping[str, Mapping[str, Any]]) -> str:
    """The one metric that a tree is judged by: the tracker's Fréchet distance, or its KID where the samples are few.

    `protocols`: metric → how it was measured, as in evaluate/metrics.json.
    """
    way = protocols.get(distance(tracker), {})
    if "fakes" in way and "dimension" in way:
        first = leading(tracker, [], way["fakes"], {tracker: way["dimension"]})[0]
        if first in protocols:
            return first
    return distance(tracker)


def leading(tracker: str, extractors: Iterable[str], samples: int, dimensions: Mapping[str, int]) -> list[str]:
    """Distances in the order to show them: the tracker's first, which was chosen to fit the budget.

    `dimensions`: features of each extractor, as in data/reference/anchors.json. Of a network whose dimension is unknown
    or above a quarter of the samples KID comes before its Fréchet distance. pixel8 has no KID.
    """
    order: list[str] = []
    for name in dict.fromkeys([tracker, *extractors]):
        few = name not in dimensions or samples < TIMES * dimensions[name]
        if name == "pixel8":
            order.append(distance(name))
        else:
            order += [f"kid_{name}", distance(name)] if few else [distance(name), f"kid_{name}"]
    return order
