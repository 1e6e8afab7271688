"""The interface of an architecture: the classes `generator` and `discriminator` of each file in this folder.

A file has one of them or both. Positional arguments come from the protocol, keyword arguments from the recipe.
`width` scales the number of channels (`train.width`); `classes` is K > 0 for a class-conditional network, else 0.
A file may ignore `width`, and raises GanealogyError for an image size or `classes` that it does not support.

A file whose discriminator sees the features of an extractor names it in a constant, `FEATURES_OF = "effnet_lite0"`; the
plan then refuses that extractor as leading metric and as tracker.

Initial weights are drawn from torch's default generator.

Shapes: N images, C = channels, H = W = image_size, d = latent_size; labels are (N,) int64 in [0, K).
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn


class GeneratorBuilder(Protocol):
    """`generator(latent_size, channels, image_size, width, classes, *, …)`."""

    def __call__(
        self, latent_size: int, channels: int, image_size: int, width: int, classes: int = 0, **options: Any
    ) -> nn.Module:
        """Return G: z (N, d) → images (N, C, H, W), black at -1 and white at 1. G(z, labels) if `classes` > 0.

        G has an attribute `classes: int`.
        """


class DiscriminatorBuilder(Protocol):
    """`discriminator(channels, image_size, width, classes, *, …)`."""

    def __call__(self, channels: int, image_size: int, width: int, classes: int = 0, **options: Any) -> nn.Module:
        """Return D: images (N, C, H, W) → logits (N,), high for real images. D(images, labels) if `classes` > 0.

        A D of several judges returns (N, K), each judge, or each place that it judges, in a column: a loss is the mean
        over all of them, and a penalty on D's gradient takes that of an image's mean logit.

        Optional methods: `with_features(images, …)` → (N, 1 + F), the logit and then features, for losses that need
        them; `calibrate(images)`, called once before a training with some training pictures (N, C, H, W): what it sets
        belongs into buffers.
        """
