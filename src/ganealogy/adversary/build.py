"""A recipe's game: two networks, two optimizers, a loss, and the rules by which they play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ganealogy import components
from ganealogy.adversary.gan import GAN
from ganealogy.adversary.optimizer_step import OptimizerStep
from ganealogy.networks._build import options
from ganealogy.runtime import precision as precisions


def update(player: str, recipe: dict[str, Any], network: nn.Module) -> OptimizerStep:
    """`recipe`: {"name", "lr" (a number: the plan has resolved rates such as `2x`), …}."""
    shared = {key: recipe[key] for key in ("schedule", "clip_norm")}
    own = {key: value for key, value in options(recipe).items() if key not in {"lr", *shared}}
    return OptimizerStep(player, network, recipe["name"], recipe["lr"], own, **shared)


def modules(kind: str, builder: str, parts: list[dict[str, Any]], device: torch.device) -> list[Any]:
    """A recipe's list of components, in its order."""
    return [getattr(components.load(kind, part["name"]), builder)(**options(part)).to(device) for part in parts]


def game(
    recipe: dict[str, Any],
    generator: nn.Module,
    discriminator: nn.Module,
    precision: precisions.Precision = "fp32",
    update: Callable[[str, dict[str, Any], nn.Module], Any] = update,
) -> Any:
    """The object whose `step(reals, labels, progress)` is one G update (`adversary/games/`).

    `precision`: the protocol's; weights and losses are float32 whatever it is. `adversary.penalty_precision` of the
    recipe decides for D's step where a penalty differentiates D.
    `update`: makes a player's update from its name, its optimizer's recipe and its network.
    """
    rules = recipe["adversary"]
    device = next(generator.parameters()).device

    constrain = None
    if rules["constraint"] is not None:
        module = components.load("adversary.constraints", rules["constraint"]["name"])
        constrain = module.constraint(discriminator, **options(rules["constraint"]))
    players = GAN(
        generator,
        discriminator,
        g_optimizer=update("generator", recipe["optimizers"]["generator"], generator),
        d_optimizer=update("discriminator", recipe["optimizers"]["discriminator"], discriminator),
        loss=components.load("adversary.losses", rules["loss"]["name"]).loss(**options(rules["loss"])),
        latent=recipe["latent"],
        constrain=constrain,
        penalties=modules("adversary.penalties", "penalty", rules["penalties"], device),
        augment=modules("adversary.augment", "augment", rules["augment"], device),
        precision=precision,
        penalty_precision=precisions.of_penalties(precision, rules.get("penalty_precision")),
    )
    return components.load("adversary.games", rules["game"]["name"]).game(players, **options(rules["game"]))
