"""A recipe's game: two networks, two optimizers, a loss, and the rules by which they play."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ganealogy import components
from ganealogy.adversary.players import Players
from ganealogy.networks.build import options


def optimizer(recipe: dict[str, Any], network: nn.Module) -> torch.optim.Optimizer:
    """`recipe`: {"name", "lr" (a number: the plan has resolved rates such as `2x`), …the component's own}."""
    module = components.load("adversary.optimizers", recipe["name"])
    made: torch.optim.Optimizer = module.optimizer(list(network.parameters()), **options(recipe))
    return made


def game(recipe: dict[str, Any], generator: nn.Module, discriminator: nn.Module, precision: str = "fp32") -> Any:
    """The object whose `step(reals)` is one G update (`adversary/games/`).

    `precision`: "fp32" runs the networks as they are; "bf16" under autocast, losses and weights still float32.
    """
    rules = recipe["adversary"]
    device = next(generator.parameters()).device.type

    def context() -> AbstractContextManager[Any]:
        return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()

    constrain = None
    if rules["constraint"] is not None:
        module = components.load("adversary.constraints", rules["constraint"]["name"])
        constrain = module.constraint(discriminator, **options(rules["constraint"]))
    players = Players(
        generator,
        discriminator,
        g_optimizer=optimizer(recipe["optimizers"]["generator"], generator),
        d_optimizer=optimizer(recipe["optimizers"]["discriminator"], discriminator),
        loss=components.load("adversary.losses", rules["loss"]["name"]).loss(**options(rules["loss"])),
        latent=recipe["latent"],
        constrain=constrain,
        precision=context,
    )
    return components.load("adversary.games", rules["game"]["name"]).game(players, **options(rules["game"]))
