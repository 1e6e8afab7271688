"""Latents: what a generator turns into a picture.

A latent space is a mapping {"size": d, "distribution": "normal" | "uniform"}. Draws for pictures that people compare
come from a seed alone, so that every version with the same latent space draws the same ones.
"""

from __future__ import annotations

from typing import Any

import torch

NORMAL, UNIFORM = "normal", "uniform"

# Three disjoint streams: what people watch, what picks `best`, and what is measured in the end.
GRID_SEED, TRACKER_SEED, SAMPLE_SEED = 101, 202, 303


def sample_latents(latent: dict[str, Any], count: int, seed: int) -> torch.Tensor:
    """(count, size) float32 on the CPU: N(0, 1), or U(-1, 1)."""
    rng = torch.Generator().manual_seed(seed)
    if latent["distribution"] == UNIFORM:
        return torch.rand(count, latent["size"], generator=rng) * 2 - 1
    return torch.randn(count, latent["size"], generator=rng)


def sample_latents_like(latent: dict[str, Any], count: int, like: torch.Tensor) -> torch.Tensor:
    """The same from torch's default generator, on `like`'s device and of its type: the training step's draws."""
    if latent["distribution"] == UNIFORM:
        return torch.rand(count, latent["size"], device=like.device, dtype=like.dtype) * 2 - 1
    return torch.randn(count, latent["size"], device=like.device, dtype=like.dtype)


def interpolate(latent: dict[str, Any], anchors: torch.Tensor, frames: int, closed: bool = False) -> torch.Tensor:
    """(k, size) anchors → (frames, size) along the way, evenly spaced; `closed` returns to the first for a loop.

    Normal latents turn on the sphere (slerp: a straight line between two of them passes through lengths that the
    generator never saw; White, arXiv 1609.04468); uniform ones go straight.
    """
    ends = torch.cat([anchors, anchors[:1]]) if closed else anchors
    legs = len(ends) - 1
    along = torch.linspace(0, legs, frames + 1 if closed else frames)[:frames]
    leg = along.floor().clamp(max=legs - 1).long()
    share = (along - leg).unsqueeze(1)  # (frames, 1)
    start, end = ends[leg], ends[leg + 1]
    if latent["distribution"] == UNIFORM:
        return start + (end - start) * share
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1).clamp(-1, 1).unsqueeze(1)
    angle = torch.arccos(cosine).clamp(min=1e-6)
    turned: torch.Tensor = (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)
    return turned
