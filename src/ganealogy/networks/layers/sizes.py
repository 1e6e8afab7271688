"""Number of halvings from the image to the smallest feature map."""

from __future__ import annotations

from math import log2

from ganealogy.errors import GanealogyError


def halvings(image_size: int, network: str) -> int:
    """Return the number of halvings from the image to 4x4.

    Raises: GanealogyError for a size that is no power of two from 16 up; `network` is named in the message.
    """
    if image_size < 16 or image_size & (image_size - 1):
        raise GanealogyError(
            f"{network}: dataset.image_size {image_size} is not a power of two from 16 up (16, 32, 64, 128, …)"
        )
    return int(log2(image_size)) - 2


def ladder(image_size: int, network: str) -> tuple[int, int]:
    """Return the side of the smallest feature map and the number of halvings to it: 28 → (7, 2).

    For networks with a linear layer at that map.

    Raises: GanealogyError for a size that is not 4, 5, 6 or 7 times a power of two, from 16 up.
    """
    side, steps = image_size, 0
    while side >= 8 and side % 2 == 0:
        side, steps = side // 2, steps + 1
    if image_size < 16 or side >= 8:
        raise GanealogyError(
            f"{network}: dataset.image_size {image_size} is not 4, 5, 6 or 7 doubled at least twice (16, 28, 32, 64, …)"
        )
    return side, steps
