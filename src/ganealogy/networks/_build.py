"""Build a recipe's networks, and load a trained generator.

`recipe` and `protocol` are mappings of the plan (see `lineage/recipe.py` and `record_types.TrainingProtocol`). With
`labels: true` in the recipe, networks are conditioned on the protocol's `classes`.
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
from ganealogy.networks._base import DiscriminatorBuilder, GeneratorBuilder
from ganealogy.networks.layers import spectral
from ganealogy.record_types import Component


def options(component: Component) -> Component:
    """Return a component's keyword arguments: its mapping in the recipe without `name`."""
    return {key: value for key, value in component.items() if key != "name"}


def generator(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> nn.Module:
    """Return an untrained G (see `GeneratorBuilder`).

    Raises: GanealogyError if the architecture does not support the protocol's image size, or labels.
    """
    build: GeneratorBuilder = components.load("networks", recipe["generator"]["name"]).generator
    return build(
        recipe["latent"]["size"],
        protocol["channels"],
        protocol["image_size"],
        protocol["width"],
        class_count(recipe, protocol),
        **options(recipe["generator"]),
    )


def discriminator(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> nn.Module:
    """Return an untrained D (see `DiscriminatorBuilder`); without one in the recipe, a module without parameters.

    Raises: GanealogyError if the architecture does not support the protocol's image size, or labels.
    """
    if recipe["discriminator"] is None:
        return nn.Identity()
    build: DiscriminatorBuilder = components.load("networks", recipe["discriminator"]["name"]).discriminator
    return build(
        protocol["channels"],
        protocol["image_size"],
        protocol["width"],
        class_count(recipe, protocol),
        **options(recipe["discriminator"]),
    )


def class_count(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> int:
    """Return the number of classes that the networks are conditioned on; 0 for none.

    Raises: GanealogyError if the recipe has `labels: true` and the data has no labels.
    """
    if not recipe.get("labels"):
        return 0
    if not protocol.get("classes"):
        raise GanealogyError(
            "labels: true, but the data set has no labels; set labels: false, or dataset.name: mnist or cifar10, or, "
            "with dataset.name: folder, put every picture of dataset.path into a folder of its class, two at least"
        )
    return int(protocol["classes"])


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def load_generator(path: Path | str, recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> nn.Module:
    """Return the generator of a weights file, in evaluation mode on the CPU, with spectral norm computed once.

    Raises: GanealogyError if the file is absent, damaged, or of another network.
    """
    try:
        network = generator(recipe, protocol)
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise GanealogyError(
            f"{path}: its run.json describes no network ({error!r}); train the version again"
        ) from None
    try:
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is not iterable)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such weights; train the version first") from None
    except Exception as error:  # safetensors raises its own type for any damage
        raise GanealogyError(f"{path}: not a readable weights file ({error}); train the version again") from error
    expected = network.state_dict()
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != {
        name: tuple(tensor.shape) for name, tensor in expected.items()
    }:
        raise GanealogyError(f"{path}: weights of another network than the recipe's; train the version again")
    network.load_state_dict(tensors)
    return spectral.fold(network.eval()).to(memory_format=torch.channels_last)
