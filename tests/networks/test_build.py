"""Recipes become networks, with labels where the recipe and the data have them; pictures come out of either kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ganealogy.errors import GanealogyError
from ganealogy.networks import _build
from ganealogy.sampling.generate import generate

PROTOCOL = {"channels": 1, "image_size": 16, "width": 4}


def recipe(**other: Any) -> dict[str, Any]:
    named = {"generator": {"name": "dcgan"}, "discriminator": {"name": "dcgan"}}
    return {"latent": {"size": 8, "distribution": "normal"}, **named, **other}


def test_labels_need_classes() -> None:
    with pytest.raises(GanealogyError, match="labels: true, but the data set has no labels"):
        _build.generator(recipe(labels=True), PROTOCOL)


def test_data_with_classes_is_used_without_them_unless_the_recipe_asks() -> None:
    assert _build.generator(recipe(), {**PROTOCOL, "classes": 10}).classes == 0
    assert _build.discriminator(recipe(labels=True), {**PROTOCOL, "classes": 10}).classes == 10


def test_classes_take_turns_in_pictures() -> None:
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
    chosen = generate(generator, z, torch.full((230,), 1))
    assert np.array_equal(chosen[0], pictures[1]) and np.array_equal(chosen[229], chosen[0])
