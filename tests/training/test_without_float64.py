"""Trainings on a device without float64, as Apple's GPUs are: the CPU plays one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_loop import KINDS, plan_of_kind
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganealogy.adversary.augment import ada
from ganealogy.components import load
from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Train
from ganealogy.runtime import precision
from ganealogy.sampling.generate import generate
from ganealogy.stages import _stage
from ganealogy.training.state import TrainingState

BATCH = 8


class WithoutFloat64(TorchDispatchMode):
    """Refuse operations that give a float64 tensor."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        wide = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor) and leaf.dtype is torch.float64]
        if wide:
            raise TypeError(f"{function} gives float64, which this device lacks")
        return result


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", frozenset({"cpu"}))


@pytest.mark.usefixtures("apple")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith(("bf16", "tf32"))])
def test_steps_sums_and_samples_have_no_float64(kind: str) -> None:
    planned: Any = plan_of_kind(kind)
    recipe, protocol = planned["recipe"], planned["protocol"]
    torch.manual_seed(0)
    state = TrainingState(recipe, protocol, 4, "cpu")
    shape = (BATCH, protocol["channels"], protocol["image_size"], protocol["image_size"])
    reals = torch.rand(shape).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10 if recipe["labels"] else None
    with WithoutFloat64():
        for _ in range(2):
            state.train_step(lambda index: reals, None if labels is None else lambda index: labels)
        images = generate(state.eval_generator, torch.randn(4, recipe["latent"]["size"]))
    assert {total.dtype for total in state.loss_sums.values()} == {torch.float32}
    assert len(images) == 4


@pytest.mark.usefixtures("apple")
@pytest.mark.parametrize("name", ["pixel8", "layout_edges_32_64", "effnet_lite0"])
def test_extractors_compute_in_float32(name: str, rng_pictures: Any) -> None:
    extractor = load("evaluation.extractors", name).load("cpu")
    with WithoutFloat64():
        assert extractor.features(rng_pictures).dtype == np.float32


def test_a_float64_buffer_stays_one_where_there_is_float64() -> None:
    module = precision.place(ada.ADA(), "cpu")
    assert module.get_buffer("signs").dtype is torch.float64


def test_mps_is_taken_where_torch_has_it_and_refused_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Train(kimg=1, batch_size=8, lr=2e-4, device="mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        GanealogyError, match=r"train\.device is mps, and torch sees no such GPU; set it to auto or cpu"
    ):
        _stage.setup_device(settings)
    for remedy in ("auto", "cpu"):
        assert _stage.setup_device(settings.model_copy(update={"device": remedy})) in ("cpu", "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert _stage.setup_device(settings) == "mps"
    assert _stage.setup_device(settings.model_copy(update={"device": "cpu"})) == "cpu"


@pytest.fixture
def rng_pictures() -> Any:
    return torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
