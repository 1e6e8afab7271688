"""The generator, the discriminator and everything a training step needs. N images, C channels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from ganealogy import record_types
from ganealogy.adversary.augment._base import Augmentation
from ganealogy.adversary.generator_penalties._base import GeneratorPenalty, GeneratorStep
from ganealogy.adversary.losses._base import Loss, SumOfTerms
from ganealogy.adversary.optimizer_step import OptimizerStep
from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty, of_images
from ganealogy.adversary.schedule import Progress
from ganealogy.runtime import distributed
from ganealogy.runtime import precision as precisions
from ganealogy.sampling.latents import sample_latents_like

Penalties: TypeAlias = tuple[Penalty, ...]
GeneratorPenalties: TypeAlias = tuple[GeneratorPenalty, ...]


@dataclass(frozen=True)
class GAN:
    """A version without a D has one without parameters, and no loss: `games/flow_matching.py` uses neither."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: OptimizerStep
    d_optimizer: OptimizerStep
    loss: Loss
    latent: record_types.Latent
    constrain: Callable[[], None] | None
    """Called after each D step."""
    penalties: Penalties
    """Terms of D's loss: see `adversary/penalties/`."""
    generator_penalties: GeneratorPenalties
    """Terms of G's loss: see `adversary/generator_penalties/`."""
    augment: list[Augmentation]
    """Applied to all images that D sees: see `adversary/augment/`."""
    precision: record_types.Precision = "fp32"
    """Arithmetic of the networks: see `runtime/precision.py`."""
    penalty_precision: record_types.Precision = "fp32"
    """Arithmetic of the D step when a penalty differentiates D."""

    @property
    def needs_features(self) -> bool:
        """Whether the loss takes D's features beside its logits: see `losses/_base.py`."""
        return getattr(self.loss, "needs_features", False)

    @property
    def device(self) -> torch.device:
        return self.g_optimizer.parameters[0].device

    def due_penalties(self, d_step: int) -> Penalties:
        """Return the penalties of a D step, counted from 0: lazy ones are in some steps only."""
        return tuple(penalty for penalty in self.penalties if d_step % penalty.every == 0)

    def due_generator_penalties(self, g_step: int) -> GeneratorPenalties:
        """Return the generator penalties of a G step, counted from 0."""
        return tuple(penalty for penalty in self.generator_penalties if g_step % penalty.every == 0)

    def step_precision(self, penalties: Penalties) -> record_types.Precision:
        """Return the precision of a step with these penalties."""
        return self.penalty_precision if any(penalty.differentiates for penalty in penalties) else self.precision

    def arithmetic(self, penalties: Penalties = ()) -> AbstractContextManager[None]:
        """Return the context of a whole step with these penalties, its backward pass included."""
        return precisions.float32_as(self.step_precision(penalties))

    def describe_precision(self) -> str:
        """Return the arithmetic used on this device, such as "bf16, tf32 where a penalty differentiates D"."""
        usual, penalised = (precisions.on(self.device, self.step_precision(found)) for found in ((), self.penalties))
        return usual if usual == penalised else f"{usual}, {penalised} where a penalty differentiates D"

    def set_progress(self, fraction: Progress) -> None:
        """Set the optimizers' scheduled values; penalties and augmentations get the progress at each use."""
        self.g_optimizer.set_progress(fraction)
        self.d_optimizer.set_progress(fraction)

    def defer_divergence_checks(self) -> None:
        """Record failed finite checks on the device, without a sync; `raise_if_diverged` reads them."""
        self.g_optimizer.divergence.defer()
        self.d_optimizer.divergence.defer()

    def raise_if_diverged(self) -> None:
        """Raises: DivergedEarlier if a deferred finite check has failed."""
        self.d_optimizer.divergence.raise_if_diverged()  # D steps first, and its NaN weights make G's loss NaN
        self.g_optimizer.divergence.raise_if_diverged()

    def generate_fakes(self, count: int, like: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return G's images (N, C, H, W) of fresh latents, with the device and dtype of `like`."""
        latents = sample_latents_like(self.latent, count, like=like)
        with precisions.autocast(self.precision, self.device.type):
            images = self.generator(latents) if labels is None else self.generator(latents, labels)
        return images.to(like.dtype)

    def discriminator_fn(
        self, progress: Progress, labels: torch.Tensor | None, penalties: Penalties = ()
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function images (N, C, H, W) → D's output behind a fresh draw of the augmentations.

        The output is logits, (N,) or (N, K), or (N, 1 + F) where the loss needs features.

        `penalties`: those of the step, which may have another precision with them.
        """
        precision = self.step_precision(penalties)
        network: Any = self.discriminator.with_features if self.needs_features else self.discriminator

        def discriminate(images: torch.Tensor) -> torch.Tensor:
            for augmentation in self.augment:
                images = augmentation(images, progress)
            with precisions.autocast(precision, self.device.type):
                logits: torch.Tensor = network(images) if labels is None else network(images, labels)
            # Losses are computed in float32 even where the networks ran in bfloat16.
            return distributed.all_gather(logits if logits.dtype is torch.float64 else logits.float())

        return discriminate

    def track_gradients(self, images: torch.Tensor, penalties: Penalties) -> torch.Tensor:
        """Return the images as leaves that require gradients, if one of these penalties needs the gradient at them."""
        needed = any(penalty.at_images for penalty in penalties)
        return images.detach().requires_grad_() if needed else images

    def discriminator_loss(self, real: torch.Tensor, fake: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `d_loss`, and its terms `d_loss_real` and `d_loss_fake` if the loss is a sum of two."""
        if not isinstance(self.loss, SumOfTerms):
            return {"d_loss": self.loss.discriminator(real, fake)}
        of_reals, of_fakes = self.loss.discriminator_terms(real, fake)
        return {"d_loss": of_reals + of_fakes, "d_loss_real": of_reals, "d_loss_fake": of_fakes}

    def penalty(self, step: DiscriminatorStep, penalties: Penalties) -> dict[str, torch.Tensor]:
        """Return {"penalty": the scalar to add to D's loss}, 0 if no penalty is due; empty without penalties."""
        if not self.penalties:
            return {}
        if self.needs_features:
            output = step.discriminate
            logits = {"real_logits": step.real_logits[:, 0], "fake_logits": step.fake_logits[:, 0]}
            step = replace(step, discriminate=lambda images: output(images)[:, 0], **logits)
        terms = [penalty.every * penalty(step) for penalty in penalties]
        return {"penalty": torch.stack(terms).sum() if terms else step.real_logits.new_zeros(())}

    def generator_penalty(
        self, like: torch.Tensor, progress: Progress, penalties: GeneratorPenalties
    ) -> dict[str, torch.Tensor]:
        """Return {"g_penalty": the scalar to add to G's loss}, 0 if none is due; empty without generator penalties.

        `like`: a batch (N, …); the penalties get as many fresh latents, on its device.
        """
        if not self.generator_penalties:
            return {}
        if not penalties:
            return {"g_penalty": like.new_zeros(())}
        step = GeneratorStep(self.generator, sample_latents_like(self.latent, len(like), like=like), progress)
        return {"g_penalty": torch.stack([penalty.every * penalty(step) for penalty in penalties]).sum()}

    def scores(self, real: torch.Tensor, fake: torch.Tensor, progress: Progress) -> dict[str, torch.Tensor]:
        """Return the scalars that the curves show of D's outputs; adaptive augmentations observe the reals' logits."""
        with torch.no_grad():
            if self.needs_features:
                real, fake = real[:, 0], fake[:, 0]
            scalars: dict[str, torch.Tensor] = {}
            for augmentation in self.augment:
                scalars |= augmentation.observe(of_images(real), progress)
            scores = {"real_score": self.loss.score(real), "fake_score": self.loss.score(fake)}
            return {**scores, **scalars}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the buffers of both kinds of penalties and of augmentations."""
        return self._components().state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._components().load_state_dict(state)

    def _components(self) -> nn.Module:
        names = ("penalties", "generator_penalties", "augment")
        return nn.ModuleDict({name: nn.ModuleList(getattr(self, name)) for name in names})
