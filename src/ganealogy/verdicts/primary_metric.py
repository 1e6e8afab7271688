"""The primary metric of a tree, and the order in which distances are shown, by the number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SAMPLES_PER_DIMENSION = 4
"""With fewer samples per feature dimension a Fréchet distance is mostly bias; KID, which is unbiased, comes first."""


def distance(extractor: str) -> str:
    """Return the name of the extractor's Fréchet distance. `fid` is reserved for pytorch-fid's Inception."""
    return "fid" if extractor == "inception" else f"fd_{extractor}"


def primary_metric(tracker: str, protocols: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the metric by which versions are compared: the tracker's Fréchet distance, or its KID with few samples.

    `protocols`: metric → how it was measured, as in evaluate/metrics.json.
    """
    protocol = protocols.get(distance(tracker), {})
    if "fakes" in protocol and "dimension" in protocol:
        first = metric_order(tracker, [], protocol["fakes"], {tracker: protocol["dimension"]})[0]
        if first in protocols:
            return first
    return distance(tracker)


def metric_order(tracker: str, extractors: Iterable[str], samples: int, dimensions: Mapping[str, int]) -> list[str]:
    """Return the distances in the order of display, those of the tracker first.

    `dimensions`: feature dimension of each extractor, as in data/reference/anchors.json. An extractor whose dimension
    is unknown or above a quarter of the samples has its KID before its Fréchet distance. pixel8 has no KID.
    """
    order: list[str] = []
    for name in dict.fromkeys([tracker, *extractors]):
        few = name not in dimensions or samples < SAMPLES_PER_DIMENSION * dimensions[name]
        if name == "pixel8":
            order.append(distance(name))
        else:
            order += [f"kid_{name}", distance(name)] if few else [distance(name), f"kid_{name}"]
    return order
