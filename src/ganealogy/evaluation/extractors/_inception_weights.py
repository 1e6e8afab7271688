"""Fetches the weights that no package carries; apart from the extractor, which training may load but never fetches."""

from __future__ import annotations

from pathlib import Path

from ganealogy.data.fetch import Remote, in_mirror, obtain
from ganealogy.evaluation.extractors import inception

INCEPTION = Remote(inception.FILE, (inception.URL,), sha256=inception.SHA256, size=inception.BYTES)


def fetch_weights(mirror: Path | None = None) -> Path:
    """Inception's weights, from the `mirror` directory when it has them, else downloaded; returns where they are.

    Nothing is done when they are there already and whole.

    Raises: GanealogyError when the mirror's file is another one, or the download fails or brings something else.
    """
    target = inception.weights_path()
    obtain(INCEPTION, target, in_mirror(mirror, inception.FILE))
    return target
