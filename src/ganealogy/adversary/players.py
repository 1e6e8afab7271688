"""What every game is played with, and what is the same in every game. N images, C channels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ganealogy import ranks
from ganealogy.adversary.augmentation import Augmentation
from ganealogy.adversary.turn import Penalty, Turn
from ganealogy.adversary.update import Update
from ganealogy.networks.latents import draw_global


class Loss(Protocol):
    """A file of `adversary/losses/`. All take D's logits (N,) and return a scalar."""

    needs_reals: bool
    """Whether G's term compares its fakes with reals; if not, D never sees reals in G's step."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor: ...
    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor: ...
    def score(self, logits: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Players:
    generator: nn.Module
    discriminator: nn.Module
    g_update: Update
    d_update: Update
    loss: Loss
    latent: dict[str, Any]
    """{"size", "distribution"}: see `networks/latents.py`."""
    constrain: Callable[[], None] | None
    """Called after each D step."""
    penalties: list[Penalty]
    """Terms of D's loss: see `adversary/penalties/`."""
    augment: list[Augmentation]
    """What D sees all images through: see `adversary/augment/`."""
    precision: Callable[[], AbstractContextManager[Any]]
    """The context that networks run in: nothing, or autocast."""

    def progress(self, share: float) -> None:
        """Move the optimizers' schedules; penalties and augmentations are told theirs at each use."""
        self.g_update.progress(share)
        self.d_update.progress(share)

    def work_ahead(self) -> None:
        """From here on trouble is noted on the card, and `look` is to be asked whether there was any."""
        self.g_update.guard.work_ahead()
        self.d_update.guard.work_ahead()

    def look(self) -> None:
        """Raises: Missed where a player that works ahead noted something since."""
        self.g_update.guard.look()
        self.d_update.guard.look()

    def imagine(self, count: int, like: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """G's images (N, C, H, W) from fresh latents, of `like`'s device and type whatever the precision."""
        latents = draw_global(self.latent, count, like=like)
        with self.precision():
            images: torch.Tensor = self.generator(latents) if labels is None else self.generator(latents, labels)
        return images.to(like.dtype)

    def judge(
        self, share: float, labels: torch.Tensor | None, *, penalised: bool = False
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """D as the game meets it: images (N, C, H, W) → logits (N,), through a fresh draw of the augmentation.

        `penalised`: for a step with D's penalties. Second derivatives lose too much in bfloat16: where a penalty
        differentiates D, such a step runs in fp32.
        """
        exact = penalised and any(penalty.differentiates for penalty in self.penalties)

        def judged(images: torch.Tensor) -> torch.Tensor:
            for part in self.augment:
                images = part(images, share)
            with nullcontext() if exact else self.precision():
                logits: torch.Tensor
                logits = self.discriminator(images) if labels is None else self.discriminator(images, labels)
            # Losses are computed in float32 even where the networks ran in bfloat16.
            return ranks.together(logits if logits.dtype is torch.float64 else logits.float())

        return judged

    def watched(self, images: torch.Tensor) -> torch.Tensor:
        """The images, ready for a penalty that wants the gradient at them."""
        wanted = any(penalty.at_images for penalty in self.penalties)
        return images.detach().requires_grad_() if wanted else images

    def penalty(self, turn: Turn) -> dict[str, torch.Tensor]:
        """{"penalty": the scalar to add to D's loss}; nothing when there are no penalties."""
        terms = [penalty(turn) for penalty in self.penalties]
        return {"penalty": torch.stack(terms).sum()} if terms else {}

    def scores(self, real: torch.Tensor, fake: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the curves show of D's logits; adaptive augmentations look at those on reals too."""
        with torch.no_grad():
            extra: dict[str, torch.Tensor] = {}
            for part in self.augment:
                extra |= part.observe(real)
            return {"real_score": self.loss.score(real), "fake_score": self.loss.score(fake), **extra}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What penalties and augmentations remember between steps."""
        return self._memory().state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._memory().load_state_dict(state)

    def _memory(self) -> nn.Module:
        return nn.ModuleDict({"penalties": nn.ModuleList(self.penalties), "augment": nn.ModuleList(self.augment)})
