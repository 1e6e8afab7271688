"""The maps of a network, from the image down to the smallest."""

from __future__ import annotations

from ganealogy.errors import GanealogyError


def ladder(image_size: int, network: str) -> tuple[int, int]:
    """Return the side of the smallest map and the number of halvings to it: 64 → (4, 4), 48 → (6, 3), 28 → (7, 2).

    Raises: GanealogyError for a size that is not 4, 5, 6 or 7 times a power of two, from 16 up; `network` is named in
    the message.
    """
    side, steps = image_size, 0
    while side >= 8 and side % 2 == 0:
        side, steps = side // 2, steps + 1
    if image_size < 16 or side >= 8:
        below, above = nearest(image_size)
        raise GanealogyError(
            f"{network}: dataset.image_size {image_size} is not 4, 5, 6 or 7 doubled at least twice "
            f"(16, 20, 24, 28, 32, 40, 48, 56, 64, …): use {' or '.join(map(str, dict.fromkeys((below, above))))}"
        )
    return side, steps


def nearest(image_size: int) -> tuple[int, int]:
    """Return the largest size of `ladder` up to this one, or 16, and the smallest from this one up."""
    sizes = [side * 2**steps for steps in range(2, 12) for side in (4, 5, 6, 7)]
    return max((size for size in sizes if size <= image_size), default=16), min(s for s in sizes if s >= image_size)
