"""A recipe's networks. `recipe` and `protocol` are the plan's plain mappings (`lineage/recipe.py` has their shape)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from ganealogy import components
from ganealogy.errors import GanealogyError


def options(component: dict[str, Any]) -> dict[str, Any]:
    """What a component's builder gets: everything a recipe says of it but its name."""
    return {key: value for key, value in component.items() if key != "name"}


def generator(recipe: dict[str, Any], protocol: dict[str, Any]) -> nn.Module:
    """G: z (N, latent size) → images (N, C, H, W) in [-1, 1]; freshly initialised from torch's default generator."""
    module = components.load("networks", recipe["generator"]["name"])
    network: nn.Module = module.generator(
        recipe["latent"]["size"],
        protocol["channels"],
        protocol["image_size"],
        protocol["width"],
        **options(recipe["generator"]),
    )
    return network


def discriminator(recipe: dict[str, Any], protocol: dict[str, Any]) -> nn.Module:
    """D: images (N, C, H, W) → logits (N,)."""
    module = components.load("networks", recipe["discriminator"]["name"])
    network: nn.Module = module.discriminator(
        protocol["channels"], protocol["image_size"], protocol["width"], **options(recipe["discriminator"])
    )
    return network


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def load_generator(path: Path | str, recipe: dict[str, Any], protocol: dict[str, Any]) -> nn.Module:
    """The generator of a weights file, in evaluation mode on the CPU.

    Raises: GanealogyError when the file is absent, damaged, or of another network.
    """
    network = generator(recipe, protocol)
    try:
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping: it has no iterator)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such weights; train the version first") from None
    except Exception as error:  # safetensors raises its own type for every kind of damage
        raise GanealogyError(f"{path}: not a readable weights file ({error}); train the version again") from error
    expected = network.state_dict()
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != {
        name: tuple(tensor.shape) for name, tensor in expected.items()
    }:
        raise GanealogyError(f"{path}: holds the weights of another network than the recipe's; train the version again")
    network.load_state_dict(tensors)
    return network.eval().to(memory_format=torch.channels_last)
