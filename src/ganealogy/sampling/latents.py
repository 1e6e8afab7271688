"""Sample and interpolate latents.

A latent space is a mapping {"size": d, "distribution": "normal" | "uniform"}. Latents of grids and samples depend on a
seed alone, so that all versions with the same latent space share them.
"""

from __future__ import annotations

import torch

from ganealogy.record_types import Latent

NORMAL, UNIFORM = "normal", "uniform"

# Independent streams: the grids, the tracker that picks the best checkpoint, the final samples, standing statistics.
GRID_SEED, TRACKER_SEED, SAMPLE_SEED, STANDING_SEED = 101, 202, 303, 404


def sample_seed(index: int) -> int:
    """Return the latent seed of a sample set; set 0 is the one that is measured and compared."""
    return SAMPLE_SEED + 1000 * index


def sample_latents(latent: Latent, count: int, seed: int) -> torch.Tensor:
    """Return float32 (count, d) on the CPU: N(0, 1), or U(-1, 1)."""
    rng = torch.Generator().manual_seed(seed)
    if latent["distribution"] == UNIFORM:
        return torch.rand(count, latent["size"], generator=rng) * 2 - 1
    return torch.randn(count, latent["size"], generator=rng)


def sample_latents_like(latent: Latent, count: int, like: torch.Tensor) -> torch.Tensor:
    """Return (count, d) from torch's default generator, on the device and of the type of `like`: for training steps."""
    if latent["distribution"] == UNIFORM:
        return torch.rand(count, latent["size"], device=like.device, dtype=like.dtype) * 2 - 1
    return torch.randn(count, latent["size"], device=like.device, dtype=like.dtype)


def interpolate(latent: Latent, anchors: torch.Tensor, frames: int, closed: bool = False) -> torch.Tensor:
    """Anchors (k, d) → (frames, d), evenly spaced on the path through them; `closed` makes the path a loop.

    Normal latents are interpolated spherically (White, arXiv 1609.04468): points on a straight line between them are
    shorter than the latents of the training. Uniform ones are interpolated linearly.
    """
    ends = torch.cat([anchors, anchors[:1]]) if closed else anchors
    segments = len(ends) - 1
    position = torch.linspace(0, segments, frames + 1 if closed else frames)[:frames]
    segment = position.floor().clamp(max=segments - 1).long()
    fraction = (position - segment).unsqueeze(1)  # (frames, 1)
    start, end = ends[segment], ends[segment + 1]
    if latent["distribution"] == UNIFORM:
        return start + (end - start) * fraction
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1).clamp(-1, 1).unsqueeze(1)
    angle = torch.arccos(cosine).clamp(min=1e-6)
    first, second = torch.sin((1 - fraction) * angle), torch.sin(fraction * angle)
    return (first * start + second * end) / torch.sin(angle)
