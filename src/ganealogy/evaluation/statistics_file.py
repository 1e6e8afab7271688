"""Mean and covariance of features in pytorch-fid's format: an .npz with `mu` (d,) and `sigma` (d, d), float64."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import FeatureSet, extractor_class
from ganealogy.evaluation.measure import suits_all_metrics
from ganealogy.evaluation.metrics.frechet import Moments
from ganealogy.files import atomic
from ganealogy.files.arrays import Archive
from ganealogy.record_types import MetricProtocol

KEYS = {"mu", "sigma"}
HINT = "make it again with `ganealogy measure --real PATH --extractor NAME --save-statistics FILE.npz`"
MAX_DIMENSIONS = 2**13
"""Four times Inception's; a covariance of so many features takes half a gigabyte."""
LARGEST = 1e100
"""Squares of larger values would be infinite."""
MAX_METADATA = 2**20
"""Bytes of the third entry."""
METADATA_KEY = "ganealogy"
"""A third entry in files that Ganealogy writes: JSON with extractor, protocol and count. pytorch-fid ignores it."""


class Statistics(NamedTuple):
    path: Path
    moments: Moments
    metadata: dict[str, Any]
    """extractor, protocol, count; empty if another program wrote the file."""


def write(path: Path, features: FeatureSet, extractor: Extractor) -> None:
    metadata = {"extractor": extractor.name, "protocol": extractor.protocol, "count": len(features)}
    moments = features.moments
    with atomic.writing(path) as file:
        np.savez(
            file,
            allow_pickle=False,
            mu=moments.mean,
            sigma=moments.covariance,
            **{METADATA_KEY: np.array(json.dumps(metadata, sort_keys=True))},
        )


def read(path: Path, content: Archive) -> Statistics:
    """Read and check the statistics in an open .npz.

    Raises: GanealogyError when it is damaged, or has other entries, shapes or values.
    """
    if missing := KEYS - set(content.headers):
        found = ", ".join(sorted(content.headers))
        raise GanealogyError(f"{path}: contains {found}, expected mu and sigma, without {missing.pop()}; {HINT}")
    mu, sigma = (content.headers[key] for key in ("mu", "sigma"))
    size = mu.shape[0] if len(mu.shape) == 1 else 0
    if not size or sigma.shape != (size, size) or not {mu.dtype.kind, sigma.dtype.kind} <= set("fiu"):
        raise GanealogyError(
            f"{path}: expected mu (d,) and sigma (d, d) of numbers, found {mu.dtype} {mu.shape} and {sigma.dtype} "
            f"{sigma.shape}; {HINT}"
        )
    if size > MAX_DIMENSIONS:
        raise GanealogyError(f"{path}: statistics of {size:,} features, more than {MAX_DIMENSIONS:,}; {HINT}")
    mean, covariance = (content.read(key).astype(np.float64) for key in ("mu", "sigma"))
    largest = float(np.abs(covariance).max())
    if not (largest < LARGEST and float(np.abs(mean).max()) < LARGEST):  # false for NaN, too
        raise GanealogyError(f"{path}: mu or sigma contains NaN or infinite values, or some above {LARGEST}; {HINT}")
    if not np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6 * largest):
        raise GanealogyError(f"{path}: sigma is not symmetric, so it is not a covariance; {HINT}")
    deviations = np.sqrt(covariance.diagonal().clip(min=0))
    if (np.abs(covariance) > np.outer(deviations, deviations) * 1.001 + 1e-6 * largest).any():
        raise GanealogyError(f"{path}: sigma has a correlation above 1, so it is not a covariance; {HINT}")
    metadata = _metadata(path, content) if METADATA_KEY in content.headers else {}
    return Statistics(path, Moments(mean, covariance=covariance), metadata)


def _metadata(path: Path, content: Archive) -> dict[str, Any]:
    """Raises: GanealogyError for anything but JSON with an extractor, its protocol and a count."""
    try:
        metadata = json.loads(str(content.read(METADATA_KEY, most=MAX_METADATA)))
        extractor, protocol, count = (metadata.get(key) for key in ("extractor", "protocol", "count"))
        atomic.digest(protocol)  # raises for NaN, of which there is no digest
    except (ValueError, AttributeError, RecursionError):
        extractor = protocol = count = Ellipsis
    if not (
        isinstance(extractor, str | None)
        and isinstance(protocol, dict | None)
        and (count is None or (type(count) is int and count >= 0))
    ):
        raise GanealogyError(f"{path}: its entry {METADATA_KEY!r} is not what Ganealogy writes; {HINT}")
    recorded = {"extractor": extractor, "protocol": protocol, "count": count}
    return {key: value for key, value in recorded.items() if value is not None}


@dataclass
class Recorded:
    """An extractor as two statistics files describe it: enough to compare them, without its weights."""

    name: str
    protocol: MetricProtocol
    dimension: int
    network: bool

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError


def recorded(name: str, sides: Sequence[Statistics]) -> Extractor:
    """Return the extractor of statistics on both sides. Its weights are not needed.

    Raises: GanealogyError when they are of another extractor, of two protocols, or of another dimension.
    """
    kind: Any = extractor_class(name)
    check_has_statistics(kind, name)
    dimension = len(sides[0].moments.mean)  # of pixels, it depends on the number of channels
    for side in sides:
        _check_extractor(side, name, getattr(kind, "dimension", dimension) if kind.network else dimension)
    protocols = [side.metadata["protocol"] for side in sides if "protocol" in side.metadata]
    if any(protocol != protocols[0] for protocol in protocols):
        both = " and ".join(str(side.path) for side in sides)
        raise GanealogyError(f"{both}: measured with other weights or another resize of {name}; make one of them again")
    protocol = protocols[0] if protocols else {}
    return Recorded(name, protocol, dimension, kind.network)


def check_fits(statistics: Statistics, extractor: Extractor) -> None:
    """Check the metadata, if any, and the dimension.

    Raises: GanealogyError when the statistics are of another extractor, or of the same one with another protocol.
    """
    check_has_statistics(extractor, extractor.name)
    _check_extractor(statistics, extractor.name, extractor.dimension)
    if statistics.metadata.get("protocol", extractor.protocol) != extractor.protocol:
        raise GanealogyError(
            f"{statistics.path}: measured with other weights or another resize of {extractor.name}; make it again"
        )


def _check_extractor(statistics: Statistics, name: str, dimension: int) -> None:
    """Raises: GanealogyError when the statistics are of another extractor or dimension."""
    path, moments, metadata = statistics
    theirs = metadata.get("extractor", name)
    if theirs != name:
        raise GanealogyError(f"{path}: statistics of {theirs}, not of {name}: use --extractor {theirs}")
    if len(moments.mean) != dimension:
        raise GanealogyError(
            f"{path}: statistics of {len(moments.mean)} features, but {name} has {dimension}: name the extractor that "
            "computed them with --extractor"
        )


def check_has_statistics(extractor: Any, name: str) -> None:
    """Raises: GanealogyError for an extractor whose distance is not that of one mean and covariance."""
    if not suits_all_metrics(extractor):
        raise GanealogyError(f"{name} has no mean and covariance to keep: give pictures instead")
