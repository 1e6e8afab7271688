"""Mean and covariance of features in pytorch-fid's format: an .npz with `mu` (d,) and `sigma` (d, d), float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import Extractor, FeatureSet
from ganealogy.evaluation.metrics.frechet import Moments
from ganealogy.files import atomic

KEYS = {"mu", "sigma"}
NOTE = "ganealogy"
"""A third entry of the files that we write, JSON: what measured them. Readers of mu and sigma never see it."""


class Statistics(NamedTuple):
    path: Path
    moments: Moments
    about: dict[str, Any]
    """extractor, protocol, count; empty where another program wrote the file."""


def write(path: Path, features: FeatureSet, extractor: Extractor) -> None:
    about = {"extractor": extractor.name, "protocol": extractor.protocol, "count": len(features)}
    moments = features.moments
    with atomic.writing(path) as file:
        np.savez(
            file,
            allow_pickle=False,
            mu=moments.mean,
            sigma=moments.covariance,
            **{NOTE: np.array(json.dumps(about, sort_keys=True))},
        )


def read(path: Path) -> Statistics:
    """Raises: GanealogyError when it is damaged, holds a pickle, or other entries, shapes or values."""
    arrays = load_npz(path)
    cure = "make it again with `ganealogy evaluate --real PATH --extractor NAME --save-statistics FILE.npz`"
    if not set(arrays) >= KEYS:
        raise GanealogyError(f"{path}: holds {', '.join(sorted(arrays))}, not mu and sigma; {cure}")
    mu, sigma = arrays["mu"], arrays["sigma"]
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or not len(mu) or {mu.dtype.kind, sigma.dtype.kind} != {"f"}:
        raise GanealogyError(
            f"{path}: expected float mu (d,) and sigma (d, d), found {mu.dtype} {mu.shape} and {sigma.dtype} "
            f"{sigma.shape}; {cure}"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise GanealogyError(f"{path}: mu or sigma hold NaN or infinite values; {cure}")
    sigma = sigma.astype(np.float64)
    if not np.allclose(sigma, sigma.T, rtol=1e-4, atol=1e-6 * float(np.abs(sigma).max())):
        raise GanealogyError(f"{path}: sigma is not symmetric, so it is no covariance; {cure}")
    try:
        about = json.loads(str(arrays[NOTE])) if NOTE in arrays else {}
    except ValueError:
        about = {}
    return Statistics(path, Moments(mu.astype(np.float64), covariance=sigma), about)


def check_fits(statistics: Statistics, extractor: Extractor) -> None:
    """Raises: GanealogyError when another extractor, or another protocol of it, made them; as far as they tell."""
    path, moments, about = statistics
    made_by = about.get("extractor", extractor.name)
    if made_by != extractor.name:
        raise GanealogyError(f"{path}: statistics of {made_by}, not of {extractor.name}: use --extractor {made_by}")
    if about.get("protocol", extractor.protocol) != extractor.protocol:
        raise GanealogyError(f"{path}: measured with other weights or another resize of {made_by}; make it again")
    if len(moments.mean) != extractor.dimension:
        raise GanealogyError(
            f"{path}: statistics of {len(moments.mean)} features, and {extractor.name} has {extractor.dimension}: name "
            "the extractor that made them with --extractor"
        )


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz. Raises: GanealogyError when it is no whole .npz, or holds a pickle, which is never run."""
    check_beginning(path, b"PK", ".npz archive")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise GanealogyError(
                f"{path}: holds a pickle, which can run code: save plain arrays with np.savez"
            ) from None
        raise GanealogyError(f"{path}: not a whole .npz ({error}); make it again") from None
    except (OSError, EOFError, KeyError, AttributeError, TypeError, BadZipFile) as error:
        raise GanealogyError(f"{path}: not a whole .npz ({error}); make it again") from None


def check_beginning(path: Path, magic: bytes, what: str) -> None:
    """Raises: GanealogyError when the file is not of its name's kind; numpy would take whatever it is for a pickle."""
    with open(path, "rb") as file:
        if file.read(len(magic)) != magic:
            raise GanealogyError(f"{path}: not a whole {what}, whatever its name says; make it again")
