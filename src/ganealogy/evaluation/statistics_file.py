"""Mean and covariance of features in pytorch-fid's format: an .npz with `mu` (d,) and `sigma` (d, d), float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import FeatureSet
from ganealogy.evaluation.measure import suits_all_metrics
from ganealogy.evaluation.metrics.frechet import Moments
from ganealogy.files import atomic

KEYS = {"mu", "sigma"}
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


def read(path: Path) -> Statistics:
    """Read and check a statistics file.

    Raises: GanealogyError when it is damaged, contains a pickle, or has other entries, shapes or values.
    """
    arrays = load_npz(path)
    hint = "make it again with `ganealogy measure --real PATH --extractor NAME --save-statistics FILE.npz`"
    if not set(arrays) >= KEYS:
        raise GanealogyError(f"{path}: contains {', '.join(sorted(arrays))}, expected mu and sigma; {hint}")
    mu, sigma = arrays["mu"], arrays["sigma"]
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or not len(mu) or {mu.dtype.kind, sigma.dtype.kind} != {"f"}:
        raise GanealogyError(
            f"{path}: expected float mu (d,) and sigma (d, d), found {mu.dtype} {mu.shape} and {sigma.dtype} "
            f"{sigma.shape}; {hint}"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise GanealogyError(f"{path}: mu or sigma contains NaN or infinite values; {hint}")
    sigma = sigma.astype(np.float64)
    if not np.allclose(sigma, sigma.T, rtol=1e-4, atol=1e-6 * float(np.abs(sigma).max())):
        raise GanealogyError(f"{path}: sigma is not symmetric, so it is not a covariance; {hint}")
    try:
        metadata = json.loads(str(arrays[METADATA_KEY])) if METADATA_KEY in arrays else {}
    except ValueError:
        metadata = {}
    return Statistics(path, Moments(mu.astype(np.float64), covariance=sigma), metadata)


def check_fits(statistics: Statistics, extractor: Extractor) -> None:
    """Check the metadata, if any, and the dimension.

    Raises: GanealogyError when the statistics are of another extractor, or of the same one with another protocol.
    """
    path, moments, metadata = statistics
    check_has_statistics(extractor)
    name = metadata.get("extractor", extractor.name)
    if name != extractor.name:
        raise GanealogyError(f"{path}: statistics of {name}, not of {extractor.name}: use --extractor {name}")
    if metadata.get("protocol", extractor.protocol) != extractor.protocol:
        raise GanealogyError(f"{path}: measured with other weights or another resize of {name}; make it again")
    if len(moments.mean) != extractor.dimension:
        raise GanealogyError(
            f"{path}: statistics of {len(moments.mean)} features, but {extractor.name} has {extractor.dimension}: name "
            "the extractor that computed them with --extractor"
        )


def check_has_statistics(extractor: Extractor) -> None:
    """Raises: GanealogyError for an extractor whose distance is not that of one mean and covariance."""
    if not suits_all_metrics(extractor):
        raise GanealogyError(f"{extractor.name} has no mean and covariance to keep: give pictures instead")


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an .npz.

    Raises: GanealogyError when it is damaged or contains a pickle, which is never unpickled.
    """
    check_magic(path, b"PK", ".npz archive")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise GanealogyError(
                f"{path}: contains a pickle, which can run code: save plain arrays with np.savez"
            ) from None
        raise GanealogyError(f"{path}: damaged or not an .npz archive ({error}); make it again") from None
    except (OSError, EOFError, KeyError, AttributeError, TypeError, BadZipFile) as error:
        raise GanealogyError(f"{path}: damaged or not an .npz archive ({error}); make it again") from None


def check_magic(path: Path, magic: bytes, kind: str) -> None:
    """Check the first bytes: numpy would take any other file for a pickle.

    Raises: GanealogyError when they differ.
    """
    with open(path, "rb") as file:
        if file.read(len(magic)) != magic:
            raise GanealogyError(f"{path}: damaged or not an {kind}; make it again")
