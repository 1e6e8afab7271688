"""The peer: the loop of the tutorial notebook, written from its public description.

Jovian "06b-anime-dcgan": ImageFolder and a DataLoader with 3 workers, NCHW fp32, sigmoid and binary cross-entropy,
D's loss backpropagated through G too, `.item()` at every step. N images, C channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from measuring.device import block

LATENT = 128
WORKERS = 3
PREFETCHED = 2 * WORKERS
"""Batches that a DataLoader prefetches."""


def discriminator(width: int = 64) -> nn.Module:
    """Return D: images (N, 3, 64, 64) → probability of "real" (N, 1)."""
    layers: list[nn.Module] = []
    inner = 3
    for outer in (width, 2 * width, 4 * width, 8 * width):
        layers += [nn.Conv2d(inner, outer, 4, 2, 1, bias=False), nn.BatchNorm2d(outer), nn.LeakyReLU(0.2, inplace=True)]
        inner = outer
    return nn.Sequential(*layers, nn.Conv2d(inner, 1, 4, 1, 0, bias=False), nn.Flatten(), nn.Sigmoid())


def generator(width: int = 64) -> nn.Module:
    """Return G: latents (N, 128, 1, 1) → images (N, 3, 64, 64)."""
    layers: list[nn.Module] = []
    inner = LATENT
    for index, outer in enumerate((8 * width, 4 * width, 2 * width, width)):
        stride, padding = (1, 0) if index == 0 else (2, 1)
        layers += [nn.ConvTranspose2d(inner, outer, 4, stride, padding, bias=False), nn.BatchNorm2d(outer)]
        layers.append(nn.ReLU(inplace=True))
        inner = outer
    return nn.Sequential(*layers, nn.ConvTranspose2d(inner, 3, 4, 2, 1, bias=False), nn.Tanh())


class Notebook:
    def __init__(self, batch_size: int, width: int = 64, lr: float = 2e-4, device: str = "cpu") -> None:
        self.batch_size, self.device = batch_size, device
        self.discriminator, self.generator = discriminator(width).to(device), generator(width).to(device)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=(0.5, 0.999))
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=(0.5, 0.999))

    def step(self, real: torch.Tensor) -> tuple[float, float, float, float]:
        """Run a D step and a G step on (N, 3, 64, 64). Return both losses and D's mean scores of reals and fakes."""
        real = real.to(self.device, non_blocking=True)
        d_loss, real_score, fake_score = self._train_discriminator(real)
        return d_loss, self._train_generator(), real_score, fake_score

    def _train_discriminator(self, real: torch.Tensor) -> tuple[float, float, float]:
        self.d_optimizer.zero_grad()
        real_scores = self.discriminator(real)
        real_loss = F.binary_cross_entropy(real_scores, torch.ones(real.size(0), 1, device=self.device))
        fake = self.generator(torch.randn(self.batch_size, LATENT, 1, 1, device=self.device))
        fake_scores = self.discriminator(fake)
        fake_loss = F.binary_cross_entropy(fake_scores, torch.zeros(fake.size(0), 1, device=self.device))
        loss = real_loss + fake_loss
        loss.backward()
        self.d_optimizer.step()
        return loss.item(), torch.mean(real_scores).item(), torch.mean(fake_scores).item()

    def _train_generator(self) -> float:
        self.g_optimizer.zero_grad()
        fake = self.generator(torch.randn(self.batch_size, LATENT, 1, 1, device=self.device))
        loss = F.binary_cross_entropy(self.discriminator(fake), torch.ones(self.batch_size, 1, device=self.device))
        loss.backward()
        self.g_optimizer.step()
        return loss.item()


def dataset(folder: Path, size: int) -> ImageFolder:
    """Return the notebook's data set, which resizes, crops and scales to [-1, 1] on every access."""
    steps = [
        transforms.Resize(size),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ]
    return ImageFolder(str(folder), transform=transforms.Compose(steps))


def loader(
    folder: Path, size: int, batch_size: int, workers: int = WORKERS, pinned: bool = False
) -> DataLoader[torch.Tensor]:
    """`pinned`: for a GPU, as in the notebook."""
    # torch warns of more workers than cores, but the notebook uses them.
    warnings.filterwarnings("ignore", "This DataLoader will create")
    pictures = dataset(folder, size)
    return DataLoader(pictures, batch_size, shuffle=True, num_workers=workers, pin_memory=pinned, drop_last=True)


def endless(batches: DataLoader[torch.Tensor]) -> Iterator[torch.Tensor]:
    while True:
        for real, _label in batches:
            yield real


def fed(peer: Notebook, folder: Path, size: int, steps: int) -> Callable[[], float]:
    """Return a contender: seconds per step with data loading, without the prefetched batches.

    Its workers end before the next contender runs.
    """

    def run() -> float:
        batches = endless(loader(folder, size, peer.batch_size, pinned=peer.device != "cpu"))
        for _ in range(PREFETCHED):
            peer.step(next(batches))
        seconds = block(lambda: peer.step(next(batches)), steps, peer.device)()
        batches.close()  # type: ignore[attr-defined]
        return seconds

    return run
