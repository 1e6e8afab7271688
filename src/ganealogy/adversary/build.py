"""Build a recipe's game: two networks, two optimizers, a loss, penalties and augmentations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ganealogy import components
from ganealogy.adversary.constraints._base import ConstraintBuilder
from ganealogy.adversary.games._base import Game
from ganealogy.adversary.gan import GAN
from ganealogy.adversary.optimizer_step import OptimizerStep
from ganealogy.networks._build import options
from ganealogy.record_types import Component, Precision, Recipe
from ganealogy.runtime import precision as precisions

NO_OPTIMIZER: Component = {"name": "", "lr": 0.0, "schedule": None, "clip_norm": None}
"""Of a D without parameters."""


def optimizer_step(network_name: str, recipe: Component, network: nn.Module) -> OptimizerStep:
    """`recipe`: {"name", "lr" (a number: the plan resolves rates such as `2x`), …}."""
    shared = {key: recipe[key] for key in ("schedule", "clip_norm")}
    specific = {key: value for key, value in options(recipe).items() if key not in {"lr", *shared}}
    return OptimizerStep(network_name, network, recipe["name"], recipe["lr"], specific, **shared)


def modules(kind: str, builder: str, parts: list[Component], device: torch.device) -> list[Any]:
    """Build a recipe's list of components, in its order."""
    built = (getattr(components.load(kind, part["name"]), builder)(**options(part)) for part in parts)
    return [precisions.place(module, device) for module in built]


def game(
    recipe: Recipe,
    generator: nn.Module,
    discriminator: nn.Module,
    precision: Precision = "fp32",
    build_optimizer: Callable[[str, Component, nn.Module], Any] = optimizer_step,
) -> Game:
    """Return the game, whose `step(reals, labels, progress, number)` is one G update.

    `precision`: the protocol's; weights and losses are always float32. `adversary.penalty_precision` of the recipe
    overrides it for a D step in which a penalty differentiates D.
    `build_optimizer`: from a network's name, its optimizer's recipe and the network.
    """
    rules = recipe["adversary"]
    device = next(generator.parameters()).device

    constrain = None
    if rules["constraint"] is not None:
        build: ConstraintBuilder = components.load("adversary.constraints", rules["constraint"]["name"]).constraint
        constrain = build(discriminator, **options(rules["constraint"]))
    loss: Any = None
    if rules["loss"] is not None:
        loss = components.load("adversary.losses", rules["loss"]["name"]).loss(**options(rules["loss"]))
    gan = GAN(
        generator,
        discriminator,
        g_optimizer=build_optimizer("generator", recipe["optimizers"]["generator"], generator),
        d_optimizer=build_optimizer(
            "discriminator", recipe["optimizers"]["discriminator"] or NO_OPTIMIZER, discriminator
        ),
        loss=loss,
        latent=recipe["latent"],
        constrain=constrain,
        penalties=tuple(modules("adversary.penalties", "penalty", rules["penalties"], device)),
        generator_penalties=tuple(
            modules("adversary.generator_penalties", "generator_penalty", rules["generator_penalties"], device)
        ),
        augment=modules("adversary.augment", "augment", rules["augment"], device),
        precision=precision,
        penalty_precision=precisions.of_penalties(precision, rules.get("penalty_precision")),
    )
    return components.load("adversary.games", rules["game"]["name"]).game(gan, **options(rules["game"]))
