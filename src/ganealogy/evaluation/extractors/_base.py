"""The interface of a feature extractor."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ganealogy.record_types import MetricProtocol


class Extractor(Protocol):
    """Returned by the function `load(device)` of each file in this folder.

    Optional in the file:

    - `prepare(packed_directory, reference, device)` trains the extractor on the data, in the reference stage. The
      signature of `load` is then `load(device, reference)`.
    - DATASETS and IMAGE_SIZES list the data sets and sizes that it supports.

    Optional on the extractor:

    - `probabilities(features) -> (N, K)`, of the data set's own classes, enables the metrics of classifier_score.py.
    - `class_weights` (classes, d), the weights of the last layer, enable the Inception score.
    - `blocks(dimension) -> tuple[Block, ...]`: its distance is the largest of the blocks' whitened Fréchet distances
      (metrics/whitened.py), and no other metric is computed from it.
    - `pictures = True`: its features are the pixels, for `swd` alone.
    - `min_fakes`: the fewest samples for which its distance is measured.
    """

    name: str
    network: bool
    """Whether the features are a network's. KID, PRDC and the Vendi score are not computed on pixels."""
    dimension: int
    protocol: MetricProtocol
    """weights_sha256, resize, precision: numbers are comparable only if these are equal."""

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, C) → (N, dimension). Each row depends on its image alone."""
        ...
