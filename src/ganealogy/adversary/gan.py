"""What every game is played with, and what is the same in every game. N images, C channels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ganealogy.adversary.augment._base import Augmentation
from ganealogy.adversary.optimizer_step import OptimizerStep
from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty
from ganealogy.adversary.schedule import Progress
from ganealogy.runtime import distributed
from ganealogy.runtime import precision as precisions
from ganealogy.sampling.latents import sample_latents_like


class Loss(Protocol):
    """A file of `adversary/losses/`. All take D's logits (N,) and return a scalar."""

    needs_reals: bool
    """Whether G's term compares its fakes with reals; if not, D never sees reals in G's step."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor: ...
    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor: ...
    def score(self, logits: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class GAN:
    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: OptimizerStep
    d_optimizer: OptimizerStep
    loss: Loss
    latent: dict[str, Any]
    """{"size", "distribution"}: see `sampling/latents.py`."""
    constrain: Callable[[], None] | None
    """Called after each D step."""
    penalties: list[Penalty]
    """Terms of D's loss: see `adversary/penalties/`."""
    augment: list[Augmentation]
    """What D sees all images through: see `adversary/augment/`."""
    precision: precisions.Precision = "fp32"
    """What networks are computed in: see `ganealogy/runtime/precision.py`."""
    penalty_precision: precisions.Precision = "fp32"
    """The same in D's step, where a penalty differentiates D."""

    @property
    def device(self) -> torch.device:
        return self.d_optimizer.parameters[0].device

    def step_precision(self, penalised: bool) -> precisions.Precision:
        """Return the precision of a step; `penalised`: of one with D's penalties."""
        differentiated = penalised and any(penalty.differentiates for penalty in self.penalties)
        return self.penalty_precision if differentiated else self.precision

    def arithmetic(self, *, penalised: bool) -> AbstractContextManager[None]:
        """Return the context of a whole step, its backward pass included."""
        return precisions.float32_as(self.step_precision(penalised))

    def describe_precision(self) -> str:
        """Describe what the steps are computed in here, e.g. "bf16, tf32 where a penalty differentiates D"."""
        usual, penalised = (precisions.on(self.device, self.step_precision(step)) for step in (False, True))
        return usual if usual == penalised else f"{usual}, {penalised} where a penalty differentiates D"

    def progress(self, share: Progress) -> None:
        """Move the optimizers' schedules; penalties and augmentations are told theirs at each use."""
        self.g_optimizer.progress(share)
        self.d_optimizer.progress(share)

    def defer(self) -> None:
        """From here on trouble is noted on the card, and `look` is to be asked whether there was any."""
        self.g_optimizer.divergence.defer()
        self.d_optimizer.divergence.defer()

    def look(self) -> None:
        """Raises: DivergedEarlier where a player that works ahead noted something since."""
        self.d_optimizer.divergence.look()  # it goes first in a step, and spoils G's loss
        self.g_optimizer.divergence.look()

    def generate_fakes(self, count: int, like: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """G's images (N, C, H, W) from fresh latents, of `like`'s device and type whatever the precision."""
        latents = sample_latents_like(self.latent, count, like=like)
        with precisions.autocast(self.precision, self.device.type):
            images: torch.Tensor = self.generator(latents) if labels is None else self.generator(latents, labels)
        return images.to(like.dtype)

    def discriminator_fn(
        self, share: Progress, labels: torch.Tensor | None, *, penalised: bool = False
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """D as the game meets it: images (N, C, H, W) → logits (N,), through a fresh draw of the augmentation.

        `penalised`: for a step with D's penalties, whose precision may be another.
        """
        chosen = self.step_precision(penalised)

        def discriminate(images: torch.Tensor) -> torch.Tensor:
            for part in self.augment:
                images = part(images, share)
            with precisions.autocast(chosen, self.device.type):
                logits: torch.Tensor
                logits = self.discriminator(images) if labels is None else self.discriminator(images, labels)
            # Losses are computed in float32 even where the networks ran in bfloat16.
            return distributed.all_gather(logits if logits.dtype is torch.float64 else logits.float())

        return discriminate

    def track_gradients(self, images: torch.Tensor) -> torch.Tensor:
        """The images, ready for a penalty that wants the gradient at them."""
        wanted = any(penalty.at_images for penalty in self.penalties)
        return images.detach().requires_grad_() if wanted else images

    def penalty(self, step: DiscriminatorStep) -> dict[str, torch.Tensor]:
        """{"penalty": the scalar to add to D's loss}; nothing when there are no penalties."""
        terms = [penalty(step) for penalty in self.penalties]
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
