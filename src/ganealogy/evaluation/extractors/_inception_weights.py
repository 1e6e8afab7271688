"""Download Inception's weights. Separate from the extractor, so that training never imports the downloader."""

from __future__ import annotations

from pathlib import Path

from ganealogy.data.fetch import Remote, in_mirror, obtain
from ganealogy.evaluation.extractors import inception

INCEPTION = Remote(inception.FILE, (inception.URL,), sha256=inception.SHA256, size=inception.BYTES)


def fetch_weights(mirror: Path | None = None) -> Path:
    """Copy Inception's weights from the `mirror` directory if it has them, else download them; return their path.

    Does nothing if they exist and are intact.

    Raises: GanealogyError when the download fails, or the file's sha256 is wrong.
    """
    target = inception.weights_path()
    obtain(INCEPTION, target, in_mirror(mirror, inception.FILE))
    return target
