"""The layers of a network as a table: shapes and parameters, found by running it with two images.

On the CPU: the first operation on the meta device imports torch's compiler, which takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from ganealogy.networks import _build as networks
from ganealogy.record_types import Recipe, TrainingProtocol

IMAGES = 2
"""Images of the run: minibatch statistics need two."""


@dataclass(frozen=True)
class Layer:
    name: str
    """Of the module in its network, such as layers.0."""
    kind: str
    """Such as `Conv2d 4x4, stride 2, padding 1, spectral norm`."""
    shape: tuple[int, ...]
    """Of the output for one image, without N; empty for parameters that no layer has."""
    trained: int
    fixed: int
    """Numbers that no optimizer changes, such as BatchNorm's running statistics."""


def of_recipe(recipe: Recipe, protocol: TrainingProtocol) -> dict[str, list[Layer]]:
    """Return generator and discriminator → their layers; no torch generator changes.

    `recipe`, `protocol`: as in build/plan/versions/<version>.json.
    """
    channels, size = protocol["channels"], protocol["image_size"]
    with torch.random.fork_rng(devices=[]):
        both = {
            "generator": (networks.generator(recipe, protocol), torch.zeros(IMAGES, recipe["latent"]["size"])),
            "discriminator": (networks.discriminator(recipe, protocol), torch.zeros(IMAGES, channels, size, size)),
        }
    labels = [torch.zeros(IMAGES, dtype=torch.int64)] if getattr(both["generator"][0], "classes", 0) else []
    return {name: layers(network, first, *labels) for name, (network, first) in both.items()}


def layers(network: nn.Module, *inputs: torch.Tensor) -> list[Layer]:
    """Return the layers in the order in which they first run, then those that never run."""
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            shapes.setdefault(module, tuple(output.shape[1:]))

    owners = dict(_owners(network))
    hooks = [module.register_forward_hook(note) for module in owners.values()]
    try:
        with torch.no_grad():
            network.eval()(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    names = {module: name for name, module in owners.items()}
    ordered = [*shapes, *(module for module in owners.values() if module not in shapes)]
    found = [_layer(names[module], module, shapes.get(module, ())) for module in ordered]
    return [layer for layer in found if layer.kind != "Identity"]


def _owners(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield name, module of all modules without parts, and of those with numbers of their own beside their parts."""
    for name, module in network.named_modules():
        if "parametrizations" in name.split("."):
            continue
        parts = [part for part, _ in module.named_children() if part != "parametrizations"]
        if not parts or [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            yield name or type(module).__name__, module


def _layer(name: str, module: nn.Module, shape: tuple[int, ...]) -> Layer:
    parameters, buffers = [*module.parameters(recurse=False)], [*module.buffers(recurse=False)]
    for part in _parametrizations(module):
        parameters += part.parameters()
        buffers += part.buffers()
    trained = sum(each.numel() for each in parameters)
    fixed = sum(each.numel() for each in buffers if each.is_floating_point())
    return Layer(name, _kind(module), shape, trained, fixed)


def _kind(module: nn.Module) -> str:
    kind = type_before_parametrizations(module).__name__
    parts = []
    if isinstance(size := getattr(module, "kernel_size", None), tuple):
        parts.append("x".join(map(str, size)))
        for key, usual in (("stride", 1), ("padding", 0)):
            value = getattr(module, key, usual)
            value = value[0] if isinstance(value, tuple | list) else value
            if value != usual:
                parts.append(f"{key} {value}")
    slope = getattr(module, "negative_slope", None)
    parts += [f"{slope:g}"] if slope is not None else []
    spectral = any(isinstance(each, _SpectralNorm) for part in _parametrizations(module) for each in part.modules())
    parts += ["spectral norm"] if spectral else []
    return f"{kind} {', '.join(parts)}".strip()


def _parametrizations(module: nn.Module) -> list[nn.Module]:
    return [module.parametrizations] if is_parametrized(module) else []  # type: ignore[list-item]
