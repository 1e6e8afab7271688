"""Serve batches of training pictures in an order that depends on (seed, step) alone.

A resumed training therefore gets the same batches, without any state in the checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganealogy.errors import GanealogyError
from ganealogy.runtime import distributed

RESIDENT_FRACTION = 0.5
"""The pictures are kept on the GPU, as uint8, if they fill at most this fraction of its free memory."""


class Batches:
    """Random access to the shuffled batches of a packed array.

    An epoch is a permutation of all pictures; its last, partial batch is dropped. On the CPU the array stays
    memory-mapped and a batch reads only its own pictures, so that data sets larger than the memory work.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        labels: NDArray[np.int64] | None = None,
        flip: bool = False,
    ) -> None:
        """`images`: uint8 (N, H, W, C); `labels`: their classes (N,); `flip`: flip half of each epoch left to right.

        Raises: GanealogyError if there are fewer pictures than `batch_size`.
        """
        if len(images) < batch_size:
            raise GanealogyError(
                f"train.batch_size = {batch_size}, but there are only {len(images)} training pictures; "
                "lower it or add pictures"
            )
        self.batch_size, self.seed = batch_size, seed
        self.steps_per_epoch = len(images) // batch_size
        self.device = torch.device(device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # it is only read
            pixels = torch.from_numpy(images)  # (N, H, W, C) uint8, no copy
        self.resident = self._fits(pixels)
        self.images = pixels.to(self.device) if self.resident else pixels
        self._labels = None if labels is None else torch.from_numpy(labels).to(self.images.device)
        self.flip = flip
        self._shuffled: tuple[int, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def epoch(self, step: int) -> int:
        """Return the epoch of `step`; both count from 0."""
        return step // self.steps_per_epoch

    def order(self, epoch: int) -> Tensor:
        """Return the permutation of an epoch: int64 (N,), on the pictures' device."""
        return self._shuffle(epoch)[0]

    def flips(self, epoch: int) -> Tensor:
        """Return whether each picture of `order(epoch)` is flipped: bool (N,), on the pictures' device."""
        return self._shuffle(epoch)[1]

    def _shuffle(self, epoch: int) -> tuple[Tensor, Tensor]:
        if self._shuffled is None or self._shuffled[0] != epoch:
            # (seed, epoch) is the whole 128-bit key of Philox, so that no two epochs or seeds share a stream.
            bits = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)))
            order = torch.from_numpy(bits.permutation(len(self.images)))
            flips = torch.from_numpy(bits.random(len(self.images)) < 0.5)
            self._shuffled = epoch, order.to(self.images.device), flips.to(self.images.device)
        return self._shuffled[1:]

    def batch(self, step: int) -> Tensor:
        """Return float32 (B, C, H, W) in [-1, 1], channels_last, on the device."""
        pixels = self.images.index_select(0, self._indices(step))  # (B, H, W, C) uint8
        if self.flip:
            flips = self._rows(self.flips(self.epoch(step)), step)
            pixels = torch.where(flips[:, None, None, None], pixels.flip(2), pixels)
        if not self.resident:
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        # NHWC viewed as NCHW is channels_last, the fastest layout for convolutions, without a copy.
        return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)

    def labels(self, step: int) -> Tensor:
        """Return the classes of `batch(step)`: int64 (B,), on the device."""
        assert self._labels is not None
        return self._labels.index_select(0, self._indices(step)).to(self.device)

    def window(self, first: int) -> tuple[Callable[[int], Tensor], Callable[[int], Tensor] | None]:
        """Return `batch` and `labels` (None without classes) with steps counted from `first`."""
        return lambda index: self.batch(first + index), (
            None if self._labels is None else lambda index: self.labels(first + index)
        )

    def _indices(self, step: int) -> Tensor:
        """Return the picture numbers of this rank's shard of a batch: int64 (B / ranks,)."""
        return self._rows(self.order(self.epoch(step)), step)

    def _rows(self, shuffled: Tensor, step: int) -> Tensor:
        """Return the values of this rank's shard of a batch, of (N,) values in the order of its epoch."""
        position = step % self.steps_per_epoch
        return distributed.shard(shuffled[position * self.batch_size : (position + 1) * self.batch_size])

    def _fits(self, pixels: Tensor) -> bool:
        if self.device.type != "cuda":
            return True  # no copy is needed
        free, _total = torch.cuda.mem_get_info(self.device)
        return pixels.numel() <= RESIDENT_FRACTION * free
