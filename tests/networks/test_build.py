"""Recipes become networks, conditioned on labels if recipe and data have them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.networks import _build
from ganealogy.networks._base import DiscriminatorBuilder, GeneratorBuilder
from ganealogy.sampling.generate import generate

PROTOCOL = {"channels": 1, "image_size": 16, "width": 4}


def recipe(**other: Any) -> dict[str, Any]:
    named = {"generator": {"name": "dcgan"}, "discriminator": {"name": "dcgan"}}
    return {"latent": {"size": 8, "distribution": "normal"}, **named, **other}


def positional(builder: object) -> list[tuple[str, object]]:
    parameters = inspect.signature(builder).parameters.values()  # type: ignore[arg-type]
    return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


@pytest.mark.parametrize("name", components.known("networks"))
def test_every_architecture_has_the_interface_of_base(name: str) -> None:
    module = components.load("networks", name)
    protocols = {"generator": GeneratorBuilder, "discriminator": DiscriminatorBuilder}
    builders = [function for function in protocols if hasattr(module, function)]
    assert builders
    for function in builders:
        assert positional(getattr(module, function)) == positional(protocols[function].__call__)


def test_labels_without_classes_are_refused() -> None:
    legal = "set labels: false, or dataset.name: mnist or cifar10, or, with dataset.name: folder, put every picture of"
    with pytest.raises(GanealogyError, match=f"labels: true, but the data set has no labels; {legal}"):
        _build.generator(recipe(labels=True), PROTOCOL)


def test_networks_are_unconditional_unless_the_recipe_has_labels() -> None:
    assert _build.generator(recipe(), {**PROTOCOL, "classes": 10}).classes == 0
    assert _build.discriminator(recipe(labels=True), {**PROTOCOL, "classes": 10}).classes == 10


def test_generated_pictures_cycle_through_the_classes() -> None:
    torch.manual_seed(0)
    generator = _build.generator(recipe(labels=True), {**PROTOCOL, "classes": 3})
    with torch.no_grad():
        for layer in generator.modules():
            if isinstance(layer, torch.nn.Embedding):
                layer.weight.normal_()
    z = torch.randn(1, 8).expand(230, 8)  # more than one batch
    pictures = generate(generator, z)
    assert pictures.shape == (230, 16, 16, 1)
    assert np.array_equal(pictures[0], pictures[228]) and not np.array_equal(pictures[0], pictures[1])
    one_class = generate(generator, z, torch.full((230,), 1))
    assert np.array_equal(one_class[0], pictures[1]) and np.array_equal(one_class[229], one_class[0])
