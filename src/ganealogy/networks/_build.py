"""A recipe's networks. `recipe` and `protocol` are the plan's plain mappings (`lineage/recipe.py` has their shape).

Where a recipe says `labels: true`, networks are built for the protocol's number of `classes` and called with labels
(N,) int64: G(z, labels), D(images, labels). Elsewhere they are called without.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def generator(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> nn.Module:
    """G: z (N, latent size) → images (N, C, H, W), black at -1 and white at 1; fresh from torch's default generator.

    Raises: GanealogyError when the architecture cannot express the protocol's size, or labels.
    """
    module = components.load("networks", recipe["generator"]["name"])
    network: nn.Module = module.generator(
        recipe["latent"]["size"],
        protocol["channels"],
        protocol["image_size"],
        protocol["width"],
        class_count(recipe, protocol),
        **options(recipe["generator"]),
    )
    return network


def discriminator(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> nn.Module:
    """D: images (N, C, H, W) → logits (N,).

    Raises: GanealogyError when the architecture cannot express the protocol's size, or labels.
    """
    module = components.load("networks", recipe["discriminator"]["name"])
    network: nn.Module = module.discriminator(
        protocol["channels"],
        protocol["image_size"],
        protocol["width"],
        class_count(recipe, protocol),
        **options(recipe["discriminator"]),
    )
    return network


def class_count(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> int:
    """The classes that the networks are conditioned on; 0: none.

    Raises: GanealogyError when the recipe wants labels and the data has none.
    """
    if not recipe.get("labels"):
        return 0
    if not protocol.get("classes"):
        raise GanealogyError("labels: true, but the data set has no labels; mnist has")
    return int(protocol["classes"])


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def load_generator(path: Path | str, recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> nn.Module:
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
